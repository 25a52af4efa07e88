"""Lengths, areas and volumes along an axis, as discrete operators use them.

A uniform Cartesian axis has numbers (a width, areas of 1), which fold into the program; others have
NumPy arrays that broadcast along that axis. The cells of a grid are products of its axes' cells,
also in radial coordinates: the volume of a cell is the product of one factor for each axis, and
the area of a face that of the other axes' factors and another one.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Float

from impindiff.errors import InputError
from impindiff.grid._grid import Grid
from impindiff.grid.boundary import Neumann

_SAME_PLACE = 1e-6  # of a cell's width, coordinates being read from files
_ALIKE = 1e-6

# beyond this range of widths along an axis, point smoothers of multigrid need more sweeps
_VARIES = 4.0


class AtFaces(NamedTuple):
    """Numbers at the faces of an axis: n - 1 inside, 1 on each side, shaped to broadcast.

    NumPy arrays, which operators treat as JAX's.
    """

    inner: Any
    lower: Any
    upper: Any


class Balance(NamedTuple):
    """Factors of a flux balance along an axis.

    The inflow of a cell per volume is the difference of (flux times `areas`) over `volumes`.
    Volumes are relative to the largest, areas are divided by that one: so neither over- nor
    underflows in single precision, whatever the unit of length.
    """

    areas: AtFaces
    volumes: Any


def is_plain(grid: Grid, axis: int) -> bool:
    """True if the cells along the axis are all alike: uniform, and not a radius."""
    return grid.edges[axis] is None and (axis > 0 or grid.coordinates == "cartesian")


def width(grid: Grid, axis: int, dtype: DTypeLike) -> Any:
    """Cell width: a number, or an array along the axis where it is stretched."""
    if grid.edges[axis] is None:
        return (grid.upper[axis] - grid.lower[axis]) / grid.cells[axis]
    return _along(np.diff(grid.axis_edges(axis)), grid, axis, dtype)


def cell_widths(grid: Grid, axis: int) -> Any:
    """Cell width along an axis: a number, or one for each cell of a stretched axis, float64."""
    h = width(grid, axis, np.float64)
    return h if isinstance(h, float) else np.ravel(h)


def wall_lengths(grid: Grid, axis: int) -> tuple[tuple[float, float], tuple[float, float]] | float:
    """At each wall: from the outer centre to the next one, and to its mirror image.

    One number on a uniform axis, where they are all equal.
    """
    h = cell_widths(grid, axis)
    if isinstance(h, float):
        return h
    return (float(0.5 * (h[0] + h[1])), float(h[0])), (float(0.5 * (h[-1] + h[-2])), float(h[-1]))


def distances(grid: Grid, axis: int, periodic: bool, dtype: DTypeLike) -> float | AtFaces:
    """Distance between the two centres at each face; on a wall that of a cell and its mirror image.

    A number where the axis is uniform.
    """
    if grid.edges[axis] is None:
        return (grid.upper[axis] - grid.lower[axis]) / grid.cells[axis]
    h = np.diff(grid.axis_edges(axis))
    first, last = h[0], h[-1]
    if periodic:
        first = last = 0.5 * (h[0] + h[-1])
    return _at_faces(np.concatenate([[first], 0.5 * (h[1:] + h[:-1]), [last]]), grid, axis, dtype)


def weights_below(grid: Grid, axis: int, periodic: bool, dtype: DTypeLike) -> AtFaces | None:
    """Weight of the cell below each face in linear interpolation; None if 1/2 everywhere."""
    if grid.edges[axis] is None:
        return None
    h = np.diff(grid.axis_edges(axis))
    # a ghost cell is as far from a wall as its mirror image
    seam = h[0] / (h[0] + h[-1]) if periodic else 0.5
    return _at_faces(np.concatenate([[seam], h[1:] / (h[1:] + h[:-1]), [seam]]), grid, axis, dtype)


def extrapolation(grid: Grid, axis: int) -> tuple[float, float] | None:
    """Fraction of the difference of the two outermost cells from the outer one to each wall.

    None on a uniform axis, where it is 1/2: a wall's value is U_1 + (U_1 - U_2) / 2.
    """
    if grid.edges[axis] is None:
        return None
    h = np.diff(grid.axis_edges(axis))
    return float(h[0] / (h[0] + h[1])), float(h[-1] / (h[-1] + h[-2]))


def half_widths(grid: Grid, axis: int, periodic: bool, dtype: DTypeLike) -> tuple[Any, Any] | None:
    """Distance from each cell's centre to its face, over that to the next centre: below, above.

    None on a uniform axis, where it is 1/2.
    """
    if grid.edges[axis] is None:
        return None
    h = np.diff(grid.axis_edges(axis))
    ends = 0.5 * (h[0] + h[-1]) if periodic else 0.0
    between = 0.5 * (h[1:] + h[:-1])
    below = np.concatenate([[ends or h[0]], between])
    above = np.concatenate([between, [ends or h[-1]]])
    return (
        _along(0.5 * h / below, grid, axis, dtype),
        _along(0.5 * h / above, grid, axis, dtype),
    )


def balance(grid: Grid, axis: int, dtype: DTypeLike) -> Balance | None:
    """Areas and volumes along an axis; None where all cells are alike.

    **Raises:** `InputError` for volumes so different that products with them underflow.
    """
    if is_plain(grid, axis):
        return None
    volumes = grid.axis_volumes(axis)
    largest = volumes.max()
    ratio = float(volumes.min() / largest)
    if ratio < float(np.finfo(dtype).tiny) ** 0.5:
        raise InputError(
            f"grid: cells along axis {axis} differ in volume by a factor of {1 / ratio:.0e} "
            f"({grid.kind}), more than {np.dtype(dtype).name} can balance; take float64, or an "
            "axis over fewer decades"
        )
    return Balance(
        _at_faces(grid.axis_areas(axis) / largest, grid, axis, dtype),
        _along(volumes / largest, grid, axis, dtype),
    )


def mirror_distance(grid: Grid, axis: int, side: str, k: int) -> float:
    """Distance of the k-th ghost cell beyond a wall, from 1, and its mirror image inside."""
    if grid.edges[axis] is None:
        return (2 * k - 1) * ((grid.upper[axis] - grid.lower[axis]) / grid.cells[axis])
    centres = grid.axis_centers(axis)
    if side == "lower":
        return float(2 * (centres[k - 1] - grid.lower[axis]))
    return float(2 * (grid.upper[axis] - centres[-k]))


def inflow_factors(grid: Grid, axis: int, dtype: DTypeLike) -> float | AtFaces:
    """Factors of fluxes along an axis, which make them inflow times `relative_volumes`.

    One over the spacing on a uniform Cartesian grid, whose relative volumes are 1. Else the true
    areas, up to one factor for all axes: what leaves a cell through a face enters the next one.
    """
    own = balance(grid, axis, dtype)
    others = [balance(grid, other, dtype) for other in range(grid.ndim) if other != axis]
    beside = [other.volumes for other in others if other is not None]
    per_width = 1.0 / mean_spacing(grid)[axis]
    if own is None and not beside:
        return per_width
    factor = math.prod(beside[1:], start=beside[0]) if beside else np.ones((), dtype)
    if own is None:
        factor = factor * np.asarray(per_width, dtype)
        return AtFaces(factor, factor, factor)
    return AtFaces(*(areas * factor for areas in own.areas))


def mean_spacing(grid: Grid) -> tuple[float, ...]:
    """Width per axis of as many equal cells: the cell width of a uniform axis."""
    sides = zip(grid.lower, grid.upper, grid.cells, strict=True)
    return tuple((high - low) / n for low, high, n in sides)


def typical_spacing(grid: Grid) -> tuple[float, ...]:
    """Cell width per axis; of a stretched one the harmonic mean."""
    found = []
    for axis in range(grid.ndim):
        h = width(grid, axis, float)
        found.append(h if isinstance(h, float) else float(1 / np.mean(1 / h)))
    return tuple(found)


def cells_vary_in_shape(grid: Grid) -> bool:
    """True if widths along an axis differ by more than a factor of 4, and there are other axes."""
    widths = [np.diff(grid.axis_edges(axis)) for axis in range(grid.ndim)]
    return grid.ndim > 1 and max(float(h.max() / h.min()) for h in widths) > _VARIES


def relative_volumes(grid: Grid, dtype: DTypeLike) -> Any:
    """Volumes of cells over the largest, shaped to broadcast; None where all are alike.

    Those of cells outside a domain are as good as 0, and can be divided by.
    """
    parts = [balance(grid, axis, dtype) for axis in range(grid.ndim)]
    found = [part.volumes for part in parts if part is not None]
    whole = math.prod(found[1:], start=found[0]) if found else None
    if grid.domain is None:
        return whole
    fractions = grid.domain.volumes
    xp = np if isinstance(fractions, np.ndarray) else jnp
    sizes = fractions if whole is None else fractions * whole
    return xp.where(fractions > 0, sizes, np.finfo(dtype).eps).astype(dtype)


def volumes_around(
    grid: Grid, places: Sequence[Float[np.ndarray, " place"]]
) -> Float[np.ndarray, "*places"] | None:
    """Volume of the cell around each place over the largest; None if all are alike.

    The places are given along each axis. Where they are the centres of the grid's cells, these are
    meant, with the part inside a domain; else cells that are divided midway between places.
    """
    centers = [grid.axis_centers(axis) for axis in range(grid.ndim)]
    widths = [np.diff(grid.axis_edges(axis)) for axis in range(grid.ndim)]
    own = all(
        len(at) == len(centre) and np.all(np.abs(at - centre) <= _SAME_PLACE * h)
        for at, centre, h in zip(places, centers, widths, strict=True)
    )
    if own:
        volumes = np.asarray(grid.volumes)
    else:
        edges = [_midway(at, grid, axis) for axis, at in enumerate(places)]
        lower, upper = [e[0] for e in edges], [e[-1] for e in edges]
        cells = [len(at) for at in places]
        walls = (Neumann(),) * grid.ndim
        around = Grid(lower, upper, cells, walls, grid.coordinates, edges)
        volumes = np.asarray(around.volumes)
    volumes = volumes / volumes.max()
    return None if np.ptp(volumes) < _ALIKE else volumes


def _midway(at: np.ndarray, grid: Grid, axis: int) -> np.ndarray:
    middle = 0.5 * (at[1:] + at[:-1])
    edges = np.concatenate([[2 * at[0] - middle[0]], middle, [2 * at[-1] - middle[-1]]])
    if axis == 0 and grid.coordinates != "cartesian":
        edges[0] = max(edges[0], 0.0)
    return edges


def _along(values: np.ndarray, grid: Grid, axis: int, dtype: DTypeLike) -> np.ndarray:
    shape = [1] * grid.ndim
    shape[axis] = -1
    return values.astype(dtype).reshape(shape)


def _at_faces(values: np.ndarray, grid: Grid, axis: int, dtype: DTypeLike) -> AtFaces:
    parts = (values[1:-1], values[:1], values[-1:])
    return AtFaces(*(_along(part, grid, axis, dtype) for part in parts))
