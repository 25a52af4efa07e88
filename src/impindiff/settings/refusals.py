"""One readable line from a Pydantic validation error."""

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from impindiff.settings.choices import models_in, tags_of

# Pydantic's terms for JSON and Python, in the words of YAML
_WORDS = {
    "Input should be": "must be",
    "Input should": "must",
    "a valid boolean": "true or false",
    "a valid integer": "an integer",
    "a valid number": "a number",
    "a valid string": "text",
    "a valid array": "a list",
    "a valid list": "a list",
    "a valid tuple": "a list",
    "an object": "a mapping of keys to values",
    "a valid dictionary": "a mapping of keys to values",
    "Value error, ": "",
}


def first_problem(model: type[BaseModel], data: Mapping[str, Any], error: ValidationError) -> str:
    """One line: the full key, the fault, the values allowed, and the number of further faults.

    **Arguments:**

    - `model`: the model validated against.
    - `data`: its input; separates keys from the names that Pydantic gives to alternatives of one
      key.
    - `error`: the error that Pydantic raised.
    """
    by_key: dict[tuple[str, ...], list[Any]] = {}
    for found in error.errors(include_url=False):
        by_key.setdefault(_key(data, found), []).append(found)
    key, problems = next(iter(by_key.items()))
    line = _line(model, data, key, problems)
    more = len(by_key) - 1
    return f"{line} (and {more} more problem{'s' * (more > 1)})" if more else line


def _line(
    model: type[BaseModel], data: Mapping[str, Any], key: tuple[str, ...], problems: Sequence[Any]
) -> str:
    name = ".".join(key)
    first = problems[0]
    if first["type"] == "extra_forbidden":
        return f"{name}: {_unknown(model, data, key)}"
    if first["type"] == "missing":
        return f"{name}: is required and has no default"
    if first["type"] == "union_tag_invalid":
        tag = first["ctx"]["discriminator"].strip("'")
        expected, given = first["ctx"]["expected_tags"], first["ctx"]["tag"]
        said = _said_of(model, data, key)
        return f"{name}.{tag}: must be {expected}, not '{given}'{said}"
    if first["type"] in ("too_short", "too_long"):
        of = first["ctx"]
        end = f"least {of['min_length']}" if "min_length" in of else f"most {of['max_length']}"
        return f"{name}: must have at {end} entries, not {of['actual_length']}"
    messages = " or ".join(dict.fromkeys(_message(problem) for problem in problems))
    if first["type"] in ("value_error", "assertion_error"):
        return f"{name}: {messages}" if name else messages
    value = first["input"]
    if isinstance(value, dict) and value and not _keys_at(model, data, key):
        within = ".".join((name, next(iter(value))))
        return f"{within}: there is no such key; {name} has no keys, it {messages}"
    allowed = _keys_at(model, data, key)
    keys = f" with keys {', '.join(allowed)}" if allowed else ""
    return f"{name}: {messages}{keys}, not {_shown(value)}"


def _unknown(model: type[BaseModel], data: Mapping[str, Any], key: tuple[str, ...]) -> str:
    allowed = _keys_at(model, data, key[:-1])
    close = get_close_matches(key[-1], allowed, n=1)
    meant = f" did you mean '{close[0]}'?" if close else ""
    level = f"in {'.'.join(key[:-1])}" if key[:-1] else "at the top level"
    said = _said_of(model, data, key[:-1])
    return f"there is no such key;{meant} allowed {level}: {', '.join(allowed)}{said}"


def _key(data: Any, found: Any) -> tuple[str, ...]:
    """The parts of Pydantic's location that are keys of the user's data, or the missing key."""
    parts: list[str] = []
    for part in found["loc"]:
        inside_mapping = isinstance(data, Mapping) and part in data
        inside_list = isinstance(data, list) and isinstance(part, int) and part < len(data)
        if inside_mapping or inside_list:
            data = data[part]
            parts.append(str(part))
    if found["type"] == "missing":
        parts.append(str(found["loc"][-1]))
    return tuple(parts)


def _keys_at(model: type[BaseModel], data: Any, key: Sequence[str]) -> list[str]:
    """The keys allowed below `key`, of the alternative that the data choose; none for a value."""
    models = _at(model, data, key)[0]
    return list(dict.fromkeys(name for m in models for name in m.model_fields))


def _said_of(model: type[BaseModel], data: Any, key: Sequence[str]) -> str:
    """The description of the section at `key`, in parentheses; empty if it has none."""
    found = [field.description for field in _at(model, data, key)[1] if field.description]
    return f" ({found[0]})" if found else ""


def _at(
    model: type[BaseModel], data: Any, key: Sequence[str]
) -> tuple[list[type[BaseModel]], list[FieldInfo]]:
    """(the models that the type of `key` allows, the fields at `key`)."""
    models, fields = [model], []
    for part in key:
        fields = [m.model_fields[part] for m in models if part in m.model_fields]
        data = data.get(part) if isinstance(data, Mapping) else None
        models = []
        for field in fields:
            members, tag = models_in(field.annotation), field.discriminator
            if isinstance(tag, str) and isinstance(data, Mapping) and tag in data:
                members = [m for m in members if data[tag] in tags_of(m, tag)] or members
            models += members
    return models, fields


def _message(problem: Any) -> str:
    message = " ".join(str(problem["msg"]).split())
    for theirs, ours in _WORDS.items():
        message = message.replace(theirs, ours)
    return message


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
