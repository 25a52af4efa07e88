"""The training history as event files for TensorBoard."""

import math
from pathlib import Path
from typing import Any

from impindiff.errors import InputError

FOLDER = "tensorboard"
_NOT_SHOWN = {"step", "seconds"}


class TensorBoard:
    """Writer of history records as TensorBoard events: give it to `Callbacks` as `log`.

    View them with `tensorboard --logdir RUN_DIR`; after a resumption new records replace those of
    the same steps. Close it at the end, or use a `with` statement.

    **Raises:** `InputError` if tensorboardX is not installed.
    """

    def __init__(self, folder: Path):
        try:
            from tensorboardX import SummaryWriter
        except ModuleNotFoundError:
            raise InputError(
                "training.tensorboard: needs tensorboardX: pip install 'impindiff[tensorboard]'"
            ) from None
        self._open = lambda step: SummaryWriter(str(folder / FOLDER), purge_step=step)
        self._writer = None

    def __call__(self, record: dict[str, Any]) -> None:
        """Write the numbers of one line of the history."""
        if self._writer is None:
            self._writer = self._open(record["step"])
        for name, value in record.items():
            numbers = value if isinstance(value, dict) else {"": value}
            for part, number in numbers.items():
                shown = isinstance(number, int | float) and math.isfinite(number)
                if name not in _NOT_SHOWN and shown:
                    tag = f"{name}/{part}" if part else name
                    self._writer.add_scalar(tag, number, record["step"])
        self._writer.flush()

    def close(self) -> None:
        """Finish pending writes."""
        if self._writer is not None:
            self._writer.close()

    def __enter__(self) -> "TensorBoard":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
