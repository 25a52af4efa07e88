"""Places of the velocity's components, their values at centres, and the divergence."""

import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.incompressible._arrangement import Arrangement, SidesLike, Velocity, sums
from impindiff.incompressible._tendency import checked_velocity


def face_points(grid: Grid, axis: int) -> Float[Array, "..."]:
    """Coordinates of component `axis` of the velocity, (ndim, *cells): upper faces of cells.

    **Raises:** `InputError` for an axis that the grid does not have.
    """
    if not 0 <= axis < grid.ndim:
        raise InputError(f"face_points: axis is {axis}; expected 0 to {grid.ndim - 1}")
    along = [
        grid.axis_edges(i)[1:] if i == axis else grid.axis_centers(i) for i in range(grid.ndim)
    ]
    return jnp.asarray(np.stack(np.meshgrid(*along, indexing="ij")))


def at_centers(
    velocity: Velocity,
    grid: Grid,
    *,
    boundary: SidesLike | None = None,
    t: ArrayLike | None = None,
) -> tuple[Float[Array, "..."], ...]:
    """The velocity at the centres of cells, means of the two faces: for probes and figures.

    **Arguments:**

    - `velocity`: components on faces, (*batch, *cells), as in the state of `tendency`.
    - `grid`, `boundary`, `t`: as for `tendency`.

    **Returns:** for each component an array (*batch, *cells). Second order.
    """
    here = Arrangement(grid, boundary)
    return tuple(
        0.5 * sums(here.normal_faces(v, axis, t), axis - grid.ndim)
        for axis, v in enumerate(checked_velocity(velocity, grid))
    )


def divergence(
    velocity: Velocity,
    grid: Grid,
    *,
    boundary: SidesLike | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Outflow of each cell through its faces, per volume: 0 in an incompressible flow.

    **Arguments:** as for `at_centers`.

    **Returns:** (*batch, *cells), in units of the velocity over length.
    """
    return Arrangement(grid, boundary).divergence(checked_velocity(velocity, grid), t)
