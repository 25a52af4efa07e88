"""Configuration from defaults, YAML files and `--set`, in that order; errors fit one line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

from impindiff.cases.configuration_errors import first_problem
from impindiff.cases.yaml_text import DEEPEST, NotYAMLError, parse_yaml, write_yaml
from impindiff.errors import InputError

_LARGEST_INTEGER = 2**63 - 1
_LARGEST_FILE = 1_000_000  # bytes


class StrictModel(BaseModel):
    """Base of every configuration: unknown keys are refused, values never change once made."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False
    )


M = TypeVar("M", bound=StrictModel)


def load_configuration(model: type[M], files: Sequence[Path], overrides: Sequence[str]) -> M:
    """The configuration that results from the model's defaults, then each file, then each override.

    Mappings merge key by key; any other value replaces what was there. No value changes its type on
    the way: text is not taken for a number, nor a number for a truth value.

    **Arguments:**

    - `model`: the configuration to make.
    - `files`: YAML files (1.2 scalars: `1e-3` is a number, `yes` is text).
    - `overrides`: `KEY=VALUE` with dots in the key and a YAML value, such as `training.steps=500`.

    **Raises:** `InputError`, one line that names the full key and what is allowed there.
    """
    return load_settings(model, nested_overrides(files, overrides))


def nested_overrides(files: Sequence[Path], overrides: Sequence[str]) -> dict[str, Any]:
    """What files and overrides say, as one nested mapping; not validated against any model yet."""
    given: dict[str, Any] = {}
    for file in files:
        given = merged(given, _read(file))
    for override in overrides:
        given = merged(given, _parse_override(override))
    return given


def load_settings(model: type[M], given: Mapping[str, Any]) -> M:
    """The configuration that results from the model's defaults and nested values in their place.

    Raises as `load_configuration`.
    """
    _require_plain(given)
    # Defaults go in as data, not left to validation: a case's own default for a nested model would
    # otherwise be lost as soon as one of its keys is set.
    given = _filled(model.model_construct(), given)
    try:
        # Of the strict modes, the JSON one takes a list for a tuple and text for a path.
        return model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        raise InputError(first_problem(model, given, error)) from None


def dump_yaml(config: StrictModel) -> str:
    """The whole configuration as YAML, which `load_configuration` reads back to an equal one."""
    return write_yaml(config.model_dump(mode="json"))


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both mappings, key by key at every level; `over` wins where both have a value."""
    both = dict(base)
    for key, value in over.items():
        below = both.get(key)
        if isinstance(below, Mapping) and isinstance(value, Mapping):
            value = merged(below, value)
        both[key] = value
    return both


def _filled(default: BaseModel, given: Mapping[str, Any]) -> dict[str, Any]:
    filled = dict(given)
    for name, info in type(default).model_fields.items():
        if not hasattr(default, name):  # required
            continue
        below, tag = getattr(default, name), info.discriminator
        if name not in given:
            filled[name] = to_jsonable_python(below)
        elif isinstance(below, BaseModel) and isinstance(given[name], Mapping):
            # Another choice of a tagged alternative takes none of the default's keys.
            chosen = getattr(below, tag) if isinstance(tag, str) else None
            if chosen is None or given[name].get(tag, chosen) == chosen:
                filled[name] = _filled(below, given[name])
    return filled


def _require_plain(value: Any, key: str = "") -> None:
    """Refuse what no key can hold: integers beyond 64 bits, and text with a NUL."""
    if isinstance(value, Mapping):
        for name, below in value.items():
            _require_plain(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, (list, tuple)):
        for below in value:
            _require_plain(below, key)
    elif isinstance(value, int) and abs(value) > _LARGEST_INTEGER:
        raise InputError(
            f"{key}: an integer of {len(str(abs(value)))} digits is too large; the largest is "
            f"{_LARGEST_INTEGER}"
        )
    elif isinstance(value, str) and "\0" in value:
        raise InputError(f"{key}: {value!r:.60} has a NUL character, which no text here may have")


def _read(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            read = stream.read(_LARGEST_FILE + 1)
        text = read.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{file}: cannot read this configuration file: {reason}") from None
    if len(read) > _LARGEST_FILE:
        raise InputError(
            f"{file}: is larger than {_LARGEST_FILE / 1e6:g} MB; is it a configuration file?"
        )
    try:
        content = parse_yaml(text)
    except NotYAMLError as error:
        raise InputError(f"{file}: not valid YAML: {error}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(
            f"{file}: the top level must be a mapping of keys to values, not {content!r:.60}"
        )
    return content


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    parts = key.strip().split(".")
    if not equals or not all(parts) or len(parts) > DEEPEST:
        raise InputError(
            f"--set {text}: expected KEY=VALUE with dots in KEY, for example training.steps=500"
        )
    try:
        nested: Any = parse_yaml(value)
    except NotYAMLError as error:
        raise InputError(
            f"--set {text}: {key} has a value that is not valid YAML ({error}); text with special "
            f"characters needs quotes"
        ) from None
    for part in reversed(parts):
        nested = {part: nested}
    return nested
