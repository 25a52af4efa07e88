"""The training state on disk: saved whole, restored to the bit."""

import logging
from pathlib import Path
from typing import Any

import orbax.checkpoint as ocp
from jaxtyping import PyTree

from impindiff.errors import InputError

_KEPT = 2


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
            max_to_keep=_KEPT, enable_async_checkpointing=False, create=True
        )
        self._manager = ocp.CheckpointManager(folder.absolute(), options=options)

    def save(self, step: int, state: PyTree[Any]) -> None:
        """Store the arrays of `state` as that of `step`."""
        if step not in self._manager.all_steps():
            self._manager.save(step, args=ocp.args.StandardSave(state))

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
