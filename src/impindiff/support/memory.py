"""Limits of memory, checked before it is used."""

import contextlib
import math
import resource
from pathlib import Path

import psutil
from humanize import naturalsize

from impindiff.errors import InputError

_GROUPS = Path("/sys/fs/cgroup")


def memory_limit() -> int:
    """Bytes available to this process: those of the machine, or of its container if fewer.

    The least of the physical memory, the limits of the process's control groups, and the limit on
    its address space.
    """
    limits = [psutil.virtual_memory().total, *_limits_of_groups()]
    soft, _ = resource.getrlimit(resource.RLIMIT_AS)
    if soft != resource.RLIM_INFINITY:
        limits.append(soft)
    return min(limits)


def require_memory(what: str, needed: float, advice: str) -> None:
    """Refuse a demand for more memory than available.

    **Raises:** `InputError`, one line with the bytes needed and available, and the advice.
    """
    limit = memory_limit()
    if not needed <= limit:
        raise InputError(
            f"{what} {naturalsize(math.inf if math.isnan(needed) else needed)} of memory, this "
            f"machine has {naturalsize(limit)}; {advice}"
        )


def _limits_of_groups() -> list[int]:
    """Limits of Linux's control groups, of both versions, the process's own and their parents."""
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
            with contextlib.suppress(OSError, ValueError):  # no limit, or "max"
                found.append(int((group / name).read_text()))
            if group == root:
                break
    return found
