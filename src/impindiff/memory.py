"""The memory that there is: looked at before it is needed."""

import contextlib
import resource
from pathlib import Path

import psutil

from impindiff.errors import InputError

_GROUPS = Path("/sys/fs/cgroup")


def memory_limit() -> int:
    """Bytes that this process may come to hold: those of the machine, or of its container if fewer.

    The least of the physical memory, the limits of the control groups that the process is in, and
    the limit on its address space.
    """
    limits = [psutil.virtual_memory().total, *_limits_of_groups()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def require_memory(what: str, needed: float, advice: str) -> None:
    """Refuse what needs more bytes than there is memory.

    **Raises:** `InputError`, a line with how much is needed, how much there is, and what to do.
    """
    limit = memory_limit()
    if not needed <= limit:
        raise InputError(
            f"{what} {readable_size(needed)} of memory, this machine has {readable_size(limit)}; "
            f"{advice}"
        )


def readable_size(count: float) -> str:
    """Bytes as a person reads them."""
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if count >= size:
            return f"{count / size:.1f} {unit}" if count < 1e15 else f"{count / size:.1e} {unit}"
    return f"{count / 1e3:.0f} kB"


def _limits_of_groups() -> list[int]:
    """Of Linux's control groups, of both versions, the process's own and those around it."""
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, inside = line.split(":", 2)
        if controllers not in ("", "memory"):
            continue
        root = _GROUPS / controllers
        name = "memory.limit_in_bytes" if controllers else "memory.max"
        own = root / inside.lstrip("/")
        for group in (own, *own.parents):
            with contextlib.suppress(OSError, ValueError):  # none there, or "max"
                found.append(int((group / name).read_text()))
            if group == root:
                break
    return found
