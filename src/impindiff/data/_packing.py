"""Decoding of stored numbers by the attributes of the CF conventions.

Packed values p become p * `scale_factor` + `add_offset`. Values equal to `_FillValue` or
`missing_value`, or outside `valid_min`, `valid_max` or `valid_range` (all of them packed too)
become NaN. An array of complex numbers whose imaginary parts are round-off becomes real.

Source: CF conventions 1.11, sections 2.5 and 8.1; NetCDF Users' Guide, appendix A.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import ArrayLike
from xarray.backends import BackendArray
from xarray.core import indexing

from impindiff.errors import InputError

MISSING = ("_FillValue", "missing_value")
_VALID = ("valid_min", "valid_max", "valid_range")
_SCALING = ("scale_factor", "add_offset")
PACKING = (*MISSING, *_VALID, *_SCALING, "_Unsigned")
# the NetCDF libraries' default fill value of floats, left where nothing was written
NOT_WRITTEN = 9.969209968386869e36
# relative to the largest magnitude, by the bytes of one part of a complex number
_ROUND_OFF = {4: 1e-5, 8: 1e-9}


def meant(dataset: xr.Dataset) -> xr.Dataset:
    """A dataset decoded lazily.

    In floats without `_FillValue`, NetCDF's default fill value becomes NaN.
    """
    variables = {}
    for name, variable in dataset.variables.items():
        plain = variable.to_base_variable()
        if plain.dtype.kind == "f" and not set(MISSING) & set(plain.attrs):
            plain = plain.copy(deep=False)
            plain.attrs = {**plain.attrs, "_FillValue": NOT_WRITTEN}
        variables[name] = meant_variable(str(name), plain)
    coordinates = {name: variables.pop(name) for name in dataset.coords}
    return xr.Dataset(variables, coordinates, attrs=dataset.attrs)


def meant_variable(name: str, variable: xr.Variable) -> xr.Variable:
    """A variable decoded when read, without the attributes already applied."""
    if not is_packed(variable.attrs, variable.dtype):
        return variable
    attrs = {key: value for key, value in variable.attrs.items() if key not in PACKING}
    return xr.Variable(variable.dims, indexing.LazilyIndexedArray(_Unpacked(name, variable)), attrs)


class _Unpacked(BackendArray):
    def __init__(self, name: str, variable: xr.Variable):
        self.shape, self.dtype = variable.shape, np.dtype(np.float64)
        self._name, self._variable = name, variable

    def __getitem__(self, key: indexing.ExplicitIndexer) -> np.typing.ArrayLike:
        return indexing.explicit_indexing_adapter(
            key, self.shape, indexing.IndexingSupport.OUTER, self._read
        )

    def _read(self, key: tuple[Any, ...]) -> np.ndarray:
        return unpacked(self._name, self._variable[key].to_numpy(), self._variable.attrs)


def is_packed(attrs: Mapping[str, Any], dtype: np.dtype[Any]) -> bool:
    """True if `unpacked` changes values of this type with these attributes."""
    return dtype.kind == "c" or (dtype.kind in "fiu" and any(name in attrs for name in PACKING))


def unpacked(name: str, values: ArrayLike, attrs: Mapping[str, Any]) -> np.ndarray:
    """Decoded numbers as float64; unchanged if no attribute applies.

    **Raises:** `InputError` for attributes that are no numbers, and truly complex values.
    """
    values = np.asarray(values)
    if values.dtype.kind == "c":
        values = real_part(name, values)
    if not is_packed(attrs, values.dtype):
        return values
    if values.dtype.kind == "i" and str(attrs.get("_Unsigned", "")).lower() == "true":
        values = values.view(values.dtype.str.replace("i", "u"))
    scale, offset = (_scaling(name, key, attrs) for key in _SCALING)
    missing = np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, bool)
    for key in MISSING:
        for marker in _numbers(attrs.get(key)):
            # written as double, -999.9 has no exact value in single precision
            same = marker.astype(values.dtype) if values.dtype.kind == "f" else marker
            if values.dtype.kind == "u" and marker < 0 and "_Unsigned" in attrs:
                same = marker.astype(values.dtype.str.replace("u", "i")).view(values.dtype)
            missing |= values == same
    meant = values.astype(np.float64)
    if (scale, offset) != (None, None):
        meant = meant * (1.0 if scale is None else scale) + (offset or 0.0)
    low, high = _valid_range(attrs)
    # bounds apply to decoded values only if stored in a wider type than the file's
    wide = values.dtype.kind in "iu" and any(
        np.asarray(attrs[key]).dtype.kind == "f" for key in _VALID if key in attrs
    )
    judged = meant if wide and (scale, offset) != (None, None) else values
    with np.errstate(invalid="ignore"):
        if low is not None:
            missing |= judged < (low.astype(judged.dtype) if judged.dtype.kind == "f" else low)
        if high is not None:
            missing |= judged > (high.astype(judged.dtype) if judged.dtype.kind == "f" else high)
    return np.where(missing, np.nan, meant)


def real_part(name: str, values: np.ndarray) -> np.ndarray:
    """The real part of complex values whose imaginary parts are round-off.

    **Raises:** `InputError` if they are not.
    """
    real, imaginary, size = np.real(values), np.abs(np.imag(values)), np.abs(values)
    finite = np.isfinite(size)
    largest = float(imaginary[finite].max(initial=0.0))
    bound = float(size[finite].max(initial=0.0))
    if largest > _ROUND_OFF.get(real.dtype.itemsize, 1e-9) * bound:
        raise InputError(
            f"array '{name}' holds complex values, the largest imaginary part being {largest:g} "
            f"of magnitudes up to {bound:g}; expected real ones: store its real part, or real and "
            f"imaginary part as two arrays"
        )
    return real.astype(np.float64)


def _numbers(given: Any) -> np.ndarray:
    """An attribute as numbers; empty if it is text without numbers."""
    if given is None:
        return np.empty(0)
    values = np.atleast_1d(np.asarray(given))
    if values.dtype.kind in "fiu":
        return values.ravel()
    text = given.decode("utf-8", "replace") if isinstance(given, bytes) else given
    parts = str(text).replace(",", " ").split() if values.size == 1 else list(map(str, values))
    try:
        return np.array([float(part) for part in parts])
    except ValueError:
        return np.empty(0)


def _scaling(name: str, key: str, attrs: Mapping[str, Any]) -> float | None:
    if key not in attrs:
        return None
    given = _numbers(attrs[key])
    if given.size != 1 or not np.isfinite(given).all():
        raise InputError(
            f"variable '{name}': its attribute '{key}' is {attrs[key]!r}; expected one finite "
            f"number"
        )
    return float(given[0])


def _valid_range(attrs: Mapping[str, Any]) -> tuple[np.ndarray | None, np.ndarray | None]:
    both = _numbers(attrs.get("valid_range"))
    if both.size == 2:
        return both[0], both[1]
    low, high = _numbers(attrs.get("valid_min")), _numbers(attrs.get("valid_max"))
    return low[0] if low.size == 1 else None, high[0] if high.size == 1 else None
