"""The cache of compiled programs on disk: the same problem run again compiles nothing."""

import hashlib
import os
import platform
from importlib.metadata import version
from pathlib import Path

import jax
from platformdirs import user_cache_path

PLACE = "IMPINDIFF_CACHE"  # of the environment: a folder, or "off"
_LARGEST = 2 * 10**9  # bytes; what was used longest ago goes first
_SHORTEST = 0.3  # seconds; what compiles faster is not kept


def keep_programs(*, off: bool = False) -> Path | None:
    """Have JAX keep what it compiles in the user's cache folder; where that is, if so.

    Programs are of one version of JAX and one kind of processor, which have a folder of their own.
    Several processes may use it at once. A folder that cannot be written to, and a full disk, only
    mean that programs are compiled. What the environment says of JAX's own cache stays as it is.

    - `off`: keep none. So does `IMPINDIFF_CACHE=off`; another value is the folder to take.
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
    """What a compiled program is of: versions, and the processor's instructions."""
    known = [version("jax"), version("jaxlib"), platform.system(), platform.machine(), _processor()]
    return hashlib.sha256("\n".join(known).encode()).hexdigest()[:16]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    # x86 and ARM
    return next((line for line in lines if line.startswith(("flags", "Features"))), "")
