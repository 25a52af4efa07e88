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
from impindiff.operators._faces import (
    Faces,
    from_above,
    from_below,
    layer,
    on_lower_side,
    upper_faces,
)

# how much of the resistance inside an aggregate counts, relative to that of the face
_INSIDE_AT_MOST = 2.0

Field = Float[Array, "*cells"]
Aggregates = Float[Array, "*aggregates"]
Upper = Float[Array, "axis *cells"]


class Level(NamedTuple):
    """The matrix as diagonal (I - couplings).

    - `couplings`: with the neighbours below and above along each axis.
    """

    diagonal: Field
    couplings: Float[Array, "axis 2 *cells"]


class Through(NamedTuple):
    """Values on the faces of each axis: on the upper one of every cell, and on the lower side."""

    upper: Upper
    lower: tuple[Float[Array, "..."], ...]

    @classmethod
    def of(cls, faces: Sequence[Faces]) -> "Through":
        """Convert values on inner faces and both sides."""
        upper = [upper_faces(f.inner, f.upper, axis) for axis, f in enumerate(faces)]
        return cls(jnp.stack(upper), tuple(f.lower for f in faces))

    def on_lower(self, axis: int) -> Field:
        """Values on the lower face of every cell along an axis."""
        upper = self.upper[axis]
        side = on_lower_side(self.lower[axis], axis, upper.shape[axis])
        return from_below(upper, axis, False) + side


class Stencil(NamedTuple):
    """Conductances and drift through the faces of all cells.

    The flux from a cell to the next one is k (u - u_next) + w (u + u_next), as for `Elliptic`.

    - `conductances`: k. `drift`: w, or None. `reaction`: r in each cell.
    """

    conductances: Through
    drift: Through | None
    reaction: Field

    @classmethod
    def of(cls, operator: Elliptic) -> "Stencil":
        """The stencil of an operator whose rows are not divided by volumes."""
        w = None if operator.drift is None else Through.of(operator.drift)
        return cls(Through.of(operator.faces), w, operator.reaction)

    def level(self, cells: Sequence[Any], periodic: Sequence[bool]) -> Level:
        """The matrix scaled by its diagonal, which is 1 where there is no cell.

        `cells` as for `coarsened`.
        """
        diagonal, couplings = self.reaction, []
        for axis, n in enumerate(cells):
            into_lower = out_lower = self.conductances.on_lower(axis)
            into_upper = out_upper = self.conductances.upper[axis]
            if self.drift is not None:
                w = self.drift.on_lower(axis)
                into_lower, out_lower = into_lower + w, out_lower - w
                w = self.drift.upper[axis]
                into_upper, out_upper = into_upper - w, out_upper + w
            diagonal += out_lower + out_upper
            if not isinstance(n, int):
                # behind the last cell are entries without one, which must not be coupled with it
                index = _index(diagonal, axis)
                into_lower = jnp.where(index == n, 0.0, into_lower)
                if not periodic[axis]:
                    into_upper = jnp.where(index == n - 1, 0.0, into_upper)
            couplings += [into_lower, into_upper]
        diagonal = jnp.where(diagonal == 0, 1.0, diagonal)
        scaled = jnp.stack([coupling / diagonal for coupling in couplings])
        return Level(diagonal, scaled.reshape(len(cells), 2, *diagonal.shape))

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

        - `cells`: number of cells along each axis, that of the arrays; traced, it can be smaller.
        """
        upper, lower, drift_upper, drift_lower = [], [], [], []
        for axis in range(len(cells)):
            beside = [other for other in axes if other != axis]
            n = cells[axis] if axis in axes else None

            def outer(
                faces: Through, axis: int = axis, beside: list[int] = beside, n: Any = n
            ) -> tuple[Field, Array]:
                values = sum_over_pairs(faces.upper[axis], beside)
                side = sum_over_pairs(faces.lower[axis], beside)
                return values, side if n is None else _own(side, n, periodic[axis])

            k, k_side = outer(self.conductances)
            if n is not None:
                k, k_side = _in_series(k, k_side, axis, n, periodic[axis])
            if self.drift is not None:
                w, w_side = outer(self.drift)
                if n is not None:
                    w = _own(_outer(*pairs(w, axis), axis, n), n, periodic[axis])
                k, k_side = jnp.maximum(k, jnp.abs(w)), jnp.maximum(k_side, jnp.abs(w_side))
                drift_upper.append(w)
                drift_lower.append(w_side)
            upper.append(k)
            lower.append(k_side)
        drift = Through(jnp.stack(drift_upper), tuple(drift_lower)) if drift_upper else None
        reaction = sum_over_pairs(self.reaction, axes)
        return Stencil(Through(jnp.stack(upper), tuple(lower)), drift, reaction)


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


def _index(x: Field, axis: int) -> Array:
    shape = [1] * x.ndim
    shape[axis] = x.shape[axis]
    return lax.broadcasted_iota(jnp.int32, shape, axis)


def _own(values: Array, n: Any, wraps: bool) -> Array:
    """Values on faces between aggregates: a single one must not be coupled to itself."""
    if not wraps or (isinstance(n, int) and n > 2):
        return values
    return jnp.where(n <= 2, 0.0, values)


def _outer(first: Field, second: Field, axis: int, n: Any) -> Field:
    """Values of the last cell of each aggregate along an axis of n cells."""
    if isinstance(n, int) and n % 2 == 0:
        return second
    return jnp.where(2 * _index(second, axis) + 1 < n, second, first)


def _in_series(
    upper: Field, side: Array, axis: int, n: Any, wraps: bool
) -> tuple[Aggregates, Array]:
    """Conductances of the outer faces of aggregates in series with those inside."""
    between, beyond = pairs(upper, axis)
    # the distance from the centre of a pair to that of either cell is half the spacing
    half = _outer(jnp.zeros_like(between), 0.5 / between, axis, n)
    m = (n + 1) // 2
    found = _total(_outer(between, beyond, axis, n), half, next_to(half, axis, 1, wraps, m))
    inside = [layer(half, axis, 0)]
    if wraps:
        inside.append(lax.dynamic_slice_in_dim(half, m - 1, 1, axis))
    return _own(found, n, wraps), _own(_total(side, *inside), n, wraps)


def _total(conductance: Array, *inside: Array) -> Array:
    """Conductance of a face in series with other resistances; a closed face stays closed."""
    resistance = 1.0 / conductance
    return 1.0 / (resistance + sum(jnp.minimum(r, _INSIDE_AT_MOST * resistance) for r in inside))
