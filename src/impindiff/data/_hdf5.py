"""HDF5 contents as xarray variables that are read lazily."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from impindiff.data._memory import COORDINATE, require_readable
from impindiff.data._packing import PACKING, is_packed, meant_variable, unpacked
from impindiff.data.file_errors import listed
from impindiff.errors import InputError


def arrays_in(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The arrays of a group by name, unread."""
    return {name: entry for name, entry in _named(group) if isinstance(entry, h5py.Dataset)}


def array_at(group: h5py.Group, path: str) -> h5py.Dataset:
    """The array at a path in a group. Raises `InputError` if there is none."""
    entry = group.get(path)
    if not isinstance(entry, h5py.Dataset):
        raise InputError(f"has no array '{path}'; there are {listed(group)}")
    return entry


def groups_in(group: h5py.Group) -> dict[str, h5py.Group]:
    """The groups of a group by name."""
    return {name: entry for name, entry in _named(group) if isinstance(entry, h5py.Group)}


def _named(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    for name in group:
        # in broken files, h5py returns a name that is not text as bytes
        if isinstance(name, str):
            yield name, group[name]


def text(value: Any) -> str:
    """An attribute as text, whether stored as text or as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def plain(value: Any) -> Any:
    """An attribute as a number or text, for any format; None if it is neither."""
    if isinstance(value, bytes | str):
        return text(value)
    values = np.atleast_1d(value)
    if values.dtype.kind in "OSU":
        return ", ".join(map(text, values.ravel()))
    return value if values.dtype.kind in "fiu" and values.size else None


def lazy_variable(dims: Sequence[Hashable], entry: h5py.Dataset) -> xr.Variable:
    """A lazy variable with named axes, decoded by the attributes of the CF conventions."""
    variable = xr.Variable(dims, indexing.LazilyIndexedArray(_Array(entry)), attributes(entry))
    return meant_variable(_name_of(entry), variable)


def attributes(entry: h5py.Dataset | h5py.Group) -> dict[str, Any]:
    """The attributes that are numbers or text."""
    return {name: v for name, value in entry.attrs.items() if (v := plain(value)) is not None}


def vector(name: str, entry: h5py.Dataset) -> xr.Variable:
    """A coordinate, loaded as float64 and decoded by the CF attributes.

    **Raises:** `InputError` unless it holds numbers along one axis.
    """
    if entry.ndim != 1 or entry.dtype.kind not in "fiu":
        raise InputError(f"coordinate '{name}' must be an array of one axis, of numbers")
    values, attrs = values_of(entry)
    return xr.Variable(name, values, attrs)


def values_of(entry: h5py.Dataset) -> tuple[np.ndarray, dict[str, Any]]:
    """Load a small array, such as a coordinate: (decoded values, other attributes)."""
    needed, stored = entry.size * entry.dtype.itemsize, entry.id.get_storage_size()
    require_readable(f"the values of '{_name_of(entry)}'", needed, COORDINATE, stored)
    given = attributes(entry)
    values = unpacked(_name_of(entry), _plain_complex(np.asarray(entry[()])), given)
    others = {key: value for key, value in given.items() if key not in PACKING}
    return np.asarray(values, dtype=np.float64), others


def _name_of(entry: h5py.Dataset) -> str:
    return str(entry.name).rsplit("/", 1)[-1]


def _plain_complex(values: Any) -> Any:
    """Convert MATLAB 7.3's pairs `real`, `imag` to complex numbers."""
    if getattr(values.dtype, "names", None) == ("real", "imag"):
        return values["real"] + 1j * values["imag"]
    return values


def lazy_stack(
    dims: Sequence[Hashable], file: h5py.File, paths: Sequence[str], component: int
) -> xr.Variable:
    """One component (last axis) of several arrays of one shape, stacked on a new first axis."""
    stack = _Stack(file, paths, component)
    attrs = attributes(array_at(file, paths[0]))
    kept = {name: value for name, value in attrs.items() if name not in PACKING}
    return xr.Variable(dims, indexing.LazilyIndexedArray(stack), kept)


class _Array(BackendArray):
    def __init__(self, entry: h5py.Dataset):
        self.shape, self._entry = entry.shape, entry
        is_complex = entry.dtype.names == ("real", "imag")
        self.dtype = np.dtype(complex) if is_complex else entry.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return _plain_complex(self._entry[key])


class _Stack(BackendArray):
    def __init__(self, file: h5py.File, paths: Sequence[str], component: int):
        first = array_at(file, paths[0])
        self.shape = (len(paths), *first.shape[:-1])
        # complex and packed arrays become floats when read
        is_real = first.dtype.kind in "fiu" and not is_packed(attributes(first), first.dtype)
        self.dtype = first.dtype if is_real else np.dtype(np.float64)
        self._file, self._paths, self._component = file, paths, component

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        chosen, *within = key
        if isinstance(chosen, int | np.integer):
            return self._one(self._paths[int(chosen)], tuple(within))
        numbers = np.arange(len(self._paths))[chosen]
        return np.stack([self._one(self._paths[int(i)], tuple(within)) for i in numbers])

    def _one(self, path: str, key: tuple[Any, ...]) -> np.ndarray:
        entry = array_at(self._file, path)
        if entry.shape[:-1] != self.shape[1:]:
            raise InputError(
                f"array '{path}' has shape {entry.shape}; expected the shape of "
                f"'{self._paths[0]}', {(*self.shape[1:], entry.shape[-1])}"
            )
        values = _plain_complex(np.asarray(entry[(*key, self._component)]))
        return unpacked(_name_of(entry), values, attributes(entry))
