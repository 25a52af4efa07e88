"""Fields on a grid: a file's names and axes in the common form, and selections from it."""

from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import xarray as xr

from impindiff.data._forms import (
    CAPITALS,
    FIELD_DIMENSIONS,
    HEIGHT,
    RADIUS,
    SAMPLE,
    SPACE,
    TIME,
    Names,
    assigned,
    chosen_names,
    roles,
    usual_names,
)
from impindiff.data._memory import COORDINATE, require_readable, stored_bytes
from impindiff.data.file_errors import listed, reading
from impindiff.data.units import convert, elapsed
from impindiff.errors import InputError
from impindiff.observations.checks import same_places, shortest


class Fields(NamedTuple):
    """The variables of a file that fit the form, unread, and the reasons for leaving out others."""

    dataset: xr.Dataset
    left_out: dict[str, str]


def named_fields(
    raw: xr.Dataset, variables: Names = None, units: Mapping[str, str] | None = None
) -> Fields:
    """Name dimensions and variables in the common form; only coordinates are read.

    **Raises:** `InputError` for variables, dimensions and coordinates that are missing, and for
    times that do not increase.
    """
    axes = roles(variables, FIELD_DIMENSIONS)
    dataset = _usual_dimensions(raw, axes, variables)
    if isinstance(variables, Mapping):
        variables = {name: w for name, w in variables.items() if name not in axes} or None
    chosen = _chosen(dataset, variables)
    kept, left_out = {}, {}
    for name, wanted in chosen.items():
        reason = _misfit(dataset[name])
        if reason is None:
            kept[name] = wanted
        elif variables is None:
            left_out[name] = reason
        else:
            raise InputError(f"variable '{name}' {reason}")
    if not kept:
        why = "; ".join(f"'{name}' {reason}" for name, reason in left_out.items())
        raise InputError(
            f"has no variable of numbers with dimensions among {listed(FIELD_DIMENSIONS)}"
            + (f": {why}" if why else f"; its variables are {listed(dataset.variables)}")
        )
    dims = {d for name in kept for d in dataset[name].dims}
    _require_dimensions(dataset, dims, kept)
    coordinates = {}
    for name in (d for d in FIELD_DIMENSIONS if d in dims and d in dataset.variables):
        coordinates[name] = _coordinate(dataset, name, (units or {}).get(name))
    if SAMPLE in dims and SAMPLE not in coordinates:
        coordinates[SAMPLE] = xr.Variable(SAMPLE, np.arange(dataset.sizes[SAMPLE]))
    taken = {wanted: dataset[name].variable for name, wanted in kept.items()}
    return Fields(xr.Dataset(taken, coordinates, attrs=dataset.attrs), left_out)


def _usual_dimensions(raw: xr.Dataset, axes: Mapping[str, str], variables: Names) -> xr.Dataset:
    """Rename t to time, nx to x where the only array x runs along nx, and so on."""
    for name, variable in raw.variables.items():
        if len(set(variable.dims)) < variable.ndim:
            raise InputError(
                f"variable '{name}' has dimensions {listed(variable.dims)}, one of them twice; "
                f"give each axis its own dimension"
            )
    names = list(map(str, [*raw.variables, *(d for d in raw.sizes if d not in raw.variables)]))
    # plain arrays have these names already
    axes = {name: axis for name, axis in axes.items() if name in names}
    quantities = set(variables or ()) - set(axes)
    dims = {str(name): tuple(map(str, v.dims)) for name, v in raw.variables.items()}
    own = {
        name
        for name in CAPITALS
        if name in raw.sizes or (len(dims.get(name, ())) == 1 and _counts(dims[name][0], name))
    }
    others = {name for name in CAPITALS if name not in own}
    # r may also be a quantity; it is an axis where fields have its dimension
    radial = any(name.lower() in RADIUS and name in raw.sizes for name in names)
    usual = usual_names(names, axes, own - quantities, others | quantities, radial)
    renamed: dict[Hashable, Hashable] = {n: u for n, u in usual.items() if u in FIELD_DIMENSIONS}
    if twice := sorted({str(u) for u in renamed.values() if list(renamed.values()).count(u) > 1}):
        raise InputError(
            f"two names stand for '{twice[0]}' in {listed(names)}; drop one, or say which by "
            f"{assigned((), twice[:1])}"
        )
    dataset = raw.rename({old: new for old, new in renamed.items() if old != new})
    for old, new in renamed.items():
        if (str(old).lower() in RADIUS or (radial and old == HEIGHT)) and new in dataset.variables:
            dataset[new].attrs.setdefault("long_name", str(old))
    for axis in (TIME, *SPACE):
        if axis in dataset.variables and axis not in dataset.sizes:
            dims = dataset[axis].dims
            if len(dims) == 1 and dims[0] not in FIELD_DIMENSIONS:
                dataset = dataset.swap_dims({dims[0]: axis})
    return dataset


def _counts(dimension: str, axis: str) -> bool:
    """True for names of a number of cells along an axis: nx, n_x, x_dim."""
    n = axis.lower()
    return dimension.lower() in {f"n{n}", f"n_{n}", f"num_{n}", f"i{n}", f"dim_{n}", f"{n}_dim"}


def _chosen(dataset: xr.Dataset, variables: Names) -> dict[str, str]:
    wanted = chosen_names([str(name) for name in dataset.data_vars], variables)
    names = list(wanted.values())
    taken = set(names) & {*FIELD_DIMENSIONS}
    if len(set(names)) != len(names) or taken:
        raise InputError(f"variables must get different names, none of a dimension; given {names}")
    return wanted


def _misfit(variable: xr.DataArray) -> str | None:
    odd = [d for d in variable.dims if d not in FIELD_DIMENSIONS]
    if odd:
        return (
            f"has dimensions {listed(variable.dims)}; expected only {listed(FIELD_DIMENSIONS)}: "
            f"rename '{odd[0]}', or choose one entry by isel({odd[0]}=0) of xarray"
        )
    if variable.dtype.kind not in "fiu":
        return f"holds {variable.dtype}, not real numbers"
    if not variable.ndim or not variable.size:
        return f"has shape {variable.shape}, no values along an axis"
    return None


def _require_dimensions(dataset: xr.Dataset, dims: set[Hashable], kept: Mapping[str, str]) -> None:
    if TIME not in dims:
        raise InputError(
            f"has no dimension 'time' (or 't') in {listed(kept)}; add one, by "
            f"expand_dims(time=[0.0]) of xarray if the field is a single snapshot"
        )
    if not dims & set(SPACE):
        raise InputError(
            f"has no dimension of space, x, y or z, in {listed(kept)}, whose dimensions are "
            f"{listed(sorted(map(str, dims)))}; rename those that are"
        )
    for name in (TIME, *SPACE):
        if name not in dims:
            continue
        if name not in dataset.variables:
            unknown = "times are" if name == TIME else "cell size is"
            raise InputError(
                f"dimension '{name}' has no coordinate, so its {unknown} not known; add a variable "
                f"'{name}' with dimension '{name}'"
            )
        if dataset[name].dims != (name,):
            raise InputError(
                f"coordinate '{name}' has dimensions {listed(dataset[name].dims)}; expected "
                f"('{name}'): only grids whose axes are straight are read, interpolate to one"
            )


def _coordinate(dataset: xr.Dataset, name: str, wanted: str | None) -> xr.Variable:
    require_readable(f"the values of '{name}'", 8 * dataset[name].size, COORDINATE)
    with reading("the values of a coordinate"):
        variable = xr.Variable(name, dataset[name].to_numpy(), dataset[name].attrs)
    if name == SAMPLE:
        return variable
    if name == TIME:
        variable = elapsed(variable)
    if variable.dtype.kind not in "fiu":
        raise InputError(
            f"coordinate '{name}' holds {variable.dtype}; expected numbers"
            + (" or dates" if name == TIME else "")
        )
    if wanted is not None:
        variable = convert(variable, name, wanted)
    values = variable.to_numpy().astype(np.float64)
    if not np.isfinite(values).all():
        first = int(np.argmax(~np.isfinite(values)))
        raise InputError(
            f"coordinate '{name}' is {values[first]} at index {first}; every one must be a finite "
            f"number: fill it in, or drop that entry"
        )
    if name == TIME and not (np.diff(values) > 0).all():
        i = int(np.argmax(np.diff(values) <= 0))
        raise InputError(
            f"coordinate 'time' must increase, but goes from {values[i]:g} at index {i} to "
            f"{values[i + 1]:g} at index {i + 1}; sort the snapshots and keep one per time"
        )
    return xr.Variable(name, values, variable.attrs)


def selected(
    dataset: xr.Dataset, samples: Sequence[int] | None, times: tuple[float, float] | None
) -> xr.Dataset:
    """Select samples by index and times by an inclusive range; unread.

    **Raises:** `InputError` for samples that do not exist, and a range without a time.
    """
    if samples is not None:
        count = dataset.sizes.get(SAMPLE, 1)
        wrong = [i for i in samples if not 0 <= i < count]
        if wrong or not len(samples):
            raise InputError(
                f"there is no sample {wrong[0] if wrong else 'in an empty list'}; the {count} "
                f"sample(s) are numbered 0 to {count - 1}"
            )
        if SAMPLE in dataset.sizes:
            dataset = dataset.isel({SAMPLE: list(samples)})
    if times is not None:
        first, last = times
        there = dataset[TIME].to_numpy()
        interval = shortest(there)
        inside = np.flatnonzero(
            ((there >= first) & (there <= last))
            | same_places(there, first, interval)
            | same_places(there, last, interval)
        )
        if not len(inside):
            raise InputError(
                f"has no time from {first:g} to {last:g}; its {len(there)} times go from "
                f"{there[0]:g} to {there[-1]:g}"
            )
        dataset = dataset.isel({TIME: slice(int(inside[0]), int(inside[-1]) + 1)})
    return dataset


def loaded(
    dataset: xr.Dataset, units: Mapping[str, str] | None = None, path: Path | None = None
) -> xr.Dataset:
    """Load everything as float64 with axes in the standard order and the requested units.

    **Raises:** `InputError` for data too large for memory, infinite values and a broken file.
    """
    needed = 8 * sum(variable.size for variable in dataset.data_vars.values())
    advice = "choose some by samples=, times= or variables="
    require_readable("the values asked for", needed, advice, stored_bytes(path, needed))
    variables = {}
    for name, array in dataset.data_vars.items():
        with reading(f"values of '{name}'"):
            values = array.to_numpy()
        order = [d for d in FIELD_DIMENSIONS if d in array.dims]
        plain = xr.Variable(array.dims, values, array.attrs).transpose(*order)
        plain = xr.Variable(order, np.ascontiguousarray(plain.to_numpy(), np.float64), array.attrs)
        if (wanted := (units or {}).get(str(name))) is not None:
            plain = convert(plain, str(name), wanted)
        _require_not_infinite(str(name), plain)
        variables[name] = plain
    return xr.Dataset(variables, dataset.coords, attrs=dataset.attrs)


def _require_not_infinite(name: str, variable: xr.Variable) -> None:
    infinite = np.isinf(variable.to_numpy())
    if infinite.any():
        first = np.unravel_index(int(np.argmax(infinite)), variable.shape)
        where = ", ".join(f"{d}={i}" for d, i in zip(variable.dims, first, strict=True))
        raise InputError(
            f"variable '{name}' is infinite at index {where} ({int(infinite.sum())} such values); "
            f"write NaN where nothing was measured, or cut the file to where it is finite"
        )
