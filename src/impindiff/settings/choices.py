"""Configuration keys that apply to some choices only, and keys that have no effect.

Two kinds. A section that offers a choice is a union of models with a discriminator: each member has
its own keys. A key that depends on another key is marked by `WorksWith`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Keys = tuple[str, ...]
# a key without effect, and the reason
Useless = tuple[Keys, str]


class WorksWith(NamedTuple):
    """Mark a key or a section that has no effect unless another key has one of some values.

    `solver: Annotated[SolverSettings, WorksWith("stepper.name", ("bdf2",))]`. A key without effect
    holds its default, and `dump_yaml` leaves it out.

    - `key`: the other key, dotted from the top; a configuration without it satisfies the condition.
    - `allowed`: its values; empty: every value other than `unless`.
    - `but`: for a section, the model whose keys apply nevertheless.
    """

    key: str
    allowed: tuple[Any, ...] = ()
    unless: Any = None
    but: type[BaseModel] | None = None

    def holds(self, settings: BaseModel) -> bool:
        """True if the marked key has an effect in these settings."""
        value: Any = settings
        for part in self.key.split("."):
            if not hasattr(value, part):
                return True
            value = getattr(value, part)
        return value in self.allowed if self.allowed else value != self.unless

    def reason(self, settings: BaseModel) -> str:
        """The reason why the marked key has no effect, and the values with which it has."""
        value: Any = settings
        for part in self.key.split("."):
            value = getattr(value, part)
        return does_nothing(self.key, value, self.allowed)


def does_nothing(key: str, value: Any, allowed: tuple[Any, ...]) -> str:
    """One line for the error, to follow the name of the key without effect.

    - `key`, `value`: the choice made.
    - `allowed`: the values of `key` with which it has an effect; empty: all others.
    """
    chosen = "{...}" if isinstance(value, BaseModel) else _shown(value)
    shown = [_shown(value) for value in allowed]
    works = " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:]))) or "any other"
    return f"does nothing with {key}={chosen}; it works with {works}; change {key}, or leave it out"


def _shown(value: Any) -> str:
    return "null" if value is None else f"{value!s:.60}"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models in a key's type annotation."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in models_in(argument)]


def tags_of(member: type[BaseModel], discriminator: str) -> tuple[Any, ...]:
    """Discriminator values that choose this member of a union."""
    return get_args(member.model_fields[discriminator].annotation)


def is_marked(info: FieldInfo) -> bool:
    """True if a key applies to some values of another key only."""
    return any(isinstance(mark, WorksWith) for mark in info.metadata)


def idle(settings: BaseModel, given: Mapping[str, Any], *, nulls: bool = False) -> list[Useless]:
    """The keys in `given` that have no effect in these settings, each with the reason.

    - `nulls`: include keys given as null, which otherwise count as not given.
    """
    return list(_idle(settings, settings, given, (), nulls))


def without(given: Mapping[str, Any], path: Keys) -> dict[str, Any]:
    """A copy without the key at `path`, and without sections that this leaves empty."""
    first, *inner = path
    rest = dict(given)
    left = without(rest[first], tuple(inner)) if inner else {}
    if left:
        rest[first] = left
    else:
        del rest[first]
    return rest


def _idle(
    settings: BaseModel, level: BaseModel, given: Mapping[str, Any], path: Keys, nulls: bool
) -> Iterator[Useless]:
    for name, info in type(level).model_fields.items():
        if name not in given or (given[name] is None and not nulls):
            continue
        value, below, here = given[name], getattr(level, name), (*path, name)
        marks = [m for m in info.metadata if isinstance(m, WorksWith) and not m.holds(settings)]
        if isinstance(below, BaseModel) and isinstance(value, Mapping):
            rest = dict(value)
            for mark in marks:
                works = () if mark.but is None else mark.but.model_fields
                for key in [key for key in rest if key not in works]:
                    if rest.pop(key) is not None or nulls:
                        yield (*here, key), mark.reason(settings)
            yield from _idle(settings, below, rest, here, nulls)
        elif marks:
            yield here, marks[0].reason(settings)
