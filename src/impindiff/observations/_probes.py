"""Fixed probes, such as thermocouples: a field at places between the cell centres."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float, Int

from impindiff.errors import InputError
from impindiff.grid import Boundaries, BoundaryLike, Grid, Periodic
from impindiff.grid.geometry import wall_lengths
from impindiff.observations._interpolation import (
    between_centres,
    between_centres_of,
    linear_in_space,
    outside_domain,
    weights_inside,
)
from impindiff.observations.checks import leading_axes
from impindiff.observations.walls import NearWalls, conditions, near_walls

# positions computed from bounds may leave the part by round-off
_OUTSIDE = 1e-9


class Probes(eqx.Module):
    r"""Observation operator $H u = (u(x_1), \dots, u(x_N))$ of $N$ probes at fixed places.

    The field is interpolated linearly along each axis between cell centres. On the surface, and in
    the half cell next to it, the boundary condition is used (see `NearWalls`), or, without
    `boundary`, linear extrapolation; both are of second order. Called on an array whose trailing
    axes are the grid's, it keeps the axes before them: `(..., *cells) -> (..., N)`.

    **Arguments:**

    - `lower`, `upper`: the corners of the part.
    - `cells`: the number of cells along each axis, all of one size; see `on` for other grids.
    - `positions`: $x$, a row per probe, (N, dimensions), in the unit of the corners.
    - `boundary`: boundary conditions of the field, in the form that `Grid` takes, or a function
      from a model to them, such as `lambda model: model.grid.boundary`, which makes them learnable:
      a loss passes the model to `of_model`; before that they are unknown.

    **Raises:** `InputError` for a probe outside the part, and for bounds or positions of another
    number of dimensions than the grid's; when called, for an array of another grid, and if the
    boundary conditions are a function of a model and none was given.
    """

    cells: tuple[int, ...] = eqx.field(static=True)
    positions: Float[np.ndarray, "probe dimension"]
    boundary: Boundaries | None
    boundary_of: Callable[[Any], BoundaryLike] | None = eqx.field(static=True)
    starts_at_axis: bool = eqx.field(static=True)
    _walls: NearWalls | None
    _neighbours: Int[np.ndarray, "probe corner"]
    _weights: Float[np.ndarray, "probe corner"]

    def __init__(
        self,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        cells: tuple[int, ...],
        positions: Float[np.ndarray, "..."],
        boundary: BoundaryLike | Callable[[Any], BoundaryLike] | None = None,
    ):
        dimensions = len(cells)
        if (
            (len(lower), len(upper)) != (dimensions, dimensions)
            or positions.ndim != 2
            or positions.shape[1] != dimensions
            or len(positions) == 0
        ):
            raise InputError(
                f"observations.probes: positions of shape {positions.shape} in a part from {lower} "
                f"to {upper} with {cells} cells; expected shape (N, {dimensions}) with N at least "
                f"1, and {dimensions} number(s) in each corner"
            )
        low, high = np.asarray(lower, float), np.asarray(upper, float)
        if not (low < high).all():
            raise InputError(
                f"observations.probes: the part reaches from {lower} to {upper}; every lower bound "
                f"must be below its upper bound"
            )
        scaled = (positions - low) / (high - low)
        inside = ((scaled >= -_OUTSIDE) & (scaled <= 1 + _OUTSIDE)).all(axis=1)
        if not inside.all():
            probe = int(np.argmin(inside))
            raise InputError(
                f"observations.probes: probe {probe} is at {_point(positions[probe])}, outside the "
                f"part from {_point(low)} to {_point(high)}; move it inside or leave it out"
            )
        self.cells = tuple(cells)
        self.positions = positions
        self.starts_at_axis = False
        learned = callable(boundary)
        self.boundary_of = boundary if learned else None
        self.boundary = None if learned or boundary is None else conditions(boundary, dimensions)
        periodic = tuple(isinstance(side, Periodic) for side, _ in self.boundary or ())
        left, part = between_centres(scaled, self.cells, periodic)
        self._neighbours, self._weights = linear_in_space(left, part, self.cells)
        spacing = tuple(((high - low) / np.asarray(cells)).tolist())
        self._walls = near_walls(left, part, self.cells, spacing, periodic or (False,) * dimensions)

    @classmethod
    def on(
        cls,
        grid: Grid,
        positions: Float[np.ndarray, "..."],
        boundary: BoundaryLike | Callable[[Any], BoundaryLike] | None = None,
    ) -> "Probes":
        """Probes on a grid, which may have stretched axes, radial coordinates and a domain.

            probes = Probes.on(grid, np.asarray([[0.5], [2.0]]), lambda model: model.grid.boundary)

        **Arguments:** `positions` and `boundary` are those of the class. `grid.boundary` has to be
        given like any other.

        **Raises:** `InputError` as the class, and for a probe outside the grid's domain.
        """
        if boundary is not None and not callable(boundary):
            boundary = grid.boundary_or_own(boundary)
        probes = cls(grid.lower, grid.upper, grid.cells, positions, boundary)
        object.__setattr__(probes, "starts_at_axis", grid.starts_at_axis)
        periodic = tuple(isinstance(side, Periodic) for side, _ in probes.boundary or ())
        periodic = periodic or (False,) * grid.ndim
        outside = outside_domain(grid, positions)
        if outside.any():
            probe = int(np.argmax(outside))
            raise InputError(
                f"observations.probes: probe {probe} is at {_point(positions[probe])}, outside the "
                "domain of the grid; move it inside or leave it out"
            )
        left, part = between_centres_of(grid, positions, periodic)
        cells, weights = linear_in_space(left, part, grid.cells)
        lengths = tuple(wall_lengths(grid, axis) for axis in range(grid.ndim))
        walls = near_walls(left, part, grid.cells, lengths, periodic)
        return eqx.tree_at(
            lambda probes: (probes._neighbours, probes._weights, probes._walls),
            probes,
            (cells, weights_inside(grid, cells, weights), walls),
            is_leaf=lambda part: part is None or isinstance(part, NearWalls),
        )

    @property
    def count(self) -> int:
        """$N$, the number of probes."""
        return len(self.positions)

    def of_model(self, model: Any) -> "Probes":
        """A copy with the boundary conditions of this model, if they depend on one.

        **Raises:** `InputError` if one of them is `Periodic`.
        """
        if self.boundary_of is None:
            return self
        boundary = conditions(self.boundary_of(model), len(self.cells), self.starts_at_axis)
        if any(isinstance(side, Periodic) for side, _ in boundary):
            raise InputError(
                "observations.probes: periodic axes must be known from the start; give boundary as "
                "conditions, not as a function of the model"
            )
        return eqx.tree_at(
            lambda probes: probes.boundary, self, boundary, is_leaf=lambda part: part is None
        )

    def __call__(
        self, u: Float[Array | np.ndarray, "..."], t: ArrayLike | None = None
    ) -> Float[Array | np.ndarray, "..."]:
        """The values at the probes, `(..., *cells) -> (..., N)`.

        - `t`: the time of the values, for time-dependent boundary values.
        """
        if self.boundary is None and self.boundary_of is not None:
            raise InputError(
                "observations.probes: the boundary conditions are those of a model, and none was "
                "given; read with probes.of_model(model)"
            )
        leading = leading_axes("probes", self.cells, u.shape)
        near = u.reshape(*leading, math.prod(self.cells))[..., self._neighbours]
        found = (near * self._weights.astype(u.dtype)).sum(axis=-1)
        if self._walls is None or self.boundary is None:
            return found
        rows = self._walls.rows
        patch = jnp.asarray(near)[..., rows, :].reshape(*leading, -1, *[2] * len(self.cells))
        return jnp.asarray(found).at[..., rows].set(self._walls(patch, self.boundary, t))


def _point(position: Float[np.ndarray, " dimension"]) -> str:
    return "(" + ", ".join(f"{x:g}" for x in position) + ")"
