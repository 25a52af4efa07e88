"""The staggered (marker-and-cell) arrangement: where unknowns live, and what happens on sides.

Component i of the velocity is stored on the upper face along axis i of each cell, in an array of
the grid's shape. The lower side of the axis is no unknown; the last layer is the upper side's.
"""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import (
    Boundaries,
    BoundaryLike,
    Dirichlet,
    Grid,
    Neumann,
    Periodic,
    ghosts_of_layers,
)
from impindiff.grid.boundary import Wall, is_concrete

Velocity: TypeAlias = Sequence[Float[Array, "..."]]
SidesLike: TypeAlias = Sequence[BoundaryLike]

# a net inflow below this part of the inflow is round-off of the given values
_BALANCED = 1e-6


class Arrangement:
    """The staggered arrangement on a grid, with the conditions of each component of the velocity.

    - `boundaries`: for each component, one (lower, upper) pair per axis.

    **Raises:** `InputError` for a grid that has no such arrangement and for conditions that it does
    not know.
    """

    def __init__(self, grid: Grid, boundary: SidesLike | None):
        if grid.coordinates != "cartesian" or grid.domain is not None or grid.ndim == 1:
            raise InputError(
                "incompressible: expected a Cartesian grid of 2 or 3 axes without a domain, got "
                f"{grid.ndim} ax{'i' if grid.ndim == 1 else 'e'}s, {grid.kind}"
            )
        self.grid = grid
        self.boundaries = self._checked(boundary)
        self.periodic = tuple(isinstance(low, Periodic) for low, _ in self.boundaries[0])
        self.outflow = tuple(
            isinstance(sides[axis][1], Neumann) for axis, sides in enumerate(self.boundaries)
        )

    def _checked(self, boundary: SidesLike | None) -> tuple[Boundaries, ...]:
        grid = self.grid
        if boundary is None:
            found = (grid.boundary,) * grid.ndim
        else:
            if not isinstance(boundary, Sequence) or len(boundary) != grid.ndim:
                raise InputError(
                    f"incompressible: boundary needs {grid.ndim} entries, the conditions of each "
                    f"component of the velocity in the form that Grid takes, got {boundary!r:.80}"
                )
            found = tuple(grid.boundary_or_own(entry) for entry in boundary)
        for axis in range(grid.ndim):
            kinds = {isinstance(sides[axis][0], Periodic) for sides in found}
            if len(kinds) > 1:
                raise InputError(
                    f"incompressible: axis {axis} is Periodic for some components of the velocity "
                    "only; give it to all of them"
                )
            low, high = found[axis][axis]
            if isinstance(low, Periodic):
                continue
            where = f"incompressible: boundary of component {axis}, axis {axis}"
            if not isinstance(low, Dirichlet):
                raise InputError(
                    f"{where}, lower side: the velocity through it must be given, got "
                    f"{type(low).__name__}; write Dirichlet(value), and put an outflow on an upper "
                    "side"
                )
            if not isinstance(high, Dirichlet | Neumann):
                raise InputError(
                    f"{where}, upper side: expected Dirichlet, the velocity through it, or Neumann "
                    f"for an outflow, got {type(high).__name__}"
                )
        return found

    @property
    def has_outflow(self) -> bool:
        """True if some side lets fluid out at a pressure of 0, which fixes the pressure's level."""
        return any(self.outflow)

    def check_balance(self) -> None:
        """Raise `InputError` where known velocities of all sides let in more than they let out.

        Functions of time and traced values are not inspected.
        """
        if self.has_outflow:
            return
        total = scale = 0.0
        for axis, sides in enumerate(self.boundaries):
            if self.periodic[axis]:
                continue
            others = [np.diff(self.grid.axis_edges(i)) for i in range(self.grid.ndim) if i != axis]
            areas = others[0] if len(others) == 1 else np.multiply.outer(*others)
            for side, sign in zip(sides[axis], (1.0, -1.0), strict=True):
                assert isinstance(side, Wall)
                if callable(side.value) or not is_concrete(side.value):
                    return
                flux = np.asarray(side.value, np.float64) * areas
                total, scale = total + sign * flux.sum(), scale + np.abs(flux).sum()
        if abs(total) > _BALANCED * scale:
            raise InputError(
                f"incompressible: {total:g} more flows in than out through the sides, and the "
                "fluid is incompressible; balance the normal velocities, or let one upper side be "
                "an outflow, Neumann(0.0)"
            )

    def widths(self, axis: int, dtype: DTypeLike) -> np.ndarray:
        """Widths of cells along an axis, shaped to broadcast."""
        return self._along(np.diff(self.grid.axis_edges(axis)), axis, dtype)

    def apart(self, axis: int, dtype: DTypeLike) -> np.ndarray:
        """Distance of the two centres at all n + 1 faces; on a wall that to the mirror image."""
        h = np.diff(self.grid.axis_edges(axis))
        first, last = h[0], h[-1]
        if self.periodic[axis]:
            first = last = 0.5 * (h[0] + h[-1])
        return self._along(np.concatenate([[first], 0.5 * (h[1:] + h[:-1]), [last]]), axis, dtype)

    def between(self, axis: int, dtype: DTypeLike) -> np.ndarray:
        """Distance from each cell's centre to the next one's, at the upper faces.

        At an outflow it is that to the side.
        """
        h = np.diff(self.grid.axis_edges(axis))
        after = h[0] if self.periodic[axis] else 0.0 if self.outflow[axis] else h[-1]
        return self._along(0.5 * (h + np.append(h[1:], after)), axis, dtype)

    def _along(self, values: np.ndarray, axis: int, dtype: DTypeLike) -> np.ndarray:
        shape = [1] * self.grid.ndim
        shape[axis] = -1
        return values.astype(dtype).reshape(shape)

    def normal_faces(
        self, v: Array, axis: int, t: ArrayLike | None, *, rate: bool = False
    ) -> Array:
        """Component `axis` on all n + 1 faces along its own axis.

        - `rate`: v is the rate dv/dt, and so are the values on the sides.
        """
        along = axis - self.grid.ndim
        n = v.shape[along]
        if self.periodic[axis]:
            return jnp.concatenate([layers(v, along, n - 1, n), v], along)
        low, high = self._given(v, axis, t, rate)
        if self.outflow[axis]:
            return jnp.concatenate([low, v], along)
        return jnp.concatenate([low, layers(v, along, 0, n - 1), high], along)

    def _given(self, v: Array, axis: int, t: ArrayLike | None, rate: bool) -> tuple[Array, Array]:
        """Values of both sides of a component's own axis, or their rates."""
        along = axis - self.grid.ndim
        zeros = jnp.zeros_like(layers(v, along, 0, 1))

        def values(t: ArrayLike | None) -> tuple[Array, Array]:
            # the ghost of 0 is twice the value of a Dirichlet side
            low, high = ghosts_of_layers(zeros, zeros, self.grid, axis, self.boundaries[axis], t)
            return 0.5 * low, 0.5 * high

        if not rate:
            return values(t)
        sides = self.boundaries[axis][axis]
        if t is None or not any(isinstance(s, Wall) and callable(s.value) for s in sides):
            return zeros, zeros
        t = jnp.asarray(t, v.dtype)
        return jax.jvp(values, (t,), (jnp.ones_like(t),))[1]

    def beside(
        self, v: Array, component: int, axis: int, t: ArrayLike | None
    ) -> tuple[Array, Array]:
        """A component's ghost layers beyond both sides of another axis."""
        along = axis - self.grid.ndim
        n = v.shape[along]
        first, last = layers(v, along, 0, 1), layers(v, along, n - 1, n)
        return ghosts_of_layers(first, last, self.grid, axis, self.boundaries[component], t)

    def next_cell(self, x: Array | np.ndarray, axis: int, beyond: Array | None = None) -> Array:
        """Value in the cell above each one; at the last, `beyond`, by default itself."""
        along = axis - self.grid.ndim
        n = x.shape[along]
        if self.periodic[axis]:
            beyond = layers(x, along, 0, 1)
        elif beyond is None:
            beyond = layers(x, along, n - 1, n)
        return jnp.concatenate([layers(x, along, 1, n), beyond], along)

    def closed(self, x: Array, axis: int) -> Array:
        """The field with 0 on a side through which the velocity is given."""
        if self.periodic[axis] or self.outflow[axis]:
            return x
        along = axis - self.grid.ndim
        n = x.shape[along]
        inner = layers(x, along, 0, n - 1)
        return jnp.concatenate([inner, jnp.zeros_like(layers(x, along, n - 1, n))], along)

    def with_given(self, x: Array, axis: int, t: ArrayLike | None) -> Array:
        """Component `axis`, with the given velocity on the upper side."""
        if self.periodic[axis] or self.outflow[axis]:
            return x
        along = axis - self.grid.ndim
        faces = self.normal_faces(x, axis, t)
        return layers(faces, along, 1, faces.shape[along])

    def divergence(self, velocity: Velocity, t: ArrayLike | None, *, rate: bool = False) -> Array:
        """Divergence of a velocity, or of its rate, in every cell."""
        parts = []
        for axis, v in enumerate(velocity):
            faces = self.normal_faces(v, axis, t, rate=rate)
            parts.append(difference(faces, axis - self.grid.ndim) / self.widths(axis, v.dtype))
        return sum(parts[1:], start=parts[0])

    def linear_divergence(self, velocity: Velocity) -> Array:
        """Divergence for sides through which nothing flows: its linear part."""
        parts = []
        for axis, v in enumerate(velocity):
            along = axis - self.grid.ndim
            inner = self.closed(v, axis)
            n = v.shape[along]
            last = layers(inner, along, n - 1, n)
            below = jnp.concatenate(
                [last if self.periodic[axis] else jnp.zeros_like(last), inner], along
            )
            parts.append(difference(below, along) / self.widths(axis, v.dtype))
        return sum(parts[1:], start=parts[0])

    def gradient(self, p: Array) -> tuple[Array, ...]:
        """Gradient of the pressure on upper faces: 0 where the velocity is given."""
        found = []
        for axis in range(self.grid.ndim):
            along = axis - self.grid.ndim
            beyond = jnp.zeros_like(layers(p, along, 0, 1)) if self.outflow[axis] else None
            step = self.next_cell(p, axis, beyond) - p
            found.append(step / self.between(axis, p.dtype))
        return tuple(found)

    def pressure_grid(self) -> Grid:
        """The grid with the pressure's conditions: no flux, or 0 on a side of outflow."""
        sides = [
            Periodic() if closes else (Neumann(), Dirichlet() if out else Neumann())
            for closes, out in zip(self.periodic, self.outflow, strict=True)
        ]
        g = self.grid
        return Grid(g.lower, g.upper, g.cells, sides, g.coordinates, g.edges)

    def mean(self, x: Array) -> Array:
        """Mean over the volume, with its axes kept."""
        parts = [self.widths(axis, np.float64) for axis in range(self.grid.ndim)]
        weights = np.ones(())
        for part in parts:
            weights = weights * part / part.sum()
        axes = tuple(range(-self.grid.ndim, 0))
        return jnp.sum(x * weights.astype(x.dtype), axis=axes, keepdims=True)

    def level_rate(self) -> float:
        """Factor of the mean pressure in its equation: one over the square of the box's size."""
        pairs = zip(self.grid.lower, self.grid.upper, strict=True)
        return sum(1.0 / (high - low) ** 2 for low, high in pairs)


def difference(faces: Array | np.ndarray, along: int) -> Array:
    """Upper minus lower face of each cell."""
    n = faces.shape[along]
    return layers(faces, along, 1, n) - layers(faces, along, 0, n - 1)


def sums(faces: Array | np.ndarray, along: int) -> Array:
    """Upper plus lower face of each cell."""
    n = faces.shape[along]
    return layers(faces, along, 1, n) + layers(faces, along, 0, n - 1)


def layers(x: Any, along: int, start: int, end: int) -> Array:
    """Layers start to end of an array, or of a number, which has none."""
    if jnp.ndim(x) == 0:
        return x
    return lax.slice_in_dim(x, start, end, axis=along)
