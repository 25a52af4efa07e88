"""The training state on disk: saved whole, restored to the bit."""

import logging
import shutil
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from jaxtyping import PyTree

from impindiff.errors import InputError, is_full_disk
from impindiff.memory import readable_size
from impindiff.training.resources import TrainingError, size_in_bytes

STATES_KEPT = 2


class TrainingStore:
    """A folder of training states, one per saved step, of which the last two are kept.

    Orbax writes each under a temporary name and renames it: a process killed while saving leaves
    the state before.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        # Orbax reports every save at level INFO and each wait at WARNING
        logging.getLogger("absl").setLevel(logging.ERROR)
        options = ocp.CheckpointManagerOptions(
            max_to_keep=STATES_KEPT, enable_async_checkpointing=False, create=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, state: PyTree[Any]) -> None:
        """Store the arrays of `state` as that of `step`.

        Raises `TrainingError` if the disk is full; the states saved before stay as they are.
        """
        if step in self._manager.all_steps():
            return
        try:
            self._manager.save(step, args=ocp.args.StandardSave(state))
        except (OSError, ValueError) as error:
            if not is_full_disk(error):
                raise
            for partial in self._folder.glob("*.orbax-checkpoint-tmp*"):
                shutil.rmtree(partial, ignore_errors=True)
            saved = self._manager.latest_step()
            kept = "none was saved before" if saved is None else f"that of step {saved} is intact"
            raise TrainingError(
                f"{self._folder}: the disk is full, the training state of step {step} "
                f"({readable_size(size_in_bytes(state))}) cannot be saved; {kept}; make room and "
                "continue with --resume"
            ) from None

    def restore(self, like: PyTree[Any]) -> PyTree[Any] | None:
        """The last state saved, in the structure of `like`; None if there is none.

        Raises `InputError` if what is stored does not fit `like`.
        """
        step = self._manager.latest_step()
        if step is None:
            return None
        try:
            return self._manager.restore(step, args=ocp.args.StandardRestore(like))
        except (ValueError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(
                f"{self._folder}: the training state of step {step} does not fit this model "
                f"({reason}); was the run made by another version or configuration?"
            ) from error

    def close(self) -> None:
        """Finish what is under way."""
        self._manager.close()
