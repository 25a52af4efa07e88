"""Net inflow by two-point fluxes: "upwind" or "central" advection and diffusion."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from impindiff.grid import Boundaries, Grid, Periodic, homogeneous
from impindiff.grid.boundary import Value, Wall
from impindiff.grid.geometry import AtFaces, inflow_factors, relative_volumes
from impindiff.operators._embedded import Through
from impindiff.operators._faces import (
    Beside,
    Faces,
    layers_beside,
    on_lower_side,
    on_upper_side,
)
from impindiff.operators.inflow import TwoPoint, inflow_of, inflow_product


def net_inflow(
    u: Float[Array, "..."],
    fluxes: Sequence[TwoPoint],
    through_walls: Callable[[int, Beside], Faces],
    grid: Grid,
    boundaries: Boundaries,
    t: ArrayLike | None,
    through: Through | None = None,
) -> Float[Array, "..."]:
    """Net inflow of each cell, per volume: minus the divergence of a flux.

    Where cells differ in volume, the fluxes are those through whole faces, so that what leaves one
    cell enters the next, as the star needs; the sum is divided by the volumes.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `fluxes`: per axis the coefficients of the flux on the inner faces and through the seam;
      arrays over these faces, or numbers. Their values on walls are ignored.
    - `through_walls`: (axis, values next to the two walls) -> the flux through them, affine in the
      values and entrywise; `inner` is None, in and out.
    - `through`: what passes the boundary of the grid's domain.
    """
    wraps = tuple(isinstance(lower, Periodic) for lower, _ in boundaries)
    on_faces = [
        _per_cell(flux, grid, axis, wrap, u.dtype)
        for axis, (flux, wrap) in enumerate(zip(fluxes, wraps, strict=True))
    ]

    def through_both(value: float, layer: tuple[int, ...], axis: int, held: Boundaries) -> Array:
        values = jnp.full(layer, value, u.dtype)
        beside = layers_beside(values, values, grid, axis, held, t)
        along, n = axis - grid.ndim, grid.cells[axis]
        factors: Any = inflow_factors(grid, axis, u.dtype)
        at_lower, at_upper = factors, factors
        if isinstance(factors, AtFaces):
            at_lower, at_upper = factors.lower, factors.upper
        _, lower, upper = through_walls(axis, beside)
        inwards = on_lower_side(at_lower * lower, along, n)
        return inwards - on_upper_side(at_upper * upper, along, n)

    of_a_unit, of_the_values = [], []
    for axis in [axis for axis, wrap in enumerate(wraps) if not wrap]:
        walls = [side for side in boundaries[axis] if isinstance(side, Wall)]
        coefficients = [x for wall in walls for x in wall.coefficients]
        layer = _layer_shape(u, grid, axis, coefficients)
        of_a_unit.append(through_both(1.0, layer, axis, homogeneous(boundaries)))
        values = [wall.value for wall in walls]
        if not all(isinstance(x, int | float) and x == 0 for x in values):
            layer = _layer_shape(u, grid, axis, [*coefficients, *values])
            of_the_values.append(through_both(0.0, layer, axis, boundaries))
    if through is not None:
        of_a_unit.append(through.per_unit)
        of_the_values += [] if through.given is None else [through.given]
    inflow = inflow_of(on_faces, of_a_unit)
    total = sum(of_the_values, start=inflow_product(inflow, u, wraps))
    volumes = relative_volumes(grid, u.dtype)
    return total if volumes is None else total * (1.0 / volumes)


def _per_cell(flux: TwoPoint, grid: Grid, axis: int, wraps: bool, dtype: DTypeLike) -> TwoPoint:
    """Coefficients times areas, numbers as arrays along the axis, 0 on walls."""
    faces = [1] * grid.ndim
    faces[axis] = grid.cells[axis] - 1
    side = [1] * grid.ndim
    factors = inflow_factors(grid, axis, dtype)

    def scaled(x: Faces) -> Faces:
        if isinstance(factors, AtFaces):
            inner, lower, upper = jax.tree.map(jnp.multiply, x, Faces(*factors))
            inner = jnp.broadcast_to(inner, jnp.broadcast_shapes(inner.shape, tuple(faces)))
        else:
            inner, lower, upper = jax.tree.map(lambda x: x * factors, x)
            if inner.ndim == 0:
                inner = jnp.broadcast_to(inner, faces)
                lower, upper = (jnp.broadcast_to(x, side) for x in (lower, upper))
        if not wraps:
            lower, upper = jnp.zeros_like(lower), jnp.zeros_like(upper)
        return Faces(inner, lower, upper)

    velocity, exchange = flux
    return TwoPoint(None if velocity is None else scaled(velocity), scaled(exchange))


def _layer_shape(u: Array, grid: Grid, axis: int, given: Sequence[Value]) -> tuple[int, ...]:
    """The least shape of a layer that fits the walls' data: one cell for numbers."""
    if all(isinstance(x, int | float) for x in given):
        return (1,) * grid.ndim
    layer = tuple(1 if i == axis else n for i, n in enumerate(grid.cells))
    if any(callable(x) or jnp.ndim(x) >= grid.ndim for x in given):
        return (*u.shape[: -grid.ndim], *layer)
    return layer
