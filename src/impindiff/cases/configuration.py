"""Configuration from defaults, YAML files and `--set`, in that order; errors fit one line."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import to_jsonable_python

from impindiff.cases.configuration_errors import first_problem
from impindiff.cases.yaml_text import parse_yaml, what_is_wrong, write_yaml
from impindiff.errors import InputError


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
    - `overrides`: `KEY=VALUE` with dots in the key and a YAML value, for example `train.steps=500`.

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
    # Defaults go in as data, not left to validation: a case's own default for a nested model would
    # otherwise be lost as soon as one of its keys is set.
    given = _filled(model.model_construct(), given)
    try:
        # Of the strict modes, the JSON one takes a list for a tuple and text for a path.
        return model.model_validate_json(json.dumps(given), strict=True)
    except ValidationError as error:
        # A key that is not known may hold anything, line breaks as well.
        raise InputError(" ".join(first_problem(model, given, error).split())) from None


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


def _read(file: Path) -> dict[str, Any]:
    try:
        content = parse_yaml(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise InputError(f"{file}: cannot read this configuration file: {reason}") from None
    except yaml.YAMLError as error:
        raise InputError(f"{file}: not valid YAML: {what_is_wrong(error)}") from None
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise InputError(
            f"{file}: the top level must be a mapping of keys to values, not {content!r:.60}"
        )
    return content


def _parse_override(text: str) -> dict[str, Any]:
    key, equals, value = text.partition("=")
    shown = " ".join(text.split())
    parts = key.strip().split(".")
    if not equals or not all(parts):
        raise InputError(
            f"--set {shown}: expected KEY=VALUE with dots in KEY, for example train.steps=500"
        )
    try:
        nested: Any = parse_yaml(value)
    except yaml.YAMLError as error:
        raise InputError(
            f"--set {shown}: {' '.join(key.split())} has a value that is not valid YAML "
            f"({what_is_wrong(error)}); text with special characters needs quotes"
        ) from None
    for part in reversed(parts):
        nested = {part: nested}
    return nested
