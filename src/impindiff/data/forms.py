"""The two forms that data have once read: fields on a grid, and points scattered in time and space.

**Fields**: dimensions `sample` (optional), `time` and as many of `x`, `y`, `z` as there are, each
but `sample` with a coordinate; a variable a quantity, float64, NaN where nothing was measured.
A variable may lack dimensions: a steady map has those of space only, a condition `sample` only.

**Points**: dimension `observation`; variables `time`, `x` (and `y`, `z`), `value`, `quantity`
(text), `standard_deviation` (NaN where unknown) and `sample` (0 where there is one only).
"""

import xarray as xr

SAMPLE, TIME, OBSERVATION = "sample", "time", "observation"
SPACE = ("x", "y", "z")
FIELD_DIMENSIONS = (SAMPLE, TIME, *SPACE)
VALUE, QUANTITY, DEVIATION = "value", "quantity", "standard_deviation"
# What a file may call them, in small letters.
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


def usual_name(name: str) -> str:
    """The form's own name of what a file calls `name`; others stay as they are."""
    small = name.strip().lower()
    known = {*FIELD_DIMENSIONS, OBSERVATION, VALUE, QUANTITY, DEVIATION}
    return ALIASES.get(small, small if small in known else name)


def is_points(dataset: xr.Dataset) -> bool:
    """Whether a dataset that was read holds scattered points; else it holds fields."""
    return OBSERVATION in dataset.sizes


def space_of(dataset: xr.Dataset) -> tuple[str, ...]:
    """Which of x, y, z there are: dimensions of fields, variables of points."""
    return tuple(axis for axis in SPACE if axis in dataset.variables)
