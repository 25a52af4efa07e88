"""The training state on disk: saved atomically, restored exactly, to the bit."""

import gc
import hashlib
import logging
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from humanize import naturalsize
from jaxtyping import PyTree, UInt8

from impindiff.errors import FailureCode, InputError, is_full_disk
from impindiff.training._folder_lock import identity_of
from impindiff.training._resources import StorageError, size_in_bytes

STATES_KEPT = 2
_THREAD_SECONDS = 10.0
_STATE, _DIGEST = "state", "sha256"
# Orbax's messages for arrays or names that do not match
_ANOTHER = ("structures do not match", "not compatible with the stored shape")


class TrainingStore:
    """A folder of training states, one per saved step, of which the last two are kept.

    Orbax writes each under a temporary name and renames it: a process killed while saving leaves
    the state before. A digest of all numbers is saved with them, since Orbax silently restores some
    damaged files to other numbers.

    **Arguments:**

    - `fresh`: delete existing states.

    **Raises:** `InputError` if `folder` cannot hold them.
    """

    def __init__(self, folder: Path, *, fresh: bool = False):
        self._folder = folder
        if fresh and jax.process_index() == 0:
            shutil.rmtree(folder, ignore_errors=True)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=STATES_KEPT, enable_async_checkpointing=False, create=True
        )
        try:
            with _quietly():
                self._manager = ocp.CheckpointManager(folder.absolute(), options=options)
            self._identity = identity_of(folder)
        except (OSError, ValueError) as error:
            raise InputError(
                f"{folder}: cannot hold training states ({_reason(error)}); remove it or name "
                "another folder"
            ) from None

    def save(self, step: int, state: PyTree[Any]) -> None:
        """Store the arrays of `state` as that of `step`.

        **Raises:** `StorageError` if that fails, as on a full disk, or in a folder that was moved
        or deleted; the states saved before are unchanged.
        """
        if step in self._manager.all_steps():
            return
        if identity_of(self._folder) != self._identity:
            raise StorageError(
                f"{self._folder}: was moved or deleted during training, so the state of step "
                f"{step} cannot be saved; move it back and continue with --resume, or start again"
            )
        content = {_STATE: state, _DIGEST: _digest(state)}
        reason, code, help_ = None, None, "continue with --resume once it can be"
        with _quietly():
            try:
                self._manager.save(step, args=ocp.args.StandardSave(content))
            except Exception as error:
                reason = _reason(error)
                if is_full_disk(error):
                    reason, code = "the disk is full", FailureCode.full_disk
                    help_ = "make room and continue with --resume"
            if reason is not None:
                # Orbax's other threads may meet the same error later, and complain when deleted
                for thread in threading.enumerate():
                    if type(thread).__module__.startswith("orbax."):
                        thread.join(_THREAD_SECONDS)
                gc.collect()
        if reason is None:
            return
        for partial in self._folder.glob("*.orbax-checkpoint-tmp*"):
            shutil.rmtree(partial, ignore_errors=True)
        saved = self._manager.latest_step()
        kept = "none was saved before" if saved is None else f"that of step {saved} is intact"
        raise StorageError(
            f"{self._folder}: {reason}, the training state of step {step} "
            f"({naturalsize(size_in_bytes(state))}) cannot be saved; {kept}; {help_}",
            code=code,
        )

    def restore(
        self, like: PyTree[Any], say: Callable[[str], object] = lambda line: None
    ) -> PyTree[Any] | None:
        """The last complete state saved, in the structure of `like`; None if there is none.

        **Arguments:**

        - `say`: receives a message for each later, damaged state, which is deleted once an earlier
          is read.

        **Raises:** `InputError` if none of those stored can be read as `like`.
        """
        steps = sorted(self._manager.all_steps(), reverse=True)
        reasons: list[str] = []
        for step in steps:
            found, reason = self._restored(step, like)
            if reason is None:
                for damaged, why in zip(steps, reasons, strict=False):
                    say(
                        f"{self._folder}: the training state of step {damaged} is damaged ({why}); "
                        f"going on from that of step {step}"
                    )
                    shutil.rmtree(self._folder / str(damaged), ignore_errors=True)
                if reasons:
                    self._manager.reload()
                return found
            reasons.append(reason)
        if not reasons:
            return None
        if all(any(words in reason for words in _ANOTHER) for reason in reasons):
            raise InputError(
                f"{self._folder}: the training state of step {steps[0]} does not fit this model "
                f"({reasons[0]}); was the run made by another version or configuration?"
            )
        raise InputError(
            f"{self._folder}: none of the training states (of steps "
            f"{', '.join(map(str, reversed(steps)))}) can be read, they are damaged "
            f"({reasons[0]}); remove this folder and continue with --resume to train from the "
            "beginning"
        )

    def _restored(self, step: int, like: PyTree[Any]) -> tuple[PyTree[Any] | None, str | None]:
        """(state, None), or (None, reason)."""
        asked = {_STATE: like, _DIGEST: np.zeros(hashlib.sha256().digest_size, np.uint8)}
        found, reason = None, None
        with _quietly():
            try:
                found = self._manager.restore(step, args=ocp.args.StandardRestore(asked))
            except Exception as error:
                reason = _reason(error)
            if found is None:
                gc.collect()
                return None, reason
        if not np.array_equal(np.asarray(found[_DIGEST]), _digest(found[_STATE])):
            return None, "its numbers are not those that were saved"
        return found[_STATE], None

    def close(self) -> None:
        """Finish pending writes."""
        self._manager.close()


def _digest(state: PyTree[Any]) -> UInt8[np.ndarray, " 32"]:
    """SHA-256 of all arrays, their types and shapes, in the order of the tree."""
    found = hashlib.sha256()
    for leaf in jax.tree.leaves(state):
        array = np.asarray(leaf)
        found.update(f"{array.dtype}{array.shape}".encode())
        found.update(np.ascontiguousarray(array).tobytes())
    return np.frombuffer(found.digest(), np.uint8)


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


@contextmanager
def _quietly() -> Iterator[None]:
    """Keep Orbax's threads from printing tracebacks: the error is raised as well."""
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]
    levels = [logger.level for logger in loggers]
    hooks = threading.excepthook, sys.unraisablehook
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    threading.excepthook = sys.unraisablehook = _ignore
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
            yield
    finally:
        threading.excepthook, sys.unraisablehook = hooks
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


def _ignore(arguments: object) -> None:
    del arguments
