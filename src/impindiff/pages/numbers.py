"""Readable numbers: three significant digits, powers of ten, suitable units."""

import math
import re

from humanize import naturalsize

MISSING = "-"
_SUPERSCRIPTS = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_DIGITS = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")
_MINUS = "−"
_PLAIN_FROM, _PLAIN_TO = -4, 6  # powers of ten that are written out
_MOST_DECIMALS = 8
_MOST_DIGITS = 8  # of a value with an error: a smaller error is round-off, not a spread


def number(value: float | int | None, digits: int = 3) -> str:
    """Format to `digits` significant digits; `MISSING` for None and values that are not finite."""
    if value is None or not math.isfinite(value):
        return MISSING
    if value == 0:
        return "0"
    exponent = _exponent(value, digits)
    if _PLAIN_FROM <= exponent < _PLAIN_TO:
        return _fixed(value, digits - 1 - exponent)
    return f"{_fixed(value / 10.0**exponent, digits - 1)} {_power(exponent)}"


def with_error(value: float | int | None, error: float | int | None) -> str:
    """`value ± error`, the error to two significant digits and the value to as many decimals.

    An error below the eighth digit of the value does not determine its decimals.
    """
    if error is None or not math.isfinite(error) or value is None or not math.isfinite(value):
        return number(value)
    if error == 0:
        return f"{number(value, 6)} ± 0"
    decimals = 1 - _exponent(error, 2)
    exponent = _exponent(max(abs(value), error), 3)
    if decimals + exponent >= _MOST_DIGITS:
        return f"{number(value, 6)} ± {number(error, 1)}"
    if _PLAIN_FROM <= exponent < _PLAIN_TO and decimals <= _MOST_DECIMALS:
        return f"{_fixed(value, decimals)} ± {_fixed(error, decimals)}"
    scale = 10.0**exponent
    shown = (_fixed(of / scale, decimals + exponent) for of in (value, error))
    return f"({' ± '.join(shown)}) {_power(exponent)}"


def in_ascii(text: str) -> str:
    """A formatted number for terminals: `+-`, and `e-05` for a power of ten."""
    text = text.replace(_MINUS, "-").replace("±", "+-")
    return re.sub(r" × 10(\S+)", lambda power: f"e{power[1].translate(_DIGITS)}", text)


def percent(value: float | int | None) -> str:
    """Format a value in percent."""
    text = number(value)
    return text if text == MISSING else _of_unit(text, "%")


def count(value: float | int | None) -> str:
    """Format a whole number with grouped thousands."""
    if value is None or not math.isfinite(value):
        return MISSING
    return f"{round(value):,}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def duration(seconds: float | int | None) -> str:
    """Format seconds; from ten minutes as minutes, from two hours as hours."""
    if seconds is None or not math.isfinite(seconds):
        return MISSING
    if seconds < 600:
        return _of_unit(number(seconds), "s")
    if seconds < 7200:
        return _of_unit(number(seconds / 60), "min")
    return _of_unit(number(seconds / 3600), "h")


def memory(megabytes: float | int | None) -> str:
    """Format a size given in MB, in a suitable unit."""
    if megabytes is None or not math.isfinite(megabytes):
        return MISSING
    return naturalsize(megabytes * 1e6, format="%.3g").replace(" ", "\N{NO-BREAK SPACE}")


def _of_unit(text: str, unit: str) -> str:
    """Number and unit with a non-breaking space."""
    return f"{text}\N{NO-BREAK SPACE}{unit}"


def _exponent(value: float | int, digits: int) -> int:
    """The decimal exponent of the rounded value: 1 for 9.996."""
    return int(f"{value:.{digits - 1}e}".split("e")[1])


def _fixed(value: float | int, decimals: int) -> str:
    places = max(decimals, 0)
    # adding zero makes a zero of a negative one
    return f"{round(value, places) + 0.0:.{places}f}".replace("-", _MINUS)


def _power(exponent: int) -> str:
    return f"× 10{str(exponent).translate(_SUPERSCRIPTS)}"
