"""Cell edges along an axis: spacings that follow a formula, and checks of given ones."""

import math
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex

import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Float

from impindiff.errors import InputError

# neither the volume of a cell nor a width to the power of -2 may overflow or vanish
SHORTEST = 1e-100
# widths that differ by less, relative to each other, are round-off of one width
_UNIFORM = 1e-10


def geometric(
    lower: SupportsFloat,
    upper: SupportsFloat,
    cells: SupportsIndex,
    growth: SupportsFloat | None = None,
) -> Float[np.ndarray, " edges"]:
    """Edges of cells whose widths are in geometric progression.

    - without `growth`, edges are equal steps of log x: a logarithmic axis, for which `lower` must
      be above 0, such as the radius around a well;
    - with `growth`, every cell is that many times as wide as the one before: above 1 it is fine
      near `lower`, below 1 near `upper`.

    **Returns:** the edges, (cells + 1,), for `Grid.from_edges`.

    **Raises:** `InputError` unless lower < upper, there are at least 2 cells, and growth is
    positive, or lower is where there is none.
    """
    low, high, n = _checked("geometric", lower, upper, cells)
    if growth is None:
        if low <= 0:
            raise InputError(
                f"geometric: equal steps of log x need lower > 0, got {low:g}; give growth=, the "
                "ratio of neighbouring widths, for an axis from 0"
            )
        return _with_ends(np.geomspace(low, high, n + 1), low, high)
    ratio = float(growth)
    if not (math.isfinite(ratio) and ratio > 0):
        raise InputError(f"geometric: growth must be a positive number, got {growth}")
    widths = ratio ** (np.arange(n) - (0 if ratio < 1 else n - 1))
    summed = np.concatenate([[0.0], np.cumsum(widths)])
    return _with_ends(low + (high - low) * summed / summed[-1], low, high)


def tanh(
    lower: SupportsFloat,
    upper: SupportsFloat,
    cells: SupportsIndex,
    strength: SupportsFloat = 2.0,
    side: str = "both",
) -> Float[np.ndarray, " edges"]:
    """Edges of cells that get narrower towards one side or both, along a hyperbolic tangent.

    Between -1 and 1, edge k of n is at tanh(s (2 k / n - 1)) / tanh(s) for "both" sides. The widest
    cell is about cosh(s)^2 times as wide as the narrowest: 14 times for s = 2. Widths change least
    from cell to cell where they are smallest, which suits boundary layers.

    **Arguments:**

    - `lower`, `upper`, `cells`: of the axis.
    - `strength`: s > 0.
    - `side`: where cells are narrow: "lower", "upper" or "both".

    **Returns:** the edges, (cells + 1,), for `Grid.from_edges`.

    **Raises:** `InputError` for another side, a strength that is not positive, and bounds or cells
    that make no axis.

    Source: Vinokur, On one-dimensional stretching functions for finite-difference calculations,
    J. Comput. Phys. 50 (1983).
    """
    low, high, n = _checked("tanh", lower, upper, cells)
    s = float(strength)
    if not (math.isfinite(s) and s > 0):
        raise InputError(f"tanh: strength must be a positive number, got {strength}")
    part = np.arange(n + 1) / n
    if side == "both":
        at = 0.5 * (1 + np.tanh(s * (2 * part - 1)) / np.tanh(s))
    elif side == "lower":
        at = 1 + np.tanh(s * (part - 1)) / np.tanh(s)
    elif side == "upper":
        at = np.tanh(s * part) / np.tanh(s)
    else:
        raise InputError(f"tanh: side must be 'lower', 'upper' or 'both', got {side!r}")
    return _with_ends(low + (high - low) * at, low, high)


def _checked(
    name: str, lower: SupportsFloat, upper: SupportsFloat, cells: SupportsIndex
) -> tuple[float, float, int]:
    low, high, n = float(lower), float(upper), cells.__index__()
    if not (math.isfinite(low) and math.isfinite(high) and high > low):
        raise InputError(f"{name}: expected lower < upper, got {low:g} and {high:g}")
    if n < 2:
        raise InputError(f"{name}: expected at least 2 cells, got {n}")
    return low, high, n


def _with_ends(
    edges: Float[np.ndarray, " edges"], low: float, high: float
) -> Float[np.ndarray, " edges"]:
    edges[0], edges[-1] = low, high
    return edges


def checked_edges(given: ArrayLike | Sequence[float], axis: int) -> tuple[float, ...]:
    """The edges of an axis as floats. Raises `InputError` unless they make at least 2 cells."""
    try:
        edges = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        raise InputError(
            f"grid: edges of axis {axis} must be numbers, got {type(given).__name__}"
        ) from None
    if edges.ndim != 1 or edges.size < 3:
        raise InputError(
            f"grid: edges of axis {axis} must be a row of cells + 1 numbers, for at least 2 cells, "
            f"got shape {edges.shape}"
        )
    widths = np.diff(edges)
    wrong = ~(np.isfinite(widths) & (widths > 0))
    if wrong.any():
        k = int(np.argmax(wrong))
        raise InputError(
            f"grid: edges of axis {axis} must increase, but {edges[k]:.12g} is followed by "
            f"{edges[k + 1]:.12g}"
        )
    narrow = int(np.argmin(widths))
    if not SHORTEST < widths[narrow] <= widths.max() < 1 / SHORTEST:
        raise InputError(
            f"grid: axis {axis} has cells of width {widths[narrow]:.3g} to {widths.max():.3g}; "
            f"expected {SHORTEST:g} to {1 / SHORTEST:g}; choose another unit of length"
        )
    if (widths < 4 * np.spacing(np.maximum(np.abs(edges[1:]), np.abs(edges[:-1])))).any():
        raise InputError(
            f"grid: the narrowest cell of axis {axis}, at {edges[narrow]:.12g}, has edges that are "
            "the same number; shift the axis to 0, or make it wider"
        )
    return tuple(edges.tolist())


def are_uniform(edges: Sequence[float]) -> bool:
    """True if all cells are equally wide, to round-off."""
    widths = np.diff(np.asarray(edges))
    rounding = 4 * np.spacing(np.abs(np.asarray(edges)).max())
    return bool(np.ptp(widths) <= max(_UNIFORM * widths.mean(), rounding))
