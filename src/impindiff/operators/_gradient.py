"""The gradient of a field."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.grid import BoundaryLike, Grid, Periodic
from impindiff.grid.boundary import Boundary
from impindiff.grid.geometry import distances, weights_below, width
from impindiff.operators._embedded import slopes
from impindiff.operators._faces import cells_beside, difference, face_means, over


def gradient(
    u: Float[Array, "..."],
    grid: Grid,
    *,
    boundary: BoundaryLike | None = None,
    embedded: Boundary | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Gradient at cell centres, (du/dx_1, ..., du/dx_ndim), by central differences.

    In cell i, (u_{i+1/2} - u_{i-1/2}) / h with face values that are means of the two adjacent
    cells, which is (u_{i+1} - u_{i-1}) / 2h inside; on a stretched axis they are interpolated
    linearly. Second order inside and next to Neumann sides;
    first order in the layer of cells next to a Dirichlet or Robin side, hence second in the mean.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `grid`: the grid.
    - `boundary`: boundary conditions of u, as `Grid` takes them; default the grid's own.
    - `embedded`: condition on the boundary of the grid's domain; default the grid's own. In cells
      next to it slopes are one-sided, or to the boundary's value if that is given; first order.
    - `t`: time, for time-dependent boundary values.

    **Returns:** (ndim, *batch, *cells), in u's dtype and in units of u over length.

    **Raises:** `InputError` if u's trailing axes are not the grid's, and as `ghosts` does.

    Source: LeVeque, Finite Difference Methods for ODEs and PDEs, 2007, ch. 1.
    """
    grid.check_field(u, "u")
    wall = grid.embedded_or_own(embedded)
    boundaries = grid.boundary_or_own(boundary)
    parts = []
    for axis in range(grid.ndim):
        periodic = isinstance(boundaries[axis][0], Periodic)
        weights = weights_below(grid, axis, periodic, u.dtype)
        beside = cells_beside(u, grid, axis, boundaries, t)
        means = face_means(beside, weights)
        part = difference(means, axis - grid.ndim, width(grid, axis, u.dtype))
        if wall is not None:
            steps = jax.tree.map(jnp.subtract, beside.above, beside.below)
            steps = over(steps, distances(grid, axis, periodic, u.dtype))
            one_sided, both = slopes(steps, grid, axis, wall, u, periodic, t)
            part = jnp.where(both, part, one_sided)
        parts.append(part)
    return jnp.stack(parts)
