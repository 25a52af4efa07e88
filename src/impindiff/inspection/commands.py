"""Which commands take a file: each worked case is asked, a model of one's own takes any."""

import shlex
from typing import NamedTuple

from impindiff.cases import CASES, load_configuration
from impindiff.data import Description
from impindiff.errors import InputError

# A worked case reads the whole of a file; to ask it of more values than these would take long.
_ASKED_OF = 2**24


class Taker(NamedTuple):
    """A command that takes the file, and what it does with it."""

    command: str
    purpose: str


def commands_for(description: Description) -> list[Taker]:
    """The commands that take the file as it is; the last is for a model of one's own.

    Of a file with more than about 17 million values, the worked cases are not asked.
    """
    takers = []
    if sum(variable.size for variable in description.variables.values()) <= _ASKED_OF:
        for case in CASES.values():
            # The case's own variable first, else the first that a case can read.
            for variable in (None, *_whole_variables(description)):
                taker = _taker(case.name, description, variable)
                if taker is not None:
                    takers.append(taker)
                    break
    path = shlex.quote(str(description.path))
    own = f"impindiff run my_model.py --set data.path={path}"
    return [*takers, Taker(own, "a model of your own: impindiff new NAME")]


def _whole_variables(description: Description) -> list[str]:
    """Those with all the dimensions that the file has."""
    if description.kind == "points":
        return []
    return [n for n, v in description.variables.items() if v.dimensions == description.dimensions]


def _taker(name: str, description: Description, variable: str | None) -> Taker | None:
    case = CASES[name]
    settings = load_configuration(case.settings, [], [])
    if variable is not None:
        data = settings.data.model_copy(update={"variable": variable})
        settings = settings.model_copy(update={"data": data})
    try:
        case.read(settings, description.path)
    except InputError:
        return None
    path = shlex.quote(str(description.path))
    chosen = "" if variable is None else f" --set data.variable={shlex.quote(variable)}"
    return Taker(f"impindiff run {name} --set data.path={path}{chosen}", f"infers {case.infers}")
