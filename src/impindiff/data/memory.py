"""What fits into memory."""

from pathlib import Path

from humanize import naturalsize

from impindiff.errors import InputError
from impindiff.support.memory import memory_limit

COORDINATE = "is it a coordinate? cut it to what is needed"
# What unpacks to so many times its size, and to more than this, was made to fill the memory.
_UNPACKS_TO, _BYTES = 100, 2**30


def require_readable(what: str, needed: int, advice: str, stored: int | None = None) -> None:
    """Refuse to read more bytes than half of the memory of this machine, in all.

    - `stored`: how many bytes they take in the file, if known: packed a hundredfold, more than a
      gigabyte is refused on any machine.

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
            f"{what} unpack to {naturalsize(needed)} from {naturalsize(stored)}, as what is made "
            f"to fill the memory does; {advice}"
        )


def stored_bytes(path: Path | None, needed: int) -> int | None:
    """The size of a file, or of all in a folder; None where it is not needed to judge."""
    if path is None or needed <= _BYTES:
        return None
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(file.stat().st_size for file in files if file.is_file())
