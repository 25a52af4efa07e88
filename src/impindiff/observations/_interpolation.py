"""Interpolation weights: in space on cell centres, in time between states."""

import itertools

import numpy as np
from jaxtyping import Bool, Float, Int

from impindiff.grid import Grid

_NODES = 4  # cubic interpolation
# part of an axis that is round-off of a position
_ON_FACE = 1e-9


def between_centres(
    scaled: Float[np.ndarray, "point dimension"],
    cells: tuple[int, ...],
    periodic: tuple[bool, ...] | None = None,
) -> tuple[Int[np.ndarray, "point dimension"], Float[np.ndarray, "point dimension"]]:
    """The lower of the two cell centres around each point, and the distance beyond it in cells.

    For a point beyond the outermost centre, half a cell from a wall, these are the two nearest
    centres and the distance is below 0 or above 1. Along a periodic axis the last cell and the
    first are neighbours.

    - `scaled`: positions, 0 on the lower and 1 on the upper end of each axis.
    - `periodic`: marks periodic axes; none by default.
    """
    last = np.asarray(cells) - 1
    closes = np.asarray(periodic or (False,) * len(cells))
    where = scaled * np.asarray(cells) - 0.5  # in cells from the first centre
    left = np.floor(where)
    left = np.where(closes, left, np.clip(left, 0, np.maximum(last - 1, 0))).astype(int)
    # an axis of one cell has no right neighbour; the field is constant along it
    return left, np.where(last == 0, 0.0, where - left)


def between_centres_of(
    grid: Grid, positions: Float[np.ndarray, "point dimension"], periodic: tuple[bool, ...]
) -> tuple[Int[np.ndarray, "point dimension"], Float[np.ndarray, "point dimension"]]:
    """`between_centres` for positions on a grid, whose axes may be stretched.

    There the distance beyond a centre is relative to that between the two centres.
    """
    lower, upper = np.asarray(grid.lower), np.asarray(grid.upper)
    left, part = between_centres((positions - lower) / (upper - lower), grid.cells, periodic)
    for axis, edges in enumerate(grid.edges):
        if edges is None:
            continue
        centres, around = grid.axis_centers(axis), upper[axis] - lower[axis]
        first = 0
        if periodic[axis]:
            centres = np.concatenate([centres[-1:] - around, centres, centres[:1] + around])
            first = -1
        at = np.searchsorted(centres, positions[:, axis], side="right") - 1
        at = np.clip(at, 0, len(centres) - 2)
        left[:, axis] = at + first
        part[:, axis] = (positions[:, axis] - centres[at]) / (centres[at + 1] - centres[at])
    return left, part


def linear_in_space(
    left: Int[np.ndarray, "point dimension"],
    part: Float[np.ndarray, "point dimension"],
    cells: tuple[int, ...],
) -> tuple[Int[np.ndarray, "point corner"], Float[np.ndarray, "point corner"]]:
    """Flat indices of the cells around each point, and their multilinear weights.

    Beyond the outermost centres the field is extrapolated linearly, to second order for any
    boundary condition.

    - `left`, `part`: from `between_centres`.
    """
    neighbours, weights = [], []
    for corner in itertools.product((0, 1), repeat=len(cells)):
        index = np.mod(left + corner, np.asarray(cells))
        neighbours.append(np.ravel_multi_index(tuple(index.T), cells))
        weights.append(np.prod(np.where(corner, part, 1 - part), axis=1))
    return np.stack(neighbours, axis=1).astype(np.int32), np.stack(weights, axis=1)


def outside_domain(
    grid: Grid, positions: Float[np.ndarray, "point dimension"]
) -> Bool[np.ndarray, " point"]:
    """Points in cells that are outside the grid's domain; none without one.

    A point on a face is outside if the cells on both of its sides are.
    """
    if grid.domain is None:
        return np.zeros(len(positions), bool)
    inside = np.asarray(grid.inside)
    found = np.zeros(len(positions), bool)
    for sides in itertools.product((-1, 1), repeat=grid.ndim):
        index = []
        for axis, side in enumerate(sides):
            edges = grid.axis_edges(axis)
            near = positions[:, axis] + side * _ON_FACE * (edges[-1] - edges[0])
            at = np.searchsorted(edges, near, side="right") - 1
            index.append(np.clip(at, 0, grid.cells[axis] - 1))
        found |= inside[tuple(index)]
    return ~found


def weights_inside(
    grid: Grid,
    cells: Int[np.ndarray, "point corner"],
    weights: Float[np.ndarray, "point corner"],
) -> Float[np.ndarray, "point corner"]:
    """Weights without those of cells outside the grid's domain, with the same sum.

    Next to the domain's boundary, the nearest cells inside are read, to first order.
    """
    if grid.domain is None:
        return weights
    inside = np.ravel(np.asarray(grid.inside))[cells]
    # beyond the outermost centres weights are negative, and the remaining ones can have no sum
    left = np.where(inside, np.where(inside.all(1, keepdims=True), weights, abs(weights)), 0.0)
    total = left.sum(axis=1, keepdims=True)
    return np.where(total > 0, left / np.where(total > 0, total, 1.0), weights)


def cubic_in_time(
    times: Float[np.ndarray, " node"], at: Float[np.ndarray, " point"]
) -> tuple[Int[np.ndarray, "point near"], Float[np.ndarray, "point near"]]:
    """Indices of the times around each point, and their weights (Lagrange polynomials).

    Degree 3, through the two times on either side, or the nearest four at an end; lower if there
    are fewer times. Exact at the times themselves.

    - `times`: increasing.
    - `at`: between the first and the last of `times`.
    """
    count = min(_NODES, len(times))
    first = np.searchsorted(times, at, side="right") - 1 - (count - 1) // 2
    near = np.clip(first, 0, len(times) - count)[:, None] + np.arange(count)
    nodes = times[near]
    weights = np.ones(nodes.shape)
    for i, j in itertools.permutations(range(count), 2):
        weights[:, i] *= (at - nodes[:, j]) / (nodes[:, i] - nodes[:, j])
    return near.astype(np.int32), weights
