"""The HDF5 layout of The Well (Ohana et al., 2024).

Group `dimensions` has `time` and an array for each of its attribute `spatial_dims`; groups
`t0_fields`, `t1_fields` and `t2_fields` have scalars, vectors and tensors, (sample, time, *space,
*components), without the axis of sample, time or space along which they do not vary.
"""

import itertools
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from impindiff.data._forms import SAMPLE, SPACE, TIME
from impindiff.data._hdf5 import (
    array_at,
    arrays_in,
    groups_in,
    lazy_variable,
    plain,
    text,
    values_of,
)
from impindiff.data.file_errors import listed
from impindiff.errors import InputError

_GROUPS = ("t0_fields", "t1_fields", "t2_fields")


def is_the_well(file: h5py.File) -> bool:
    """True if an open file has the layout."""
    groups = groups_in(file)
    return "dimensions" in groups and any(group in groups for group in _GROUPS)


def open_the_well(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    """Open the fields, unread; components become variables, `velocity_x`, `stress_xy`.

    Scalars and boundary conditions become attributes.

    **Raises:** `InputError` for grids that are not Cartesian, or that differ between samples.
    """
    if names:
        raise InputError(
            f"has a layout whose coordinates have fixed names; leave out {dict(names)} of variables"
        )
    file = closing.enter_context(h5py.File(path))
    groups = groups_in(file)
    dimensions = groups["dimensions"]
    space = [text(name) for name in np.atleast_1d(dimensions.attrs.get("spatial_dims", SPACE))]
    space = [axis for axis in space if axis in dimensions]
    kind = text(file.attrs.get("grid_type", "cartesian"))
    if kind != "cartesian" or not space or not set(space) <= set(SPACE):
        raise InputError(
            f"has a {kind} grid in {listed(space)}; only Cartesian grids in x, y and z are read: "
            f"interpolate the data to one"
        )
    coordinates = {n: _coordinate(n, array_at(dimensions, n)) for n in (TIME, *space)}
    fields: dict[str, xr.Variable] = {}
    for order, group in enumerate(_GROUPS):
        for name, entry in arrays_in(groups[group]).items() if group in groups else ():
            fields |= _components(name, entry, order, space)
    if not fields:
        raise InputError(
            f"has no field in its groups {listed([g for g in _GROUPS if g in groups])}"
        )
    return xr.Dataset(fields, coordinates, attrs=_attributes(file))


def _components(
    name: str, entry: h5py.Dataset, order: int, space: list[str]
) -> dict[str, xr.Variable]:
    varies = np.broadcast_to(entry.attrs.get("dim_varying", True), len(space))
    dims = [axis for axis, does in zip(space, varies, strict=True) if does]
    if entry.attrs.get("time_varying", True):
        dims.insert(0, TIME)
    if entry.attrs.get("sample_varying", True):
        dims.insert(0, SAMPLE)
    trailing = entry.shape[len(dims) :]
    count = len(space) ** order
    if entry.ndim < len(dims) or int(np.prod(trailing)) != count:
        raise InputError(
            f"array '{name}' has shape {entry.shape}; expected {listed(dims)}"
            + (f", then {count} components" if order else "")
        )
    parts = [f"component_{i}" for i in range(len(trailing))]
    whole = lazy_variable([*dims, *parts], entry)
    if not order:
        return {name: whole.isel(dict.fromkeys(parts, 0))}
    labels = ["".join(axes) for axes in itertools.product(space, repeat=order)]
    indices = itertools.product(*map(range, trailing))
    return {
        f"{name}_{label}": whole.isel(dict(zip(parts, index, strict=True)))
        for label, index in zip(labels, indices, strict=True)
    }


def _coordinate(name: str, entry: h5py.Dataset) -> xr.Variable:
    values, attrs = values_of(entry)
    if values.ndim == 2 and (values == values[:1]).all():
        values = values[0]
    if values.ndim != 1:
        raise InputError(
            f"coordinate '{name}' has shape {values.shape}: it differs between samples, which must "
            f"share one grid and one set of times; write each sample to its own file"
        )
    return xr.Variable(name, values, attrs)


def _attributes(file: h5py.File) -> dict[str, Any]:
    groups = groups_in(file)
    attrs = {name: plain(value) for name, value in file.attrs.items()}
    for name, entry in arrays_in(groups["scalars"]).items() if "scalars" in groups else ():
        if entry.size == 1:
            attrs[name] = plain(np.asarray(entry[()]).item())
    boundaries = groups.get("boundary_conditions")
    for name, group in groups_in(boundaries).items() if boundaries else ():
        attrs[f"boundary_{name}"] = plain(group.attrs.get("bc_type", "unknown"))
    return {name: value for name, value in attrs.items() if value is not None}
