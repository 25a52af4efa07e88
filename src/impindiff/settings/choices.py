"""Keys of a configuration that work with some choices only, and those that do nothing.

Two kinds. A section with a choice of its own is a union of models with a discriminator: a key of
one member is none of another's. A key that depends on another key is marked by `WorksWith`.
"""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel
from pydantic.fields import FieldInfo

Keys = tuple[str, ...]
# a key that does nothing, and why
Useless = tuple[Keys, str]


class WorksWith(NamedTuple):
    """Marks a key or a section that does nothing unless another key has one of some values.

    `solver: Annotated[SolverSettings, WorksWith("stepper.name", ("bdf2",))]`. What stands at a key
    that does nothing is its default, and `dump_yaml` leaves it out.

    - `key`: the other key, with dots from the top; a configuration without it fulfils this.
    - `allowed`: its values; empty: every value other than `unless`.
    - `but`: of a section, the model whose keys work all the same.
    """

    key: str
    allowed: tuple[Any, ...] = ()
    unless: Any = None
    but: type[BaseModel] | None = None

    def holds(self, settings: BaseModel) -> bool:
        """Whether the marked key does something in these settings."""
        value: Any = settings
        for part in self.key.split("."):
            if not hasattr(value, part):
                return True
            value = getattr(value, part)
        return value in self.allowed if self.allowed else value != self.unless

    def reason(self, settings: BaseModel) -> str:
        """Why the marked key does nothing, and with what it does something."""
        value: Any = settings
        for part in self.key.split("."):
            value = getattr(value, part)
        return does_nothing(self.key, value, self.allowed)


def does_nothing(key: str, value: Any, allowed: tuple[Any, ...]) -> str:
    """The reason in one line, after the name of the key that does nothing.

    - `key`, `value`: what was chosen.
    - `allowed`: the values of `key` with which it does something; empty: all others.
    """
    chosen = "{...}" if isinstance(value, BaseModel) else _shown(value)
    shown = [_shown(value) for value in allowed]
    works = " or ".join(filter(None, (", ".join(shown[:-1]), *shown[-1:]))) or "any other"
    return f"does nothing with {key}={chosen}; it works with {works}; change {key}, or leave it out"


def _shown(value: Any) -> str:
    return "null" if value is None else f"{value!s:.60}"


def models_in(annotation: Any) -> list[type[BaseModel]]:
    """The models that a key's type consists of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [inner for argument in get_args(annotation) for inner in models_in(argument)]


def tags_of(member: type[BaseModel], discriminator: str) -> tuple[Any, ...]:
    """The values of the discriminator that choose this member of a union."""
    return get_args(member.model_fields[discriminator].annotation)


def is_marked(info: FieldInfo) -> bool:
    """Whether a key works with some values of another only."""
    return any(isinstance(mark, WorksWith) for mark in info.metadata)


def idle(settings: BaseModel, given: Mapping[str, Any], *, nulls: bool = False) -> list[Useless]:
    """The keys among `given` that do nothing in the settings made of them, each with the reason.

    - `nulls`: those that are given as null too, which otherwise says that they are not given.
    """
    return list(_idle(settings, settings, given, (), nulls))


def without(given: Mapping[str, Any], path: Keys) -> dict[str, Any]:
    """The same without the key at `path`, and without a section that has no other."""
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
