"""The training history: one JSON object per line."""

import json
import os
from pathlib import Path
from typing import Any

import jax

from impindiff.errors import InputError
from impindiff.training._resources import storing


class History:
    """A writer of `history.jsonl`; on resuming it drops records after the restored step.

    Of several processes only the first writes.

    **Raises:** `InputError` on resuming from a file that is no history.
    """

    def __init__(self, path: Path, after_step: int | None = None):
        self._path = path
        self._writes = jax.process_index() == 0
        if not self._writes:
            return
        kept = [] if after_step is None else [r for r in read(path) if r["step"] <= after_step]
        partial = path.with_name(f".{path.name}.partial")
        with storing(path):
            partial.write_text("".join(json.dumps(record) + "\n" for record in kept))
            os.replace(partial, path)

    def append(self, record: dict[str, Any]) -> None:
        """Write one record, at once.

        **Raises:** `StorageError` if the disk is full, or the file is gone.
        """
        if not self._writes:
            return
        with storing(self._path), self._path.open("r+") as file:
            file.seek(0, os.SEEK_END)
            file.write(json.dumps(record) + "\n")


def read(path: Path) -> list[dict[str, Any]]:
    """All complete records of a history; a truncated last line is left out.

    **Raises:** `InputError` for a file with other content.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return []
    except OSError as error:
        raise InputError(f"{path}: cannot be read as a history: {error.strerror}") from None
    lines = content.split(b"\n")
    records = []
    for number, line in enumerate(lines, start=1):
        record = _record(line)
        if record is not None:
            records.append(record)
        elif number < len(lines):
            raise InputError(
                f"{path}, line {number}: is not a record of training; remove the file to go on "
                "without it"
            )
    return records


def _record(line: bytes) -> dict[str, Any] | None:
    try:
        found = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not (isinstance(found, dict) and type(found.get("step")) is int):
        return None
    return found if all(map(_is_numeric, found.values())) else None


def _is_numeric(value: Any) -> bool:
    """True for a number or None, or a mapping or sequence of such."""
    if isinstance(value, dict):
        value = list(value.values())
    of = value if isinstance(value, list) else [value]
    return all(one is None or type(one) in (int, float) for one in of)
