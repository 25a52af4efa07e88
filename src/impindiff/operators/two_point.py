"""Advection by "upwind" or "central" and diffusion: coefficients of fluxes, and what flows in."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.grid import Boundaries, Grid, Periodic, homogeneous
from impindiff.grid.boundary import Value
from impindiff.operators.faces import (
    Beside,
    Faces,
    layers_beside,
    lower_faces,
    on_lower_side,
    on_upper_side,
    upper_faces,
)
from impindiff.operators.inflow import Inflow, Star, TwoPoint, inflow_product


def net_inflow(
    u: Float[Array, "..."],
    fluxes: Sequence[TwoPoint],
    through_walls: Callable[[int, Beside], Faces],
    grid: Grid,
    boundaries: Boundaries,
    t: ArrayLike | None,
) -> Float[Array, "..."]:
    """What flows into each cell, per volume: minus the divergence of a flux.

    **Arguments**

    - `u`: field, (*batch, *cells).
    - `fluxes`: per axis the coefficients of the flux on the inner faces and through the seam;
      arrays over these faces, or numbers. What they say of walls does not count.
    - `through_walls`: (axis, values beside the two walls) -> the flux through them, affine in the
      values and acting entry by entry; `inner` is None, in and out.
    """
    wraps = tuple(isinstance(lower, Periodic) for lower, _ in boundaries)
    on_faces, walls, given = [], [], []
    for axis, flux in enumerate(fluxes):
        scaled = _per_cell(flux, grid, axis, wraps[axis])
        on_faces.append(scaled)
        if wraps[axis]:
            continue

        def through_both(value: float, conditions: Boundaries, shape: tuple[int, ...], axis=axis):
            values = jnp.full(shape, value, u.dtype)
            beside = layers_beside(values, values, grid, axis, conditions, t)
            along, n, per_cell = axis - grid.ndim, grid.cells[axis], 1.0 / grid.spacing[axis]
            _, low, high = through_walls(axis, beside)
            low, high = (
                on_lower_side(per_cell * low, along, n),
                on_upper_side(per_cell * high, along, n),
            )
            return low - high

        ones = _layer_shape(u, grid, boundaries, axis, with_values=False)
        walls.append(through_both(1.0, homogeneous(boundaries), ones))
        if any(not _is_zero(wall.value) for wall in boundaries[axis]):
            zeros = _layer_shape(u, grid, boundaries, axis, with_values=True)
            given.append(through_both(0.0, boundaries, zeros))
    inflow = Inflow(tuple(on_faces), _star(on_faces, walls, grid))
    return sum(given, start=inflow_product(inflow, u, wraps))


def _per_cell(flux: TwoPoint, grid: Grid, axis: int, wraps: bool) -> TwoPoint:
    """The coefficients over the spacing, numbers as arrays along the axis, 0 on walls."""
    faces = [1] * grid.ndim
    faces[axis] = grid.cells[axis] - 1
    side = [1] * grid.ndim

    def scaled(x: Faces) -> Faces:
        inner, lower, upper = jax.tree.map(lambda x: x * (1.0 / grid.spacing[axis]), x)
        if inner.ndim == 0:
            inner = jnp.broadcast_to(inner, faces)
            lower, upper = (jnp.broadcast_to(x, side) for x in (lower, upper))
        if not wraps:
            lower, upper = jnp.zeros_like(lower), jnp.zeros_like(upper)
        return Faces(inner, lower, upper)

    velocity, exchange = flux
    return TwoPoint(None if velocity is None else scaled(velocity), scaled(exchange))


def _star(fluxes: Sequence[TwoPoint], walls: list[Array], grid: Grid) -> Star:
    below, above, centre = [], [], []
    for axis, (v, k) in enumerate(fluxes):
        along = axis - grid.ndim
        plus = minus = k
        if v is not None:
            plus = jax.tree.map(lambda k, v: k + 0.5 * v, k, v)
            minus = jax.tree.map(lambda k, v: k - 0.5 * v, k, v)
            centre.append(
                lower_faces(v.inner, v.lower, along) - upper_faces(v.inner, v.upper, along)
            )
        below.append(lower_faces(plus.inner, plus.lower, along))
        above.append(upper_faces(minus.inner, minus.upper, along))
    return Star(tuple(below), tuple(above), _summed([*centre, *walls]), _summed(walls))


def _summed(parts: list[Array]) -> tuple[Array, ...]:
    """The sum, as one array for each shape: broadcast where it is multiplied, not before."""
    by_shape: dict[tuple[int, ...], Array] = {}
    for part in parts:
        by_shape[part.shape] = by_shape[part.shape] + part if part.shape in by_shape else part
    return tuple(by_shape.values())


def _is_zero(x: Value) -> bool:
    return isinstance(x, int | float) and x == 0


def _layer_shape(
    u: Array, grid: Grid, boundaries: Boundaries, axis: int, *, with_values: bool
) -> tuple[int, ...]:
    """The least shape of a layer that the conditions' arrays fit: one cell if there are none."""
    given = [x for wall in boundaries[axis] for x in wall.coefficients]
    if with_values:
        given += [wall.value for wall in boundaries[axis]]
    if all(isinstance(x, int | float) for x in given):
        return (1,) * grid.ndim
    layer = tuple(1 if i == axis else n for i, n in enumerate(grid.cells))
    if any(callable(x) or jnp.ndim(x) >= grid.ndim for x in given):
        return (*u.shape[: -grid.ndim], *layer)
    return layer
