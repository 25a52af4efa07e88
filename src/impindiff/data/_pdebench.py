"""The HDF5 layouts of PDEBench (Takamoto et al., 2022).

- One file per solution operator: `tensor` (sample, time, *space), or one array per quantity
  (`density`, `Vx`, ...), with `x-coordinate`, ..., `t-coordinate`. The last may have one entry more
  than the arrays have times.
- One group per sample, `0000`, `0001`, ...: `data` (time, *space, channel), `grid/t`, `grid/x`, ...
"""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import h5py
import numpy as np
import xarray as xr

from impindiff.data._arrays import name_axes
from impindiff.data._forms import SAMPLE, SPACE, TIME
from impindiff.data._hdf5 import (
    array_at,
    arrays_in,
    attributes,
    groups_in,
    lazy_stack,
    lazy_variable,
    vector,
)
from impindiff.data.file_errors import listed
from impindiff.errors import InputError

_COORDINATE = "-coordinate"


def is_pdebench(file: h5py.File) -> bool:
    """True if an open file has one of the layouts."""
    return f"x{_COORDINATE}" in file or "tensor" in file or bool(_groups(file))


def _groups(file: h5py.File) -> list[str]:
    found = groups_in(file).items()
    return [name for name, group in found if name.isdecimal() and {"data", "grid"} <= set(group)]


def open_pdebench(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    """Open any of the layouts, unread; channels of `data` become `u0`, `u1`, ..., a single one `u`.

    **Raises:** `InputError` for coordinates that are missing or do not fit.
    """
    if names:
        raise InputError(
            f"has a layout whose coordinates have fixed names; leave out {dict(names)} of variables"
        )
    file = closing.enter_context(h5py.File(path))
    groups = _groups(file)
    return _grouped(file, groups) if groups else _flat(file)


def _flat(file: h5py.File) -> xr.Dataset:
    arrays = arrays_in(file)
    coordinates = {
        axis: vector(axis, arrays.pop(axis + _COORDINATE))
        for axis in SPACE
        if axis + _COORDINATE in arrays
    }
    if not coordinates:
        raise InputError(f"has no array 'x{_COORDINATE}'; it has {listed(file)}")
    lengths = {axis: len(values) for axis, values in coordinates.items()}
    times = arrays.pop("t" + _COORDINATE, None)
    quantities = {n: e for n, e in arrays.items() if e.dtype.kind in "fiuc" and e.ndim}
    with_time = [n for n, e in quantities.items() if e.ndim == len(lengths) + 2]
    if not with_time:
        raise InputError(
            f"has no array of dimensions (sample, time, {', '.join(lengths)}); its arrays have "
            f"shapes { {n: e.shape for n, e in quantities.items()} }"
        )
    steps = quantities[with_time[0]].shape[1]
    if times is None:
        # a steady problem, such as Darcy flow, has one unnamed time
        if steps != 1:
            raise InputError(
                f"has no array 't{_COORDINATE}', but {steps} times in '{with_time[0]}'"
            )
        stated = np.zeros(1)
    else:
        stated = vector(TIME, times)
        if len(stated) == steps + 1:
            stated = stated[:-1]
    named = name_axes(
        {n: lazy_variable([f"axis_{i}" for i in range(e.ndim)], e) for n, e in quantities.items()},
        {TIME: len(stated), **lengths},
    )
    return xr.Dataset(named, {TIME: stated, **coordinates}, attrs=attributes(file))


def _grouped(file: h5py.File, groups: list[str]) -> xr.Dataset:
    data, grid = array_at(file, f"{groups[0]}/data"), f"{groups[0]}/grid"
    axes = [axis for axis in SPACE if f"{grid}/{axis}" in file]
    coordinates = {axis: vector(axis, array_at(file, f"{grid}/{axis}")) for axis in axes or ["x"]}
    times = vector(TIME, array_at(file, f"{grid}/t"))
    dims = (TIME, *coordinates)
    expected = (len(times), *map(len, coordinates.values()))
    if data.ndim != len(dims) + 1 or data.shape[:-1] != expected:
        raise InputError(
            f"array '{groups[0]}/data' has shape {data.shape}; expected {expected}, the lengths of "
            f"{listed(dims)} in '{grid}', then one channel a quantity"
        )
    channels = data.shape[-1]
    paths = [f"{group}/data" for group in groups]
    return xr.Dataset(
        {
            "u" if channels == 1 else f"u{i}": lazy_stack((SAMPLE, *dims), file, paths, i)
            for i in range(channels)
        },
        {TIME: times, **coordinates},
        attrs=attributes(file),
    )
