"""Unit conversion of file data, refused where kinds differ."""

import re
from functools import cache
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data._forms import TIME
from impindiff.errors import InputError

# CF writes "m s-1"; Pint does not read such exponents
_EXPONENT = re.compile(r"(?<=[A-Za-z])\s*\^?\s*([-+]?\d+)(?=$|[\s*/.])")
# "1e-3 kg", "10 minutes", "1e-3"
_FACTOR = re.compile(r"\s*([-+]?(?:\d+\.?\d*|\.\d+)(?:e[-+]?\d+)?)\s*\*?\s*(?=[A-Za-z]|$)", re.I)
# words that UDUNITS accepts
_SINCE = re.compile(r"(?P<unit>.*?\w)\s*(?:\b(?:since|after|from|ref)\b|@)\s*(?P<start>.+)", re.I)
# "day as %Y%m%d.%f", "YYYYMMDD": digits of a date, whose differences are not durations
_DIGITS_OF_DATES = re.compile(r"%|\bas\b|^y{2,4}[-./ ]?mm", re.I)
_MONTHS = {"month": 1, "year": 12, "decade": 120, "century": 1200, "millennium": 12000}
# days per month, in the calendars where it is constant
_DAYS_OF_MONTHS = {"360_day": 30}
_DAYS_OF_YEARS = {"360_day": 360, "noleap": 365, "365_day": 365, "all_leap": 366, "366_day": 366}


def convert(variable: xr.Variable, name: str, wanted: str) -> xr.Variable:
    """Convert a variable to the unit `wanted`; without a stated unit it is assumed to be in it.

    **Raises:** `InputError` for an unknown unit or one of another kind.
    """
    stated = str(variable.attrs.get("units", wanted))
    attrs = {**variable.attrs, "units": wanted}
    if stated == wanted:
        return xr.Variable(variable.dims, variable.to_numpy(), attrs)
    if name == TIME:
        stated = _of_fixed_length(stated, stated, variable.attrs.get("calendar"))
    return xr.Variable(variable.dims, _in_unit(variable.to_numpy(), name, stated, wanted), attrs)


def _in_unit(values: np.ndarray, name: str, stated: str, wanted: str) -> np.ndarray:
    try:
        (factor, unit), (scale, target) = _parsed(stated), _parsed(wanted)
        # `to`, not a factor: degrees Celsius and kelvin also differ by an offset
        converted = _registry().Quantity(values * factor, unit).to(target)
        return np.asarray(converted.magnitude) / scale
    except Exception as error:  # Pint raises nearly any type on text that is no unit
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(
            f"'{name}' is in '{stated}', which cannot be converted to '{wanted}' ({reason}); "
            f"correct the attribute 'units' of the file or the unit asked for"
        ) from None


@cache
def _registry() -> Any:
    # needed for other units only, and slow to import
    import pint

    return pint.UnitRegistry(
        cache_folder=None, preprocessors=[lambda unit: _EXPONENT.sub(r"**\1", unit)]
    )


def _parsed(text: str) -> tuple[float, Any]:
    """(factor before the unit, unit)."""
    number = _FACTOR.match(text)
    unit = (text[number.end() :] if number else text).strip()
    # an empty unit is dimensionless
    parsed = _registry().parse_units("" if unit.lower() == "none" else unit)
    return float(number[1]) if number else 1.0, parsed


def elapsed(variable: xr.Variable) -> xr.Variable:
    """Times as numbers: dates become seconds since the first, stored in the attribute `start`.

    Dates are `datetime64`, objects of `cftime` or `datetime`, or numbers in a unit such as
    `hours since 2024-05-01`. A day has 86400 seconds in every calendar of the CF conventions; a
    month has 30 days in `360_day`; a year 365 in `noleap`, 366 in `all_leap`, 360 in `360_day`.

    **Raises:** `InputError` for a unit of variable length, such as months of another calendar, and
    for dates written as digits, such as 20240501 in `day as %Y%m%d.%f`.
    """
    values, attrs = variable.to_numpy(), dict(variable.attrs)
    if values.dtype.kind == "m":
        seconds = np.where(np.isnat(values), np.nan, values / np.timedelta64(1, "s"))
        return xr.Variable(variable.dims, seconds, {**attrs, "units": "s"})
    if values.dtype.kind == "M":
        return _since_first(variable.dims, values, attrs)
    if values.dtype.kind == "O":
        return _of_objects(variable.dims, values, attrs)
    stated = str(attrs.get("units", "")).strip()
    if values.dtype.kind not in "fiu":
        return variable
    since = _SINCE.fullmatch(stated)
    if since is None:
        if _DIGITS_OF_DATES.search(stated):
            raise InputError(
                f"'{TIME}' is in '{stated}', dates written as digits, whose differences are no "
                f"times; write it as 'days since ...', by cdo -r copy IN OUT, or in seconds"
            )
        return variable
    unit = _of_fixed_length(since["unit"].lower(), stated, attrs.pop("calendar", None))
    first = values.min() if values.size else 0
    if np.isnan(first):
        first = 0
    # difference first: nanoseconds since 1970 exceed a float's precision
    seconds = _in_unit((values - first).astype(np.float64), TIME, unit, "s")
    before = float(_in_unit(np.asarray(float(first)), TIME, unit, "s"))
    attrs["start"] = f"{before:.12g} s after {since['start']}" if before else since["start"]
    return xr.Variable(variable.dims, seconds, {**attrs, "units": "s"})


def _of_fixed_length(unit: str, stated: str, calendar: Any) -> str:
    """The unit, with months and years as days of the calendar."""
    try:
        number, parsed = _parsed(unit)
    except Exception:  # no unit: the conversion reports it
        return unit
    if str(parsed) not in _MONTHS:
        return unit
    count = number * _MONTHS[str(parsed)]
    kind = str(calendar or "standard").strip().lower()
    if kind in _DAYS_OF_MONTHS:
        days = count * _DAYS_OF_MONTHS[kind]
    elif kind in _DAYS_OF_YEARS and count % 12 == 0:
        days = count / 12 * _DAYS_OF_YEARS[kind]
    else:
        raise InputError(
            f"'{TIME}' is in '{stated}' of the calendar '{kind}', in which these differ in length; "
            f"write it in days, by cdo settunits,days IN OUT, or in seconds"
        )
    return f"{days} day"


def _of_objects(dims: tuple[Any, ...], dates: np.ndarray, attrs: dict[str, Any]) -> xr.Variable:
    """Seconds from the first of `cftime` or `datetime` objects, in their calendar."""
    try:
        first = min(dates.ravel())
        seconds = [(date - first).total_seconds() for date in dates.ravel()]
    except (TypeError, ValueError, AttributeError):
        raise InputError(
            f"'{TIME}' holds objects of {type(dates.ravel()[0]).__name__}; expected numbers or "
            f"dates, all of one calendar"
        ) from None
    numbers = np.asarray(seconds, dtype=np.float64).reshape(dates.shape)
    return xr.Variable(dims, numbers, {**attrs, "units": "s", "start": str(first)})


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
    """Seconds from `first` to each date."""
    return np.asarray((dates - first) / np.timedelta64(1, "s"), dtype=np.float64)
