"""Requirements on measured arrays and on arrays read by operators; one-line errors."""

import numpy as np
from jaxtyping import Bool, Float
from numpy.typing import ArrayLike

from impindiff.errors import InputError

# relative to the spacing: single-precision coordinates are even to about 1e-4 of a cell on 1000
# cells
NEARLY = 1e-3
_ULPS = 4


def same_places(
    found: Float[np.ndarray, "..."], wanted: ArrayLike, spacing: ArrayLike
) -> Bool[np.ndarray, "..."]:
    """Compare coordinates or times entry by entry, to a thousandth of the spacing.

    A tolerance relative to the coordinate itself would span many cells far from zero.

    - `spacing`: the width of a cell, or the shortest time between two states.
    """
    found, wanted = np.asarray(found, float), np.asarray(wanted, float)
    round_off = _ULPS * np.finfo(float).eps * np.maximum(np.abs(found), np.abs(wanted))
    return np.abs(found - wanted) <= NEARLY * np.abs(np.asarray(spacing)) + round_off


def up_to(
    times: Float[np.ndarray, "..."], last: float, interval: float | None = None
) -> Bool[np.ndarray, "..."]:
    """Mask of times not after `last`, where equal times are those of `same_places`.

    - `interval`: the shortest between states; None: between these times.
    """
    return (times <= last) | same_places(
        times, last, shortest(times) if interval is None else interval
    )


def shortest(times: Float[np.ndarray, "..."]) -> float:
    """The shortest interval between different times; 0 if there is only one."""
    gaps = np.diff(np.unique(times))
    return float(gaps.min()) if gaps.size else 0.0


def require_finite(
    name: str, values: Float[np.ndarray, "..."], dimensions: tuple[str, ...]
) -> None:
    """Refuse NaN and infinity.

    **Raises:** `InputError` with the index of the first.
    """
    bad = ~np.isfinite(values)
    if not bad.any():
        return
    first = np.unravel_index(int(np.argmax(bad)), values.shape)
    where = ", ".join(f"{d}={i}" for d, i in zip(dimensions, first, strict=True))
    raise InputError(
        f"variable '{name}' is {values[first]} at index {where} ({int(bad.sum())} such values in "
        f"all); every value must be a finite number: fill them, or cut the file to where data are "
        f"complete"
    )


def require_times(times: Float[np.ndarray, " time"]) -> None:
    """Refuse fewer than two times, missing ones, and times that do not increase.

    **Raises:** `InputError`.
    """
    if len(times) < 2:
        raise InputError(
            f"dimension 'time' has {len(times)} value(s); at least 2 are needed: the initial state "
            f"and an observation"
        )
    if not np.isfinite(times).all():
        first = int(np.argmax(~np.isfinite(times)))
        raise InputError(
            f"coordinate 'time' is {times[first]} at index {first}; every time must be a finite "
            f"number: fill it in, or drop that snapshot"
        )
    steps = np.diff(times)
    if not (steps > 0).all():
        i = int(np.argmax(steps <= 0))
        raise InputError(
            f"coordinate 'time' must increase, but goes from {times[i]:g} at index {i} to "
            f"{times[i + 1]:g} at index {i + 1}; sort the snapshots and keep one per time"
        )


def require_even_spacing(name: str, centres: Float[np.ndarray, " cell"]) -> None:
    """Refuse cell centres that are not evenly spaced and increasing.

    **Raises:** `InputError` with the first gap that differs from the median.
    """
    if len(centres) < 2:
        raise InputError(
            f"dimension '{name}' has {len(centres)} cell(s); at least 2 are needed to know the "
            f"cell size"
        )
    if not np.isfinite(centres).all():
        first = int(np.argmax(~np.isfinite(centres)))
        raise InputError(
            f"coordinate '{name}' is {centres[first]} at index {first}; every cell centre must be "
            f"a finite number"
        )
    gaps = np.diff(centres)
    # the median, not the mean: one missing cell must not make every other gap look wrong
    usual = float(np.median(gaps))
    if usual <= 0:
        raise InputError(
            f"coordinate '{name}' must increase, but goes from {centres[0]:g} to {centres[-1]:g}; "
            f"try sortby('{name}') of xarray"
        )
    uneven = np.abs(gaps - usual) > NEARLY * usual
    if uneven.any():
        i = int(np.argmax(uneven))
        raise InputError(
            f"coordinate '{name}' is not evenly spaced: from index {i} ({centres[i]:g}) to "
            f"{i + 1} ({centres[i + 1]:g}) the gap is {gaps[i]:g}, elsewhere {usual:g}; "
            f"interpolate the data to a uniform grid"
        )


def leading_axes(reader: str, cells: tuple[int, ...], shape: tuple[int, ...]) -> tuple[int, ...]:
    """The axes of an array before those of the grid.

    **Raises:** `InputError` if its trailing axes are not the grid's.
    """
    before = max(len(shape) - len(cells), 0)
    if shape[before:] != cells:
        raise InputError(
            f"{reader} on a grid of {cells} cells cannot read an array of shape {shape}: its "
            f"trailing axes must be the grid's"
        )
    return shape[:before]
