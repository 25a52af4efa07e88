"""A summary of a file's content, made without reading all of it."""

import dataclasses
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Literal

import numpy as np
import xarray as xr

from impindiff.data._fields import named_fields
from impindiff.data._forms import (
    DEVIATION,
    OBSERVATION,
    QUANTITY,
    SAMPLE,
    SPACE,
    TIME,
    VALUE,
    Names,
    is_points,
    space_of,
)
from impindiff.data._opening import opened
from impindiff.data._points import DROPPED, chosen_quantities, of_quantities, units_of
from impindiff.data.file_errors import reading
from impindiff.errors import InputError
from impindiff.observations.checks import require_even_spacing
from impindiff.observations.scattered import rows_by_name

# ranges of larger variables come from some snapshots: about this many values are read
_LOOKED_AT = 2**21


@dataclasses.dataclass(frozen=True)
class CoordinateDescription:
    """The values along one dimension, or the positions of points along one axis.

    - `first`, `last`: ends of a dimension; for points, the smallest and largest position.
    - `spacing`: the spacing if even, else None.
    """

    first: float
    last: float
    spacing: float | None
    units: str | None


@dataclasses.dataclass(frozen=True)
class VariableDescription:
    """Size, range and missing values of one quantity.

    - `lowest`, `highest`: range of the values examined; None if all are missing.
    - `missing`: number of NaN among the `looked_at` values examined, out of `size`. Points without
      a value are dropped, so `missing` is 0.
    - `standard_deviation`: of points, the smallest and largest stated; None if there is none.
    """

    dimensions: dict[str, int]
    units: str | None
    long_name: str | None
    lowest: float | None
    highest: float | None
    missing: int
    looked_at: int
    size: int
    standard_deviation: tuple[float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Description:
    """The result of `inspect`.

    - `format`: file format.
    - `kind`: `fields` or `points`.
    - `problems`: one line each; the file is readable, but a model may not accept it.
    - `distinct`: of points, the numbers of distinct `positions` and `times`.
    """

    path: Path
    format: str
    kind: Literal["fields", "points"]
    dimensions: dict[str, int]
    coordinates: dict[str, CoordinateDescription]
    variables: dict[str, VariableDescription]
    attributes: dict[str, str]
    problems: list[str]
    distinct: dict[str, int] = dataclasses.field(default_factory=dict)


def inspect(path: str | Path, variables: Names = None) -> Description:
    """Describe a file that `read` takes: its content, and possible problems.

    Ranges and missing values of variables with more than about two million values come from some
    snapshots, including the first.

    - `variables`: as for `read`: names of columns, axes and quantities that differ from the usual.

    **Raises:** `InputError`, as `read` does for a file that cannot be read.
    """
    path = Path(path)
    with opened(path, variables) as source:
        describe = _of_points if is_points(source.dataset) else _of_fields
        return describe(path, source.format, source.dataset, variables)


def _of_fields(path: Path, format_name: str, raw: xr.Dataset, variables: Names) -> Description:
    dataset, left_out = named_fields(raw, variables)
    problems = [f"variable '{name}' is left out: it {why}" for name, why in left_out.items()]
    coordinates = {}
    for axis in (TIME, *SPACE):
        if axis not in dataset.coords:
            continue
        values = dataset[axis].to_numpy()
        spacing = _even_spacing(axis, values, problems if axis != TIME else None)
        units = _attribute(dataset[axis], "units")
        coordinates[axis] = CoordinateDescription(
            float(values[0]), float(values[-1]), spacing, units
        )
    if dataset.sizes[TIME] < 2:
        problems.append("there is one time only; a model needs an initial state and an observation")
    described = {}
    for name, array in dataset.data_vars.items():
        seen = _some_of(array)
        with reading(f"values of '{name}'"):
            values = np.asarray(seen.to_numpy(), dtype=np.float64)
        described[str(name)] = found = _variable(array, values, array.size)
        if np.isinf(values).any():
            problems.append(f"variable '{name}' has infinite values; write NaN in their place")
        if found.lowest is None:
            problems.append(f"variable '{name}' is missing (NaN) wherever it was looked at")
        elif found.lowest == found.highest:
            problems.append(f"variable '{name}' is {found.lowest:g} wherever it was looked at")
    return Description(
        path,
        format_name,
        "fields",
        {str(name): dataset.sizes[name] for name in _ordered(dataset.sizes)},
        coordinates,
        described,
        _attributes(dataset),
        problems,
    )


def _of_points(path: Path, format_name: str, points: xr.Dataset, variables: Names) -> Description:
    points = chosen_quantities(points.load(), of_quantities(variables))
    problems = []
    if dropped := int(points.attrs.get(DROPPED, 0)):
        problems.append(f"{dropped} row(s) without a value are left out")
    coordinates = {}
    for axis in (TIME, *space_of(points)):
        values = points[axis].to_numpy()
        units = _attribute(points[axis], "units")
        coordinates[axis] = CoordinateDescription(
            float(values.min()), float(values.max()), None, units
        )
    names = points[QUANTITY].to_numpy()
    quantities = {}
    values = points[VALUE].to_numpy()
    errors = points[DEVIATION].to_numpy()
    for name, rows in sorted(rows_by_name(names).items()):
        units = units_of(points, name)
        described = {} if units is None else {"units": units}
        chosen = xr.DataArray(values[rows], dims=OBSERVATION, attrs=described)
        known = errors[rows][np.isfinite(errors[rows])]
        quantities[name] = dataclasses.replace(
            _variable(chosen, values[rows], len(rows)),
            standard_deviation=(float(known.min()), float(known.max())) if known.size else None,
        )
    keys = (SAMPLE, TIME, QUANTITY, *space_of(points))
    repeated = int(points[list(keys)].to_dataframe().duplicated(subset=list(keys)).sum())
    if repeated:
        problems.append(f"{repeated} observation(s) repeat the time, place and quantity of another")
    if points[DEVIATION].isnull().any() and not points[DEVIATION].isnull().all():
        problems.append("some observations have a standard deviation and others do not")
    samples = len(np.unique(points[SAMPLE]))
    positions = np.stack([points[axis].to_numpy() for axis in space_of(points)], axis=1)
    distinct = {
        "positions": len(np.unique(positions, axis=0)),
        "times": len(np.unique(points[TIME])),
    }
    return Description(
        path,
        format_name,
        "points",
        {OBSERVATION: points.sizes[OBSERVATION], SAMPLE: samples},
        coordinates,
        quantities,
        _attributes(points),
        problems,
        distinct,
    )


def _even_spacing(axis: str, values: np.ndarray, problems: list[str] | None) -> float | None:
    try:
        require_even_spacing(axis, values)
    except InputError as error:
        if problems is not None:
            problems.append(str(error))
        return None
    return float(values[-1] - values[0]) / (len(values) - 1)


def _some_of(array: xr.DataArray) -> xr.DataArray:
    """Three samples and times from first to last, then a corner of space, until it is small.

    Uses strides, not lists: of two lists of indices, HDF5 reads one as everything between its ends.
    """
    for dim in (SAMPLE, TIME):
        size = array.sizes.get(dim, 1)
        if array.size > _LOOKED_AT and size > 3:
            array = array.isel({dim: slice(None, None, (size - 1) // 2)})
    for dim in SPACE:
        if array.size > _LOOKED_AT and dim in array.sizes:
            others = array.size // array.sizes[dim]
            array = array.isel({dim: slice(0, max(_LOOKED_AT // others, 2))})
    return array


def _variable(array: xr.DataArray, seen: np.ndarray, size: int) -> VariableDescription:
    finite = seen[np.isfinite(seen)]
    return VariableDescription(
        {str(dim): array.sizes[dim] for dim in _ordered(array.sizes)},
        _attribute(array, "units"),
        _attribute(array, "long_name"),
        float(finite.min()) if finite.size else None,
        float(finite.max()) if finite.size else None,
        int(np.isnan(seen).sum()),
        seen.size,
        size,
    )


def _ordered(dims: Mapping[Hashable, int]) -> list[Hashable]:
    order = (SAMPLE, TIME, *SPACE, OBSERVATION)
    return [dim for dim in order if dim in dims]


def _attribute(array: xr.DataArray, name: str) -> str | None:
    return str(array.attrs[name]) if name in array.attrs else None


def _attributes(dataset: xr.Dataset) -> dict[str, str]:
    return {str(n): " ".join(str(v).split()) for n, v in dataset.attrs.items() if n != DROPPED}
