"""The two forms of data in memory: fields on a grid, and points scattered in time and space.

**Fields**: dimensions `sample` (optional), `time` and some of `x`, `y`, `z`, each but `sample` with
a coordinate; one variable per quantity, float64, NaN where nothing was measured. A variable may
lack dimensions: a steady map has only spatial ones, a condition only `sample`.

A radius r is x, and z with it is y, by which the axes of a grid are counted.

**Points**: dimension `observation`; variables `time`, `x` (and `y`, `z`), `value`, `quantity`
(text), `standard_deviation` (NaN where unknown) and `sample` (0 where there is one only).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence

import xarray as xr

from impindiff.data.file_errors import listed
from impindiff.errors import InputError

SAMPLE, TIME, OBSERVATION = "sample", "time", "observation"
SPACE = ("x", "y", "z")
FIELD_DIMENSIONS = (SAMPLE, TIME, *SPACE)
CAPITALS = ("X", "Y", "Z", "T")
VALUE, QUANTITY, DEVIATION = "value", "quantity", "standard_deviation"
POINT_COLUMNS = (*FIELD_DIMENSIONS, VALUE, QUANTITY, DEVIATION)
# names in files, in lower case
ALIASES = {
    "t": TIME,
    "times": TIME,
    "samples": SAMPLE,
    "trajectory": SAMPLE,
    "realization": SAMPLE,
    "ensemble": SAMPLE,
    "member": SAMPLE,
    "batch": SAMPLE,
    "obs": OBSERVATION,
    "observations": OBSERVATION,
    "point": OBSERVATION,
    "points": OBSERVATION,
    "std": DEVIATION,
}


def assigned(names: Iterable[str], wanted: Sequence[str]) -> str:
    """Ways to assign the `wanted` names to those of a file, for the end of a message."""
    file_names = list(names)
    pairs = {next((n for n in file_names if n.lower().startswith(w)), "NAME"): w for w in wanted}
    pairs = pairs if len(pairs) == len(wanted) else {"NAME": wanted[0]}
    plain = ", ".join(f"{name}: {axis}" for name, axis in pairs.items())
    return f"--set 'data.variables={{{plain}}}' (in Python variables={pairs})"


# a radius, and the coordinate along its axis, in files of cylindrical or spherical coordinates
RADIUS, HEIGHT = ("r", "radius"), "z"


def radial_names(names: Iterable[str], usual: Mapping[str, str]) -> dict[str, str]:
    """{a file's name: x or y} for the axes r and (r, z), where no other name is x or y."""
    if {"x", "y"} & set(usual.values()):
        return {}
    found = [name for name in names if name.strip().lower() in RADIUS and usual[name] == name]
    if len(found) != 1:
        return {}
    heights = [name for name in names if usual[name] == HEIGHT]
    return {found[0]: "x"} | {name: "y" for name in heights[:1]}


def usual_name(name: str) -> str:
    """The standard name for a file's `name`; other names are unchanged."""
    small = name.strip().lower()
    known = {*FIELD_DIMENSIONS, OBSERVATION, VALUE, QUANTITY, DEVIATION}
    return ALIASES.get(small, small if small in known else name)


def usual_names(
    names: Iterable[str],
    given: Mapping[str, str] | None = None,
    along_itself: Collection[str] = (),
    otherwise: Collection[str] = (),
    radial: bool = True,
) -> dict[str, str]:
    """Map names in the file to standard names; other names are unchanged.

    Capital letters may also be quantities: Y a mass fraction, T a temperature, X a biomass. One is
    an axis if `given` makes it one, if it runs along itself, or if no other name stands for that
    axis and no spatial axis is in lower case.

    - `given`: names set by the user; no other name then stands for these axes.
    - `along_itself`: capital letters that are dimensions.
    - `otherwise`: names that cannot be axes.
    - `radial`: r stands for x, and z with it for y, where no other name does.
    """
    names, given = list(dict.fromkeys(names)), dict(given or {})
    found = {}
    for name in names:
        if name in given:
            found[name] = given[name]
        elif name.strip() not in CAPITALS:
            usual = usual_name(name)
            found[name] = usual if usual == name or usual not in given.values() else name
    # judge capitals after all others, whatever the order in the file
    small = set(SPACE) & set(found.values())
    for name in names:
        if name in found:
            continue
        axis = usual_name(name)
        against = name in otherwise or small or axis in found.values()
        found[name] = axis if name in along_itself or not against else name
    if radial:
        found |= radial_names([name for name in names if name not in otherwise], found)
    # restore the order
    return {name: found[name] for name in names}


Names = Sequence[str] | Mapping[str, str] | None


def roles(variables: object, of: Collection[str]) -> dict[str, str]:
    """The entries of {name in the file: name wanted} that assign an axis or a column."""
    if not isinstance(variables, Mapping):
        return {}
    return {str(name): str(wanted) for name, wanted in variables.items() if wanted in of}


def require_known(axes: Mapping[str, str], there: Sequence[str]) -> None:
    """Refuse the name of an axis or a column that the file does not have.

    **Raises:** `InputError`.
    """
    for name, wanted in axes.items():
        if name not in there:
            raise InputError(
                f"variables: '{name}' is to be '{wanted}', but the file has no '{name}'; it has "
                f"{listed(there)}"
            )


def chosen_names(there: Sequence[str], variables: Names) -> dict[str, str]:
    """Map names in the file to names wanted; None selects all, a string one.

    **Raises:** `InputError` for names that the file does not have.
    """
    if variables is None:
        return {name: name for name in there}
    names = [variables] if isinstance(variables, str) else variables
    wanted = dict(names) if isinstance(names, Mapping) else {n: n for n in names}
    for name, called in wanted.items():
        if name not in there:
            around = called in there and called != name
            raise InputError(
                f"variables: the file has no variable '{name}'; it has {listed(there)}; the first "
                f"name is the file's, the second the one wanted"
                + (f": turn it around, {{'{called}': '{name}'}}" if around else "")
            )
    return wanted


def is_points(dataset: xr.Dataset) -> bool:
    """True if a dataset that was read holds scattered points, False if fields."""
    return OBSERVATION in dataset.sizes


def space_of(dataset: xr.Dataset) -> tuple[str, ...]:
    """The spatial axes among x, y, z: dimensions of fields, variables of points."""
    return tuple(axis for axis in SPACE if axis in dataset.variables)
