"""The arrays of numbers in MATLAB files, of any version."""

import warnings
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadWarning

from impindiff.data._matlab5 import numeric_arrays
from impindiff.data.file_errors import reading


def matlab_arrays(path: Path) -> dict[str, np.ndarray]:
    """All arrays by name, indexed as in MATLAB; numbers and vectors are 2-D too.

    **Raises:** `InputError` for a broken file.
    """
    if h5py.is_hdf5(path):
        with reading("a MATLAB 7.3 file"), h5py.File(path) as file:
            return {name: _values(entry) for name, entry in matlab_numbers(file).items()}
    with reading("a MATLAB file"), warnings.catch_warnings():
        # SciPy only warns about a broken array and leaves it out
        warnings.simplefilter("error", MatReadWarning)
        found = loadmat(path, variable_names=_names(path))
    return {n: a for n, a in found.items() if isinstance(a, np.ndarray) and a.dtype.kind in "fiuc"}


def _names(path: Path) -> list[str] | None:
    with path.open("rb") as file:
        start = file.read(4)
    # a text header has no zero byte; MATLAB 4 begins with numbers, and SciPy checks its tags
    return None if 0 in start else numeric_arrays(path)


def matlab_numbers(file: h5py.File) -> dict[str, h5py.Dataset]:
    """The numeric arrays of an open MATLAB 7.3 file, unread; h5py sees the axes in reverse."""
    entries = {name: entry for name, entry in file.items() if isinstance(entry, h5py.Dataset)}
    return {
        name: entry
        for name, entry in entries.items()
        # text is stored as integers, marked by its class
        if (entry.dtype.kind in "fiuc" or _is_complex(entry.dtype))
        and entry.attrs.get("MATLAB_class") != b"char"
    }


def _is_complex(dtype: np.dtype[Any]) -> bool:
    return dtype.names == ("real", "imag")


def _values(entry: h5py.Dataset) -> np.ndarray:
    values = np.asarray(entry[()]).T
    return values["real"] + 1j * values["imag"] if _is_complex(values.dtype) else values
