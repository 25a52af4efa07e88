"""Configuration from defaults, YAML files and `--set`, in that order; one-line errors."""

import json
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, create_model
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python

from impindiff.errors import InputError
from impindiff.settings.choices import (
    Keys,
    Useless,
    does_nothing,
    idle,
    is_marked,
    models_in,
    tags_of,
    without,
)
from impindiff.settings.refusals import first_problem
from impindiff.settings.yaml_text import DEEPEST, NotYAMLError, parse_yaml, write_yaml

_LARGEST_INTEGER = 2**63 - 1
_LARGEST_FILE = 1_000_000  # bytes


def _any_choice(schema: dict[str, Any]) -> None:
    # a section that leaves the choice to its default may be valid for several of the alternatives
    for of in schema.get("properties", {}).values():
        if "oneOf" in of:
            of["anyOf"] = of.pop("oneOf")


class StrictModel(BaseModel):
    """Base of every configuration: unknown keys are refused, instances are frozen."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        allow_inf_nan=False,
        json_schema_extra=_any_choice,
    )


M = TypeVar("M", bound=StrictModel)


def with_defaults(model: type[M], given: Mapping[str, Any]) -> type[M]:
    """The same configuration with other defaults.

    **Arguments:**

    - `given`: nested values, as in a configuration file.

    **Raises:** as `load_configuration`.
    """
    settings = load_settings(model, given)
    fields: dict[str, Any] = {}
    for name in given:
        info = copy(model.model_fields[name])
        info.default = getattr(settings, name)
        fields[name] = (info.annotation, info)
    return create_model(
        model.__name__, __base__=model, __doc__=model.__doc__, __module__=model.__module__, **fields
    )


def load_configuration(model: type[M], files: Sequence[Path], overrides: Sequence[str]) -> M:
    """The configuration made of the model's defaults, then each file, then each override.

    Mappings merge key by key; any other value replaces the earlier one. Types are strict: text is
    not taken for a number, nor a number for a truth value.

    **Arguments:**

    - `model`: the configuration to make.
    - `files`: YAML files (1.2 scalars: `1e-3` is a number, `yes` is text).
    - `overrides`: `KEY=VALUE` with dots in the key and a YAML value, such as `training.steps=500`.

    **Raises:** `InputError`, one line with the full key and the values allowed there.
    """
    return load_settings(model, nested_overrides(files, overrides))


def nested_overrides(files: Sequence[Path], overrides: Sequence[str]) -> dict[str, Any]:
    """The content of files and overrides as one nested mapping, not validated against a model."""
    given: dict[str, Any] = {}
    for file in files:
        given = merged(given, _read(file))
    for override in overrides:
        given = merged(given, _parse_override(override))
    return given


def load_settings(model: type[M], given: Mapping[str, Any]) -> M:
    """The configuration made of the model's defaults and nested values.

    A key without effect is refused; null counts as not given.

    **Raises:** as `load_configuration`.
    """
    settings, useless = _validated(model, given)
    if useless:
        path, reason = useless[0]
        more = len(useless) - 1
        counted = f" (and {more} more such key{'s' * (more > 1)})" if more else ""
        raise InputError(f"{'.'.join(path)}: {reason}{counted}")
    return settings


def without_useless(model: type[StrictModel], given: Mapping[str, Any]) -> dict[str, Any]:
    """Nested values as `load_settings` takes them, less the keys without effect.

    **Raises:** as `load_configuration`.
    """
    rest = dict(given)
    for path, _ in _validated(model, given)[1]:
        rest = without(rest, path)
    return rest


def dump_yaml(config: StrictModel) -> str:
    """The configuration as YAML, which `load_configuration` reads back to an equal one.

    Keys without effect are left out.
    """
    values = config.model_dump(mode="json")
    for path, _ in idle(config, values, nulls=True):
        values = without(values, path)
    return write_yaml(values)


def merged(
    base: Mapping[str, Any], over: Mapping[str, Any], within: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Merge two mappings key by key at every level; `over` wins.

    **Arguments:**

    - `within`: the keys above, for errors.

    **Raises:** `InputError` if `over` has keys below a plain value of `base`.
    """
    both = dict(base)
    for key, value in over.items():
        below, path = both.get(key), (*within, key)
        if isinstance(value, Mapping) and below is not None:
            if not isinstance(below, Mapping):
                name = ".".join(path)
                more = ".".join((name, *map(str, list(value)[:1])))
                raise InputError(
                    f"{name}: is given twice, first as {below!r:.60} and then by separate keys, "
                    f"{more}; leave one of them out"
                )
            value = merged(below, value, path)
        both[key] = value
    return both


def dotted(nested: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """Pairs (`a.b.c`, value) for each value in nested mappings."""
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from dotted(value, f"{before}{key}.")
        else:
            yield f"{before}{key}", value


def _validated(model: type[M], given: Mapping[str, Any]) -> tuple[M, list[Useless]]:
    """(the configuration, its keys without effect)."""
    _require_plain(given)
    # Pass defaults as data, since validation would lose a problem's own default for a nested model
    # as soon as one of its keys is set.
    useless: list[Useless] = []
    filled = _filled(model.model_construct(), given, (), useless)
    try:
        # Pydantic's strict JSON mode takes a list for a tuple and text for a path.
        settings = model.model_validate_json(json.dumps(filled), strict=True)
    except ValidationError as error:
        raise InputError(first_problem(model, filled, error)) from None
    return settings, useless + idle(settings, given)


def _filled(
    default: BaseModel, given: Mapping[str, Any], path: Keys, useless: list[Useless]
) -> dict[str, Any]:
    filled = dict(given)
    for name, info in type(default).model_fields.items():
        below, value, here = getattr(default, name, None), given.get(name), (*path, name)
        if name not in given or (value is None and is_marked(info)):
            if hasattr(default, name):
                filled[name] = to_jsonable_python(below)
        elif isinstance(value, Mapping):
            if isinstance(info.discriminator, str):
                below, value = _chosen(info, info.discriminator, below, value, here, useless)
            if isinstance(below, BaseModel):
                filled[name] = _filled(below, value, here, useless)
    return filled


def _chosen(
    info: FieldInfo,
    tag: str,
    default: Any,
    given: Mapping[str, Any],
    path: Keys,
    useless: list[Useless],
) -> tuple[Any, Mapping[str, Any]]:
    """Return (default, keys) of the member of a union chosen by `tag`.

    A choice other than the default's inherits the values of keys that both get from a common base,
    where these are not the plain defaults of that choice.
    Keys that only other choices have go to `useless`, unless they are null.
    """
    members = models_in(info.annotation)
    choice = given.get(tag, getattr(default, tag, None))
    chosen = next((m for m in members if choice in tags_of(m, tag)), None)
    if chosen is None:
        return None, given
    if type(default) is not chosen:
        bases = [base for base in type(default).__mro__ if issubclass(base, BaseModel)]
        shared = {key for base in bases if issubclass(chosen, base) for key in base.model_fields}
        values = {key: getattr(default, key) for key in shared - {tag}}
        own_defaults = {key: info.default for key, info in type(default).model_fields.items()}
        # a default of the other choice, which nobody chose, gives way to that of this one
        kept = {
            key: value
            for key, value in values.items()
            if value != own_defaults[key] or chosen.model_fields[key].is_required()
        }
        default = chosen.model_construct(**kept)
    own = dict(given)
    for key in [key for key in given if key not in chosen.model_fields]:
        able = [value for m in members if key in m.model_fields for value in tags_of(m, tag)]
        if able and own.pop(key) is not None:
            governing = ".".join((*path, tag))
            useless.append(((*path, key), does_nothing(governing, choice, tuple(able))))
    return default, own


def _require_plain(value: Any, key: str = "") -> None:
    """Refuse values that no key can hold: integers beyond 64 bits, text with a NUL."""
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
