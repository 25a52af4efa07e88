"""One-line errors from the exceptions of file readers, and lists of names."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from impindiff.errors import InputError


@contextmanager
def reading(format_name: str) -> Iterator[None]:
    """Turn any exception of a reader into one line.

    Readers raise nearly any type of exception, depending on where the file is broken.

    **Raises:** `InputError`; one raised inside passes unchanged.
    """
    try:
        yield
    except InputError:
        raise
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"cannot be read as {format_name} ({reason}); it may be cut short or of another format"
        ) from error


@contextmanager
def of_file(path: Path) -> Iterator[None]:
    """Prefix errors about a file's content with the file's path.

    **Raises:** `InputError`.
    """
    try:
        yield
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def listed(names: Any) -> str:
    """`(a, b)`, or `none`."""
    return "(" + ", ".join(str(name) for name in names) + ")" if len(names) else "none"
