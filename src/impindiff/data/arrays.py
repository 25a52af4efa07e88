"""Files of named arrays without named axes: MATLAB, NPZ and HDF5 of no known layout."""

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import xarray as xr

from impindiff.data.forms import SAMPLE, SPACE, TIME, VALUE, usual_name
from impindiff.data.hdf5 import arrays_in, lazy_variable, plain
from impindiff.data.points import points_from_table
from impindiff.data.table import Table
from impindiff.errors import InputError
from impindiff.observations.file_errors import listed
from impindiff.observations.matlab import matlab_arrays, matlab_numbers


def open_npz(path: Path, closing: ExitStack) -> xr.Dataset:
    """NumPy's .npz: arrays `time` (or `t`), `x` (`y`, `z`) and the quantities."""
    # NumPy leaves a file that it opens itself open when it finds it broken.
    archive = np.load(closing.enter_context(path.open("rb")), allow_pickle=False)
    return _named({name: _in_memory(archive[name]) for name in archive.files})


def open_hdf5_arrays(path: Path, closing: ExitStack) -> xr.Dataset:
    """HDF5 with the arrays of `open_npz` at its top."""
    file = closing.enter_context(h5py.File(path))
    found = {
        name: lazy_variable(_axes(entry.ndim), entry, _attributes(entry))
        for name, entry in arrays_in(file).items()
    }
    return _named(found, attrs=_attributes(file))


def open_matlab(path: Path, closing: ExitStack) -> xr.Dataset:
    """MATLAB: the arrays of `open_npz`, with the axes of a quantity in any order.

    Their lengths tell which is which. Where several orders fit, (x, ..., time) is taken, as
    MATLAB's own files have it.
    """
    if h5py.is_hdf5(path):
        file = closing.enter_context(h5py.File(path))
        entries = matlab_numbers(file).items()
        found = {name: lazy_variable(_axes(entry.ndim), entry) for name, entry in entries}
        return _named(found, any_order=True, backwards=True)
    found = {name: _in_memory(values) for name, values in matlab_arrays(path).items()}
    return _named(found, any_order=True)


def _axes(number: int) -> tuple[str, ...]:
    return tuple(f"axis_{i}" for i in range(number))


def _in_memory(values: np.ndarray) -> xr.Variable:
    return xr.Variable(_axes(values.ndim), values)


def _attributes(entry: h5py.Dataset | h5py.File) -> dict[str, Any]:
    return {name: v for name, value in entry.attrs.items() if (v := plain(value)) is not None}


def _named(
    found: Mapping[str, xr.Variable],
    any_order: bool = False,
    backwards: bool = False,
    attrs: Mapping[str, Any] | None = None,
) -> xr.Dataset:
    """The arrays with their axes named by their lengths, those of coordinates."""
    numbers = {n: v for n, v in found.items() if v.dtype.kind in "fiuM"}
    arrays = {usual_name(n): v for n, v in numbers.items()}
    if len(arrays) != len(numbers):
        raise InputError(f"two arrays stand for the same in {listed(numbers)}; keep one of each")
    if VALUE in arrays and TIME in arrays:
        return _points(found)
    coordinates = {}
    for name in (TIME, *SPACE):
        if name in arrays:
            coordinates[name] = _vector(name, arrays.pop(name))
    if TIME not in coordinates or len(coordinates) == 1:
        missing = "time" if TIME not in coordinates else "x"
        raise InputError(
            f"has no array '{missing}'; its arrays of numbers are {listed(numbers)}; expected "
            f"'time' (or 't'), 'x' ('y', 'z') and one array a quantity"
        )
    scalars = {n: v.to_numpy().item() for n, v in arrays.items() if v.size == 1}
    quantities = {n: v for n, v in arrays.items() if n not in scalars}
    if not quantities:
        raise InputError(f"has no quantity beside the coordinates {listed(coordinates)}")
    lengths = {name: variable.size for name, variable in coordinates.items()}
    named = name_axes(quantities, lengths, any_order, backwards)
    return xr.Dataset(named, coordinates, attrs={**(attrs or {}), **scalars})


def _points(found: Mapping[str, xr.Variable]) -> xr.Dataset:
    columns, units = {}, {}
    for name, variable in found.items():
        if variable.size != max(variable.shape, default=1):
            raise InputError(
                f"array '{name}' has shape {variable.shape}; beside 'value', expected one number "
                f"an observation"
            )
        values = variable.to_numpy().ravel()
        columns[usual_name(name)] = (
            values.astype(np.float64) if values.dtype.kind in "iu" else values
        )
        if "units" in variable.attrs:
            units[usual_name(name)] = str(variable.attrs["units"])
    sizes = {name: len(values) for name, values in columns.items()}
    if len(set(sizes.values())) != 1:
        raise InputError(f"beside 'value', all arrays must be of one length; they have {sizes}")
    return points_from_table(Table(columns, units))


def _vector(name: str, variable: xr.Variable) -> xr.Variable:
    if variable.size != max(variable.shape, default=1) or variable.size == 0:
        raise InputError(
            f"array '{name}' has shape {variable.shape}; expected one axis, the values along it"
        )
    return xr.Variable(name, variable.to_numpy().ravel(), variable.attrs)


def name_axes(
    quantities: Mapping[str, xr.Variable],
    lengths: Mapping[str, int],
    any_order: bool = False,
    backwards: bool = False,
) -> dict[str, xr.Variable]:
    """Name the axes: (sample, time, *space), or fewer of these in that order.

    **Arguments:**

    - `quantities`: arrays, whatever their axes are called.
    - `lengths`: of time and the axes of space, in that order.
    - `any_order`: take axes in another order if their lengths tell which is which.
    - `backwards`: the axes stand in reverse, as HDF5 has those of MATLAB.

    **Raises:** `InputError` for axes that do not fit; it says how to transpose if that helps.
    """
    shapes = {n: v.shape[::-1] if backwards else v.shape for n, v in quantities.items()}
    known = dict(lengths)
    for shape in shapes.values():
        if len(shape) == len(lengths) + 1:
            # The axis that is of no coordinate's length is that of the samples.
            others = list((Counter(shape) - Counter(lengths.values())).elements())
            known = {SAMPLE: others[0] if len(others) == 1 else shape[0], **lengths}
            break
    named = {}
    for name, variable in quantities.items():
        dims = _dimensions(name, shapes[name], known, any_order)
        named[name] = variable.copy(deep=False)
        named[name].dims = dims[::-1] if backwards else dims
    return named


def _dimensions(
    name: str, shape: Sequence[int], lengths: Mapping[str, int], any_order: bool
) -> tuple[str, ...]:
    space = tuple(axis for axis in lengths if axis in SPACE)
    usual = [(SAMPLE, TIME, *space), (TIME, *space), (SAMPLE, *space), space, (SAMPLE,), (TIME,)]
    usual = [dims for dims in usual if len(dims) == len(shape) and set(dims) <= set(lengths)]
    if any_order:
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
