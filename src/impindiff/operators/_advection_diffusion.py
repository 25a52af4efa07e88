"""Advection and diffusion together: one flux, one divergence."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.grid import BoundaryLike, Grid
from impindiff.grid.boundary import Boundary
from impindiff.grid.geometry import distances, weights_below
from impindiff.operators._advection import (
    advection,
    advective_coefficients,
    face_velocities,
    flux_through_walls,
    is_periodic,
    note_upwind,
)
from impindiff.operators._diffusion import (
    diffusion,
    diffusive_coefficients,
    diffusive_flux,
    face_coefficients,
)
from impindiff.operators._embedded import diffusion_through
from impindiff.operators._faces import Beside, Faces
from impindiff.operators._two_point import TwoPoint, net_inflow


def advection_diffusion(
    u: Float[Array, "..."],
    velocity: ArrayLike | Sequence[ArrayLike],
    coefficient: ArrayLike | Sequence[ArrayLike],
    grid: Grid,
    scheme: str = "upwind",
    *,
    averaging: str = "arithmetic",
    boundary: BoundaryLike | None = None,
    embedded: Boundary | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Advection and diffusion, -div(v u - D grad u): equal to their sum to round-off, but faster.

    The two fluxes are added on the faces before the divergence, so that a product with the
    Jacobian, or with its transpose, reads the coefficients of one matrix
    (`benchmarks/operators.py`), an optimisation that XLA does not make.

    Arguments, result and errors are those of `advection` and `diffusion`.
    """
    grid.check_field(u, "u")
    if scheme == "van_leer":
        carried = advection(u, velocity, grid, scheme, boundary=boundary, t=t)
        return carried + diffusion(
            u,
            coefficient,
            grid,
            averaging=averaging,
            boundary=boundary,
            embedded=embedded,
            t=t,
        )
    boundaries = grid.boundary_or_own(boundary)
    velocities = face_velocities(velocity, grid, boundaries, u.dtype)
    note_upwind(velocities, grid, scheme)
    wall = grid.embedded_or_own(embedded)
    coefficients = face_coefficients(coefficient, grid, averaging, boundaries, u.dtype, wall)
    through = diffusion_through(coefficient, grid, averaging, wall, boundaries, t, u.dtype)
    fluxes = []
    for axis, (v, D) in enumerate(zip(velocities, coefficients, strict=True)):
        periodic = is_periodic(boundaries, axis)
        weights = weights_below(grid, axis, periodic, u.dtype)
        carried = advective_coefficients(v, scheme, weights)
        diffused = diffusive_coefficients(D, distances(grid, axis, periodic, u.dtype))
        exchange = jax.tree.map(jnp.add, carried.exchange, diffused.exchange)
        fluxes.append(TwoPoint(v, exchange))

    def through_walls(axis: int, beside: Beside) -> Faces:
        v, D = (f[axis]._replace(inner=None) for f in (velocities, coefficients))
        carried = flux_through_walls(beside, v, scheme)
        diffused = diffusive_flux(beside, D, distances(grid, axis, False, u.dtype))
        return jax.tree.map(jnp.add, carried, diffused)

    return net_inflow(u, fluxes, through_walls, grid, boundaries, t, through)
