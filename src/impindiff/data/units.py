"""Units as files state them: converted where they agree in kind, refused where they do not."""

import re
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data.forms import TIME
from impindiff.errors import InputError

# CF writes "m s-1"; the exponent without a sign for it is what Pint does not read.
_EXPONENT = re.compile(r"(?<=[A-Za-z])\s*\^?\s*([-+]?\d+)(?=$|[\s*/.])")
_PRODUCT = re.compile(r"(?<=[A-Za-z0-9])[ .](?=[A-Za-z])")
_SINCE = re.compile(r"(?P<unit>[A-Za-z]+)\s+since\s+(?P<start>.+)", re.IGNORECASE)
_NONE = ("", "1", "none", "dimensionless")


def convert(variable: xr.Variable, name: str, wanted: str) -> xr.Variable:
    """The variable in the unit `wanted`; one that states no unit is taken to have it.

    **Raises:** `InputError` for a unit of another kind, or one that is not known.
    """
    stated = str(variable.attrs.get("units", wanted))
    attrs = {**variable.attrs, "units": wanted}
    if stated == wanted:
        return xr.Variable(variable.dims, variable.to_numpy(), attrs)
    return xr.Variable(variable.dims, _in_unit(variable.to_numpy(), name, stated, wanted), attrs)


def _in_unit(values: np.ndarray, name: str, stated: str, wanted: str) -> np.ndarray:
    registry = _registry()
    try:
        # `to`, not a factor: degrees Celsius and kelvin differ by an offset too.
        return np.asarray(registry.Quantity(values, _parsed(stated)).to(_parsed(wanted)).magnitude)
    except Exception as error:  # Pint raises nearly any type on text that is no unit
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"'{name}' is in '{stated}', which cannot be converted to '{wanted}' ({reason}); "
            f"correct the attribute 'units' of the file or the unit asked for"
        ) from None


@cache
def _registry() -> Any:
    # Only files in other units need it, and it takes a while to load.
    import pint

    return pint.UnitRegistry(cache_folder=None)


def _parsed(unit: str) -> Any:
    if unit.strip().lower() in _NONE:
        return _registry().dimensionless
    return _registry().parse_units(_PRODUCT.sub("*", _EXPONENT.sub(r"**\1", unit.strip())))


def elapsed(variable: xr.Variable) -> xr.Variable:
    """Times as numbers: dates become seconds since the first, which the attribute `start` names.

    Dates are `datetime64`, or numbers in a unit such as `hours since 2024-05-01`.

    **Raises:** `InputError` for a unit of no fixed length, such as months.
    """
    values, attrs = variable.to_numpy(), dict(variable.attrs)
    if values.dtype.kind == "m":
        seconds = np.where(np.isnat(values), np.nan, values / np.timedelta64(1, "s"))
        return xr.Variable(variable.dims, seconds, {**attrs, "units": "s"})
    if values.dtype.kind == "M":
        return _since_first(variable.dims, values, attrs)
    since = _SINCE.fullmatch(str(attrs.get("units", "")).strip())
    if since is None or values.dtype.kind not in "fiu":
        return variable
    attrs.pop("calendar", None)
    seconds = _in_unit(values.astype(np.float64), TIME, since["unit"].lower(), "s")
    first = float(seconds.flat[0]) if seconds.size else 0.0
    attrs["start"] = f"{first:.12g} s after {since['start']}" if first else since["start"]
    return xr.Variable(variable.dims, seconds - first, {**attrs, "units": "s"})


def _since_first(dims: tuple[Any, ...], dates: np.ndarray, attrs: dict[str, Any]) -> xr.Variable:
    if np.isnat(dates).any():
        raise InputError(
            f"'{TIME}' has {int(np.isnat(dates).sum())} date(s) missing; fill them, or drop those "
            f"entries"
        )
    first = dates.min() if dates.size else np.datetime64(0, "s")
    seconds = seconds_between(first, dates)
    return xr.Variable(dims, seconds, {**attrs, "units": "s", "start": str(first)})


def seconds_between(first: np.datetime64, dates: np.ndarray) -> Float[np.ndarray, " _"]:
    """Seconds from `first` to each of the dates."""
    return np.asarray((dates - first) / np.timedelta64(1, "s"), dtype=np.float64)
