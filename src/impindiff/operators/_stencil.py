"""The matrix of an elliptic operator by cells, and that between aggregates of cells.

All arrays have the shape of the cells, so that a program for one grid serves for coarser ones whose
cells fill a part of the same arrays.
"""

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from impindiff.operators._aggregates import pairs, sum_over_pairs
from impindiff.operators._elliptic import Elliptic
from impindiff.operators._faces import from_above, from_below, lower_faces, upper_faces

# how much of the resistance inside an aggregate counts, relative to that of the face
_INSIDE_AT_MOST = 2.0

Field = Float[Array, "*cells"]
Sides = Float[Array, "axis 2 *cells"]


class Level(NamedTuple):
    """The matrix as diagonal (I - couplings).

    - `couplings`: with the neighbours below and above along each axis.
    """

    diagonal: Field
    couplings: Sides


class Stencil(NamedTuple):
    """Conductances and drift through the lower and the upper face of each cell along each axis.

    The flux from a cell to the next one is k (u - u_next) + w (u + u_next), as for `Elliptic`; a
    face between two cells is the upper one of the first and the lower one of the second.

    - `conductances`: k. `drift`: w, or None. `reaction`: r in each cell.
    """

    conductances: Sides
    drift: Sides | None
    reaction: Field

    @classmethod
    def of(cls, operator: Elliptic) -> "Stencil":
        """The stencil of an operator whose rows are not divided by volumes."""
        k = _on_sides(operator.faces)
        return cls(
            k, None if operator.drift is None else _on_sides(operator.drift), operator.reaction
        )

    def diagonal(self) -> Field:
        """Diagonal entries: reaction and all outflow of a cell."""
        total = self.reaction + self.conductances.sum((0, 1))
        if self.drift is None:
            return total
        return total + (self.drift[:, 1] - self.drift[:, 0]).sum(0)

    def level(self, cells: Sequence[Any], periodic: Sequence[bool]) -> Level:
        """The matrix scaled by its diagonal; entries without a cell have the diagonal 1.

        `cells` as for `coarsened`.
        """
        into = self.conductances
        if self.drift is not None:
            into = jnp.stack([into[:, 0] + self.drift[:, 0], into[:, 1] - self.drift[:, 1]], 1)
        diagonal = self.diagonal()
        diagonal = jnp.where(diagonal == 0, 1.0, diagonal)
        couplings = []
        for axis, n in enumerate(cells):
            upper, last = into[axis, 1], _index(diagonal, axis) == n - 1
            if not periodic[axis]:
                # behind a wall can be an entry without a cell
                upper = jnp.where(last, 0.0, upper)
            couplings.append(jnp.stack([into[axis, 0], upper]))
        return Level(diagonal, jnp.stack(couplings) / diagonal)

    def coarsened(
        self, axes: Collection[int], cells: Sequence[Any], periodic: Sequence[bool]
    ) -> "Stencil":
        """The stencil between aggregates of two cells along each of `axes`.

        It acts on *sums* over the cells of an aggregate, which keeps it symmetric where the last
        aggregate of an odd number is a single cell: for a constant D and even numbers it is the
        number of cells in an aggregate times the operator built on the coarse grid.

        The conductance between two aggregates is that of resistances in series: from the first's
        centre to the face, across it, to the second's centre; parallel faces are summed before. The
        outer two count at most twice the middle one, lest an aggregate whose cells are separated by
        a closed face be cut off from its neighbours. The drift between two aggregates is that
        through the faces between them, and the conductance at least as large: upwind, on every
        grid, which keeps the operator an M-matrix.

        - `cells`: number of cells along each axis, at most that of the arrays; can be traced.
        """
        k, w = [], []
        for axis in range(len(cells)):
            beside = [other + 1 for other in axes if other != axis]
            n = cells[axis] if axis in axes else None
            joined = sum_over_pairs(self.conductances[axis], beside)
            if n is not None:
                joined = _in_series(joined, axis, n, periodic[axis])
            if self.drift is not None:
                drift = sum_over_pairs(self.drift[axis], beside)
                if n is not None:
                    drift = _outer(drift, axis, n, periodic[axis])
                joined = jnp.maximum(joined, jnp.abs(drift))
                w.append(drift)
            k.append(joined)
        reaction = sum_over_pairs(self.reaction, axes)
        return Stencil(jnp.stack(k), jnp.stack(w) if w else None, reaction)


def next_to(x: Field, axis: int, step: int, wraps: bool, n: Any) -> Field:
    """Value in the next cell below (-1) or above (1); at a wall 0.

    - `n`: number of cells along the axis, the rest of the array being 0; can be traced.
    """
    shifted = from_below if step < 0 else from_above
    if not wraps or (isinstance(n, int) and n == x.shape[axis]):
        return shifted(x, axis, wraps)
    here, there = (0, n - 1) if step < 0 else (n - 1, 0)
    across = lax.dynamic_slice_in_dim(x, there, 1, axis)
    return jnp.where(_index(x, axis) == here, across, shifted(x, axis, False))


def _on_sides(faces: Sequence[Any]) -> Sides:
    return jnp.stack(
        [
            jnp.stack([lower_faces(f.inner, f.lower, axis), upper_faces(f.inner, f.upper, axis)])
            for axis, f in enumerate(faces)
        ]
    )


def _index(x: Field, axis: int) -> Array:
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    return lax.broadcasted_iota(jnp.int32, shape, axis)


def _outer(sides: Float[Array, "2 *cells"], axis: int, n: Any, wraps: bool) -> Array:
    """Values on the outer faces of aggregates along an axis of n cells."""
    lower, _ = pairs(sides[0], axis)
    of_single, upper = pairs(sides[1], axis)
    upper = jnp.where(_has_second(upper, axis, n), upper, of_single)
    found = jnp.stack([lower, upper])
    # a single aggregate must not be coupled to itself
    return jnp.where(n <= 2, 0.0, found) if wraps else found


def _has_second(x: Field, axis: int, n: Any) -> Array:
    return 2 * _index(x, axis) + 1 < n


def _in_series(sides: Float[Array, "2 *cells"], axis: int, n: Any, wraps: bool) -> Array:
    """Conductances of the outer faces of aggregates in series with those inside."""
    between, _ = pairs(sides[1], axis)
    # the distance from the centre of a pair to that of either cell is half the spacing
    half = jnp.where(_has_second(between, axis, n), 0.5 / between, 0.0)
    m = (n + 1) // 2
    resistance = 1.0 / _outer(sides, axis, n, wraps)
    beyond = jnp.stack([next_to(half, axis, step, wraps, m) for step in (-1, 1)])
    inside = (jnp.minimum(r, _INSIDE_AT_MOST * resistance) for r in (half, beyond))
    return 1.0 / (resistance + sum(inside))
