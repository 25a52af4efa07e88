"""Memory and disk space, checked before use."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
from humanize import naturalsize
from jaxtyping import PyTree

from impindiff.errors import FailureCode, ImpindiffError, InputError, is_full_disk
from impindiff.support.memory import memory_limit


class TrainingError(ImpindiffError, RuntimeError):
    """Training cannot continue: a non-finite loss or gradient, a failed solve, a full disk."""


class StorageError(TrainingError):
    """The training state or history cannot be stored: a full disk, a folder that is gone."""

    code = FailureCode.not_stored


class RoomError(InputError):
    """A disk with too little room for the files to be written."""

    code = FailureCode.full_disk


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Convert errors of the operating system, while `path` is written, to `StorageError`."""
    try:
        yield
    except OSError as error:
        code = None
        if is_full_disk(error):
            code = FailureCode.full_disk
            how = "the disk is full; make room and continue with --resume"
        elif isinstance(error, FileNotFoundError):
            how = "was moved or deleted during training; move it back and continue with --resume"
        else:
            reason = error.strerror or error
            how = f"cannot be written to ({reason}); continue with --resume once it can be"
        raise StorageError(f"{path}: {how}", code=code) from None


def require_step_fits(temporary_mb: float | None) -> None:
    """Raise `TrainingError` for a step that needs more temporary memory than this machine has."""
    available = memory_limit() / 1e6
    if temporary_mb is not None and temporary_mb > available:
        raise TrainingError(
            f"a training step needs {temporary_mb / 1e3:.1f} GB of temporary memory, this machine "
            f"has {available / 1e3:.1f} GB; try adjoint.name=implicit_adjoint, "
            "adjoint.checkpointing=for_budget, fewer samples or a coarser grid",
            code=FailureCode.out_of_memory,
        )


def require_room(folder: Path, needed: int, purpose: str) -> None:
    """Make `folder` and raise `InputError` if it cannot be written to; `RoomError` if it is full.

    - `needed`: bytes.
    - `purpose`: of these bytes, such as "training states".
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / f".writable-{os.getpid()}"
        probe.touch()
        probe.unlink(missing_ok=True)  # another process of the same name on another machine
    except OSError as error:
        raise InputError(
            f"{folder}: cannot be written to ({error.strerror}); name another folder"
        ) from None
    free = shutil.disk_usage(folder).free
    if needed > free:
        raise RoomError(
            f"{folder}: the {purpose} need {naturalsize(needed)}, and {naturalsize(free)} are free "
            "on its disk; make room or name another folder"
        )


def size_in_bytes(tree: PyTree) -> int:
    """Size of all arrays in a tree."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
