"""Files of named arrays without named axes: MATLAB, NPZ, and HDF5 without a known layout."""

import itertools
import math
import zipfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from impindiff.data._forms import (
    CAPITALS,
    RADIUS,
    SAMPLE,
    SPACE,
    TIME,
    VALUE,
    assigned,
    require_known,
    usual_names,
)
from impindiff.data._hdf5 import arrays_in, attributes, lazy_variable
from impindiff.data._matlab import matlab_arrays, matlab_numbers
from impindiff.data._memory import COORDINATE, require_readable, stored_bytes
from impindiff.data._packing import meant_variable
from impindiff.data._points import points_from_table
from impindiff.data._table import Table
from impindiff.data.file_errors import listed
from impindiff.errors import InputError


def open_npz(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    """NumPy's .npz: arrays `time` (or `t`), `x` (`y`, `z`) and the quantities.

    Axes may stand in any order that their lengths determine. Where several fit, (sample, time, x,
    ...) is taken.
    """
    # NumPy leaves a file that it opens itself open if the file is broken
    file = closing.enter_context(path.open("rb"))
    wanted = _declared(zipfile.ZipFile(file), path.stat().st_size)
    file.seek(0)
    archive = np.load(file, allow_pickle=False)
    return _named(path, {name: _in_memory(name, archive[name]) for name in wanted}, names)


def open_hdf5_arrays(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    """HDF5 with the arrays of `open_npz` at the top level."""
    file = closing.enter_context(h5py.File(path))
    found = {n: lazy_variable(_axes(entry.ndim), entry) for n, entry in arrays_in(file).items()}
    return _named(path, found, names, attrs=attributes(file))


def open_matlab(path: Path, closing: ExitStack, names: Mapping[str, str]) -> xr.Dataset:
    """MATLAB with the arrays of `open_npz`.

    Where several orders of axes fit, MATLAB's usual (x, ..., time) is taken.
    """
    if h5py.is_hdf5(path):
        file = closing.enter_context(h5py.File(path))
        entries = matlab_numbers(file).items()
        found = {name: lazy_variable(_axes(entry.ndim), entry) for name, entry in entries}
        return _named(path, found, names, matlab=True, backwards=True)
    found = {name: _in_memory(name, values) for name, values in matlab_arrays(path).items()}
    return _named(path, found, names, matlab=True)


def _declared(archive: zipfile.ZipFile, stored: int) -> list[str]:
    """The names of the arrays of numbers or text, if all fit into memory."""
    found, needed = [], 0
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name == entry.filename:
            continue  # not NumPy's
        with archive.open(entry) as file:
            major, _ = np.lib.format.read_magic(file)
            header = np.lib.format.read_array_header_1_0
            header = header if major == 1 else np.lib.format.read_array_header_2_0
            shape, _, dtype = header(file)
        if dtype.hasobject:
            raise InputError(
                f"array '{name}' holds Python objects, which are not read since that runs code; "
                f"save numbers, or text, by numpy.savez"
            )
        size = math.prod(map(int, shape)) * dtype.itemsize
        if size > entry.file_size:
            raise InputError(
                f"array '{name}' states shape {shape}, {size} bytes, of which there are "
                f"{entry.file_size}; it is cut short or damaged"
            )
        needed += size
        found.append(name)
    require_readable("its arrays", needed, "store fewer of them, or write NetCDF", stored)
    return found


def _axes(number: int) -> tuple[str, ...]:
    return tuple(f"axis_{i}" for i in range(number))


def _in_memory(name: str, values: np.ndarray) -> xr.Variable:
    return meant_variable(name, xr.Variable(_axes(values.ndim), values))


def _named(
    path: Path,
    found: Mapping[str, xr.Variable],
    names: Mapping[str, str],
    matlab: bool = False,
    backwards: bool = False,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The arrays with each axis named after the coordinate of its length."""
    require_known(names, list(found))
    numbers = {n: v for n, v in found.items() if v.dtype.kind in "fiuMm"}
    usual = _usual(numbers, names)
    arrays = {usual[n]: v for n, v in numbers.items()}
    if len(arrays) != len(numbers):
        raise InputError(f"two arrays stand for the same in {listed(numbers)}; keep one of each")
    if VALUE in arrays and TIME in arrays:
        return _points(path, found, names)
    coordinates = {}
    for name in (TIME, *SPACE):
        if name in arrays:
            coordinates[name] = _vector(path, name, arrays.pop(name))
    if TIME not in coordinates or len(coordinates) == 1:
        missing = "time" if TIME not in coordinates else "x"
        raise InputError(
            f"has no array '{missing}'; its arrays of numbers are {listed(numbers)}; expected "
            f"'time' (or 't'), 'x' ('y', 'z') and one array a quantity; an array with "
            f"another name is assigned by {assigned(numbers, [missing])}"
        )
    scalars = {n: v.to_numpy().item() for n, v in arrays.items() if v.size == 1}
    quantities = {n: v for n, v in arrays.items() if n not in scalars}
    if not quantities:
        raise InputError(f"has no quantity besides the coordinates {listed(coordinates)}")
    lengths = {name: variable.size for name, variable in coordinates.items()}
    named = name_axes(quantities, lengths, True, backwards, matlab)
    return xr.Dataset(named, coordinates, attrs={**(attrs or {}), **scalars})


def _usual(numbers: Mapping[str, xr.Variable], names: Mapping[str, str]) -> dict[str, str]:
    """Capital letters are axes only if they are vectors; T is then time, unless another name is."""
    otherwise = {n for n in CAPITALS if n in numbers and not _is_vector(numbers[n])}
    without = usual_names([n for n in numbers if n != "T"], names, radial=False)
    only = {"T"} if "T" not in otherwise and TIME not in without.values() else set()
    radial = any(n.strip().lower() in RADIUS and _is_vector(v) for n, v in numbers.items())
    return usual_names(numbers, names, only, otherwise, radial)


def _is_vector(variable: xr.Variable) -> bool:
    return variable.size == max(variable.shape, default=1) > 1


def _points(path: Path, found: Mapping[str, xr.Variable], names: Mapping[str, str]) -> xr.Dataset:
    columns, units = {}, {}
    usual = usual_names(found, names)
    needed = sum(variable.nbytes for variable in found.values())
    require_readable("its arrays", needed, "store fewer of them", stored_bytes(path, needed))
    for name, variable in found.items():
        if variable.size != max(variable.shape, default=1):
            raise InputError(
                f"array '{name}' has shape {variable.shape}; besides 'value', expected one number "
                f"an observation"
            )
        values = variable.to_numpy().ravel()
        columns[usual[name]] = values.astype(np.float64) if values.dtype.kind in "iu" else values
        if "units" in variable.attrs:
            units[usual[name]] = str(variable.attrs["units"])
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) != 1:
        raise InputError(f"besides 'value', all arrays must be of one length; they have {sizes}")
    return points_from_table(Table(columns, units))


def _vector(path: Path, name: str, variable: xr.Variable) -> xr.Variable:
    if variable.size != max(variable.shape, default=1) or variable.size == 0:
        raise InputError(
            f"array '{name}' has shape {variable.shape}; expected one axis, the values along it"
        )
    size = variable.size * variable.dtype.itemsize
    require_readable(f"the values of '{name}'", size, COORDINATE, stored_bytes(path, size))
    return xr.Variable(name, variable.to_numpy().ravel(), variable.attrs)


def name_axes(
    quantities: Mapping[str, xr.Variable],
    lengths: Mapping[str, int],
    any_order: bool = False,
    backwards: bool = False,
    matlab: bool = False,
) -> dict[str, xr.Variable]:
    """Name the axes: (sample, time, *space), or fewer of these in that order.

    **Arguments:**

    - `quantities`: arrays, whatever the names of their axes.
    - `lengths`: of time and the spatial axes, in that order.
    - `any_order`: accept axes in another order if their lengths determine it.
    - `matlab`: where several orders fit, take (x, ..., time).
    - `backwards`: the axes stand in reverse, as in MATLAB's HDF5 files.

    **Raises:** `InputError` for axes that do not fit, with the transposition that helps, if any.
    """
    shapes = {n: v.shape[::-1] if backwards else v.shape for n, v in quantities.items()}
    known = dict(lengths)
    for shape in shapes.values():
        if len(shape) == len(lengths) + 1:
            # the axis of no coordinate's length is the samples'
            others = list((Counter(shape) - Counter(lengths.values())).elements())
            known = {SAMPLE: others[0] if len(others) == 1 else shape[0], **lengths}
            break
    named = {}
    for name, variable in quantities.items():
        dims = _dimensions(name, shapes[name], known, any_order, matlab)
        named[name] = variable.copy(deep=False)
        named[name].dims = dims[::-1] if backwards else dims
    return named


def _dimensions(
    name: str, shape: Sequence[int], lengths: Mapping[str, int], any_order: bool, matlab: bool
) -> tuple[str, ...]:
    space = tuple(axis for axis in lengths if axis in SPACE)
    usual = [(SAMPLE, TIME, *space), (TIME, *space), (SAMPLE, *space), space, (SAMPLE,), (TIME,)]
    usual = [dims for dims in usual if len(dims) == len(shape) and set(dims) <= set(lengths)]
    if matlab:
        backwards = [(*space, TIME), (*space, TIME, SAMPLE)]
        usual = [dims for dims in backwards if len(dims) == len(shape)] + usual
    for dims in usual:
        if tuple(lengths.get(axis, -1) for axis in dims) == tuple(shape):
            return dims
    candidates = {p: None for dims in usual for p in itertools.permutations(dims)}
    fitting = [p for p in candidates if tuple(lengths.get(axis, -1) for axis in p) == tuple(shape)]
    if any_order and len(fitting) == 1:
        return fitting[0]
    expected = usual[0] if usual else (TIME, *space)
    sizes = tuple(lengths.get(axis, "any") for axis in expected)
    message = (
        f"array '{name}' has shape {tuple(shape)}; expected {listed(expected)} = {sizes}, the "
        f"lengths of the coordinates"
    )
    if fitting:
        order = tuple(fitting[0].index(axis) for axis in expected)
        raise InputError(
            f"{message}; its axes fit {listed(fitting[0])}: transpose it, "
            f"numpy.transpose({name}, {order})"
        )
    raise InputError(f"{message}; cut it to fit, or correct the coordinates")
