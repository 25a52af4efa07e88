"""What fits into memory."""

from impindiff.errors import InputError
from impindiff.memory import memory_limit


def require_memory(what: str, needed: int, advice: str) -> None:
    """Refuse to read more bytes than half of the memory of this machine, in all.

    **Raises:** `InputError`, ending in the advice.
    """
    memory = memory_limit()
    if needed > memory / 2:
        raise InputError(
            f"{what} take {needed / 1e9:.3g} GB, more than half of the memory of "
            f"{memory / 1e9:.3g} GB; {advice}"
        )
