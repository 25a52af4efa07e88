"""A lock on a folder that one process at a time writes to."""

import contextlib
import fcntl
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jax

from impindiff.errors import InputError
from impindiff.training._resources import StorageError

LOCK = ".lock"
# files under temporary names, as `written_whole` and the training write them, and probes
_LEFT = re.compile(r"\.(.+\.partial(-(?P<pid>\d+))?(\.\w+)?(\.older)?|writable-\d+)")
_LEFT_BY_ORBAX = re.compile(r"\d+\.orbax-checkpoint-tmp.*")
_PLACES = ("figures", "training_state", "restarts/*", "restarts/*/training_state")
_held: dict[tuple[int, int], int] = {}


@contextmanager
def held(folder: Path) -> Iterator[Callable[[], None]]:
    """Lock a folder until the block ends; yields a function that checks its existence.

    The lock is the operating system's (flock), on a file in the folder: it ends with the process.
    One process may lock a folder several times, as a run and the `fit` in it do. Of the processes
    of a distributed run only the first takes it. Taking it deletes temporary files left by a killed
    process.

    **Raises:** `InputError` for a folder locked by another process, naming it, and one that cannot
    be written to; `StorageError`, in place of any other error, if the folder was moved or deleted.
    """
    if jax.process_index() != 0:
        yield lambda: None
        return
    identity = identity_of(folder)
    if identity is None:
        raise InputError(f"{folder}: there is no such folder")
    nested = identity in _held
    lock = None if nested else _lock(folder)
    _held[identity] = _held.get(identity, 0) + 1

    def still() -> None:
        if identity_of(folder) != identity:
            raise _gone(folder)

    try:
        if not nested:
            clean(folder)
        yield still
        still()
    except StorageError:
        raise
    except Exception as error:
        if identity_of(folder) == identity:
            raise
        raise _gone(folder) from error
    finally:
        _held[identity] -= 1
        if not _held[identity]:
            del _held[identity]
        if lock is not None:
            _unlock(folder, lock)


def holder(folder: Path) -> str | None:
    """The other process that holds the folder: "process 4711", or "process 4711 on HOST".

    The host is named if it is another one. None if there is none, or if it cannot be determined.
    """
    path = folder / LOCK
    if not path.is_file() or identity_of(folder) in _held:
        return None
    try:
        descriptor = os.open(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _named(descriptor)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def identity_of(folder: Path) -> tuple[int, int] | None:
    """Identity of a folder, independent of its name; None if it does not exist."""
    try:
        found = folder.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def clean(folder: Path) -> None:
    """Delete temporary files of processes that no longer exist."""
    for parent in [folder, *(found for place in _PLACES for found in folder.glob(place))]:
        for path in filter(is_leftover, _entries(parent)):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """True if a file has a temporary name, but not that of another process that is alive."""
    if _LEFT_BY_ORBAX.fullmatch(path.name):
        return True
    found = _LEFT.fullmatch(path.name)
    return found is not None and not (found["pid"] and _is_another_alive(int(found["pid"])))


def _gone(folder: Path) -> StorageError:
    return StorageError(
        f"{folder}: was moved or deleted while it was written to, so this run has ended; what was "
        "saved is where the folder is now: continue there with --resume"
    )


def _entries(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _is_another_alive(process: int) -> bool:
    if process == os.getpid():
        return False
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except (OSError, OverflowError):
        return False
    return True


def _lock(folder: Path) -> int | None:
    """A descriptor of the lock file, locked; None where the file system has no locks."""
    path = folder / LOCK
    while True:
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise InputError(
                f"{folder}: cannot be written to ({error.strerror}); name another folder"
            ) from None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            who = _named(descriptor)
            os.close(descriptor)
            raise InputError(
                f"{folder}: {who} is writing to it; wait until it has ended, or end it and "
                "continue with --resume"
            ) from None
        except OSError:
            os.close(descriptor)
            return None
        # the previous holder may have deleted it in between
        if identity_of(path) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino):
            break
        os.close(descriptor)
    with contextlib.suppress(OSError):  # a full disk: locked nevertheless
        os.ftruncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()} {os.uname().nodename}\n".encode())
    return descriptor


def _named(descriptor: int) -> str:
    """The process that holds this lock."""
    for _ in range(20):  # it may not have written its name yet
        words = os.pread(descriptor, 200, 0).decode(errors="replace").split()
        if len(words) == 2:
            here = "" if words[1] == os.uname().nodename else f" on {words[1]}"
            return f"process {words[0]}{here}"
        time.sleep(0.01)
    return "another process"


def _unlock(folder: Path, descriptor: int) -> None:
    """Delete the lock file, while it is still locked, and unlock it."""
    path = folder / LOCK
    with contextlib.suppress(OSError):
        if identity_of(path) == (os.fstat(descriptor).st_dev, os.fstat(descriptor).st_ino):
            path.unlink()
    os.close(descriptor)
