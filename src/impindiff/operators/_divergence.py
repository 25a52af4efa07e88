"""The divergence of a vector field."""

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import BoundaryLike, Grid, Periodic
from impindiff.grid.boundary import Boundary
from impindiff.grid.geometry import relative_volumes, weights_below
from impindiff.operators._embedded import normal_outflow, open_parts
from impindiff.operators._faces import cells_beside, face_means, flux_divergence


def divergence(
    v: Float[Array, "..."],
    grid: Grid,
    *,
    boundary: BoundaryLike | None = None,
    embedded: Boundary | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Divergence sum_i dv_i/dx_i of a cell-centred vector field, in flux form.

    In radial coordinates it is d(r v_r)/dr / r + dv_z/dz, or d(r^2 v_r)/dr / r^2, by the areas of
    faces and volumes of cells. Face values are means of the two adjacent cells; v_i = g on a
    Dirichlet face holds exactly, so the sum over cells times the cell volume is the flux through
    the boundary. Second order inside and next to Neumann sides; first order in the layer of cells
    next to a Dirichlet or Robin side, hence second in the mean. On uniform Cartesian axes, with v_i
    Dirichlet(0) where p is Neumann(0), it is minus the transpose of `gradient`.

    **Arguments:**

    - `v`: vector field, (ndim, *batch, *cells).
    - `grid`: the grid.
    - `boundary`: its entry for an axis applies to the component normal to that axis' sides, v[axis]
      (the others have no flux through them); default the grid's own.
    - `embedded`: condition on the boundary of the grid's domain: the value of `Dirichlet` is the
      normal component there; else it is that of the cut cell. Default the grid's own.
    - `t`: time, for time-dependent boundary values.

    **Returns:** (*batch, *cells), in v's dtype and in units of v over length.

    **Raises:** `InputError` if v's leading axis is not ndim or its trailing axes are not the
    grid's, and as `ghosts` does.

    Source: LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, ch. 4.
    """
    grid.check_field(v, "v")
    if v.ndim == grid.ndim or v.shape[0] != grid.ndim:
        raise InputError(
            f"v: expected shape (ndim, ..., *cells) = ({grid.ndim}, ..., "
            f"{', '.join(map(str, grid.cells))}), got {v.shape}"
        )
    boundaries = grid.boundary_or_own(boundary)
    wall = grid.embedded_or_own(embedded)
    beside = [cells_beside(v[axis], grid, axis, boundaries, t) for axis in range(grid.ndim)]
    fluxes = []
    for axis, cells in enumerate(beside):
        periodic = isinstance(boundaries[axis][0], Periodic)
        means = face_means(cells, weights_below(grid, axis, periodic, v.dtype))
        if wall is not None:
            means = jax.tree.map(jnp.multiply, means, open_parts(grid, axis, v.dtype))
        fluxes.append(means)
    total = flux_divergence(fluxes, grid)
    if wall is None:
        return total
    return total + normal_outflow(v, grid, wall, t) / relative_volumes(grid, v.dtype)
