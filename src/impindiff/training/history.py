"""The training history: one JSON object a line."""

import json
import os
from pathlib import Path
from typing import Any

import jax

from impindiff.errors import is_full_disk
from impindiff.training.resources import TrainingError


class History:
    """Appends records to `history.jsonl`; on resuming drops those past the restored step.

    Of several processes the first alone writes.
    """

    def __init__(self, path: Path, after_step: int | None = None):
        self._path = path
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        kept = [] if after_step is None else [r for r in read(path) if r["step"] <= after_step]
        partial = path.with_name(f".{path.name}.partial")
        partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
        os.replace(partial, path)

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, at once. Raises `TrainingError` if the disk is full."""
        if not self._writes:
            return
        try:
            with self._path.open("a") as file:
                file.write(json.dumps(record) + "\n")
        except OSError as error:
            if not is_full_disk(error):
                raise
            raise TrainingError(
                f"{self._path}: the disk is full; make room and continue with --resume"
            ) from None


def read(path: Path) -> list[dict[str, Any]]:
    """All whole records of a history; a last line cut short by a kill is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
