"""Common base of result files: writing, reading and validation."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from impindiff.data import written_whole
from impindiff.errors import InputError
from impindiff.settings.refusals import first_problem


def finite(content: Any) -> Any:
    """Replace numbers that are not finite, which JSON cannot represent, by None."""
    if isinstance(content, Mapping):
        return {key: finite(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [finite(value) for value in content]
    if isinstance(content, float) and not math.isfinite(content):
        return None
    return content


Number = float | None
"""A number; None where there is none, or none that is finite."""

Pair = tuple[float, Number]
"""A time and the value there."""


class Content(BaseModel):
    """Base of content stored as JSON: frozen, and equal when read back."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    again: ClassVar[str] = "run it again"

    @model_validator(mode="before")
    @classmethod
    def _as_json_has_it(cls, content: Any) -> Any:
        return finite(content)

    def write(self, path: Path) -> None:
        """Write the file atomically."""
        with written_whole(path) as partial:
            partial.write_text(self.model_dump_json(indent=2) + "\n")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file of `write`.

        **Raises:** `InputError` for a file that cannot be read, or is of another form, with the
        first wrong key.
        """
        try:
            text = path.read_bytes()
            content = json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())[:200]
            raise InputError(f"{path}: cannot be read as JSON: {reason}; {cls.again}") from None
        if not isinstance(content, dict):
            raise InputError(
                f"{path}: must be a mapping of keys to values, not a {type(content).__name__}; "
                f"{cls.again}"
            )
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            problem = first_problem(cls, content, error)
            raise InputError(f"{path}: {problem}; {cls.again}") from None
