"""On-disk cache of compiled programs, for repeated runs of a problem."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax
from platformdirs import user_cache_path

PLACE = "IMPINDIFF_CACHE"  # environment variable: a folder, or "off"
_LARGEST = 2 * 10**9  # bytes; the least recently used goes first
_SHORTEST = 0.3  # seconds; faster compilations are not stored


def keep_programs(*, off: bool = False) -> Path | None:
    """Enable JAX's compilation cache in the user's cache folder; returns the folder, if enabled.

    Programs are specific to a version of JAX and a type of processor, with one folder each. Several
    processes may use it at once. With a read-only folder or a full disk, programs are just
    compiled. Settings of JAX's cache in the environment take precedence.

    - `off`: disable it. So does `IMPINDIFF_CACHE=off`; another value names the folder.
    """
    asked = os.environ.get(PLACE)
    if off or asked == "off" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return None
    base = Path(asked) if asked else user_cache_path("impindiff")
    folder = base / "programs" / _kind_of_machine()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return None
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    for name, value in {
        "jax_compilation_cache_dir": str(folder),
        "jax_compilation_cache_max_size": _LARGEST,
        "jax_persistent_cache_min_compile_time_secs": _SHORTEST,
        "jax_persistent_cache_min_entry_size_bytes": 0,
    }.items():
        jax.config.update(name, value)
    return folder


def _kind_of_machine() -> str:
    """A key for compiled programs: versions, and the processor's instructions."""
    known = [version("jax"), version("jaxlib"), platform.system(), platform.machine(), _processor()]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    # x86 and ARM
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
