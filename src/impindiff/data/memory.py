"""What fits into memory."""

import os

from impindiff.errors import InputError


def require_memory(what: str, needed: int, advice: str) -> None:
    """Refuse to read more bytes than half of the memory of this machine, in all.

    **Raises:** `InputError`, ending in the advice.
    """
    memory = _physical_memory()
    if needed > memory / 2:
        raise InputError(
            f"{what} take {needed / 1e9:.3g} GB, more than half of the memory of "
            f"{memory / 1e9:.3g} GB; {advice}"
        )


def _physical_memory() -> float:
    try:
        return float(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"))
    except (AttributeError, ValueError, OSError):
        return float("inf")  # the system does not tell
