"""What is in an HDF5 file; arrays as xarray variables that read what is selected, when asked."""

from collections.abc import Hashable, Iterator, Sequence
from typing import Any

import h5py
import numpy as np
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from impindiff.errors import InputError
from impindiff.observations.file_errors import listed


def arrays_in(group: h5py.Group) -> dict[str, h5py.Dataset]:
    """The arrays of a group by name, unread."""
    return {name: entry for name, entry in _named(group) if isinstance(entry, h5py.Dataset)}


def array_at(group: h5py.Group, path: str) -> h5py.Dataset:
    """The array of that path in a group. Raises `InputError` if there is none."""
    entry = group.get(path)
    if not isinstance(entry, h5py.Dataset):
        raise InputError(f"has no array '{path}'; there are {listed(group)}")
    return entry


def groups_in(group: h5py.Group) -> dict[str, h5py.Group]:
    """The groups of a group by name."""
    return {name: entry for name, entry in _named(group) if isinstance(entry, h5py.Group)}


def _named(group: h5py.Group) -> Iterator[tuple[str, Any]]:
    for name in group:
        # h5py hands over a name that is no text, of a broken file, as bytes.
        if isinstance(name, str):
            yield name, group[name]


def text(value: Any) -> str:
    """An attribute as text, whether it is stored as text or as bytes."""
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)


def plain(value: Any) -> Any:
    """An attribute as a number or text, which any format can hold; None if it is neither."""
    if isinstance(value, bytes | str):
        return text(value)
    values = np.atleast_1d(value)
    if values.dtype.kind in "OSU":
        return ", ".join(map(text, values.ravel()))
    return value if values.dtype.kind in "fiu" and values.size else None


def lazy_variable(
    dims: Sequence[Hashable], entry: h5py.Dataset, attrs: dict[str, Any] | None = None
) -> xr.Variable:
    """The array of an open file, its axes named."""
    return _lazy(dims, _Array(entry), attrs)


def lazy_stack(
    dims: Sequence[Hashable], file: h5py.File, paths: Sequence[str], component: int
) -> xr.Variable:
    """One component, by the last axis, of several arrays of one shape, behind a new first axis."""
    return _lazy(dims, _Stack(file, paths, component))


def _lazy(
    dims: Sequence[Hashable], array: BackendArray, attrs: dict[str, Any] | None = None
) -> xr.Variable:
    return xr.Variable(dims, indexing.LazilyIndexedArray(array), attrs)


class _Array(BackendArray):
    def __init__(self, entry: h5py.Dataset):
        self.shape, self.dtype, self._entry = entry.shape, entry.dtype, entry

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER_1VECTOR, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return self._entry[key]


class _Stack(BackendArray):
    def __init__(self, file: h5py.File, paths: Sequence[str], component: int):
        first = array_at(file, paths[0])
        self.shape, self.dtype = (len(paths), *first.shape[:-1]), first.dtype
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
        return entry[(*key, self._component)]
