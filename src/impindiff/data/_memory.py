"""Limits on memory taken by data."""

from pathlib import Path

from humanize import naturalsize

from impindiff.errors import InputError
from impindiff.support.memory import memory_limit

COORDINATE = "is it a coordinate? cut it to what is needed"
# larger expansions, above this size, count as decompression bombs
_UNPACKS_TO, _BYTES = 100, 2**30


def require_readable(what: str, needed: int, advice: str, stored: int | None = None) -> None:
    """Refuse to read more than half of this machine's memory.

    **Arguments:**

    - `what`: subject of the message, in the plural.
    - `needed`: bytes in memory.
    - `advice`: end of the message.
    - `stored`: bytes in the file, if known; a hundredfold expansion to more than a gigabyte is
      refused on any machine.

    **Raises:** `InputError`, ending in the advice.
    """
    memory = memory_limit()
    if needed > memory / 2:
        raise InputError(
            f"{what} take {naturalsize(needed)}, more than half of the memory of "
            f"{naturalsize(memory)}; {advice}"
        )
    if stored is not None and needed > max(_BYTES, _UNPACKS_TO * stored):
        raise InputError(
            f"{what} unpack to {naturalsize(needed)} from {naturalsize(stored)}, like a "
            f"decompression bomb; {advice}"
        )


def stored_bytes(path: Path | None, needed: int) -> int | None:
    """The size of a file, or of all files in a folder; None where it is not needed."""
    if path is None or needed <= _BYTES:
        return None
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
