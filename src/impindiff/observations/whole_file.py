"""Files that are either whole or absent: written beside under another name, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from impindiff.errors import InputError


@contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to; rename it to `path` if the block succeeds, else delete it.

    The temporary file is in the same folder (a rename is atomic only inside one file system) and
    keeps the suffix, from which writers infer the format.

    **Raises:** `InputError` as `require_writable`.
    """
    require_writable(path)
    partial = path.parent / f".{path.stem}.partial-{os.getpid()}{path.suffix}"
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def require_writable(path: Path) -> None:
    """Refuse what cannot be written, before work is spent on it.

    **Raises:** `InputError` if `path` is a folder or its own folder is missing or not writable.
    """
    folder = path.parent
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written, there is no folder {folder}; make it first")
    if path.is_dir():
        raise InputError(f"{path}: is a folder; give the name of a file to write")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path}: cannot be written, no permission to write in {folder}")
