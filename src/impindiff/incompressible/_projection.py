"""Poisson's equation of the pressure, and the projection onto velocities without divergence."""

from collections.abc import Callable

import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array

from impindiff.grid import Grid
from impindiff.incompressible._arrangement import Arrangement, SidesLike
from impindiff.incompressible._tendency import checked_velocity
from impindiff.operators import Elliptic
from impindiff.preconditioners import fast_diagonalization


def poisson(here: Arrangement, like: Array) -> Callable[[Array], Array]:
    """The map b -> p with div(grad p) = b, exact; without an outflow both have mean 0."""
    grid = here.pressure_grid()
    one = jnp.ones((), like.dtype)
    inverse = fast_diagonalization(Elliptic.of(one, 0 * one, grid), grid)
    if here.has_outflow:
        return lambda b: -inverse(b)

    def solve(b: Array) -> Array:
        p = -inverse(b - here.mean(b))
        return p - here.mean(p)

    return solve


def project(
    velocity: tuple[Array, ...],
    grid: Grid,
    *,
    boundary: SidesLike | None = None,
    t: ArrayLike | None = None,
) -> tuple[Array, ...]:
    """The velocity v - grad q without divergence: div(grad q) = div v, to round-off.

    An initial velocity needs it: that of a formula has a divergence of the size of the error of
    discretisation, and a fluid at rest one where an inflow starts.

    **Arguments:**

    - `velocity`: components on faces, as in the state of `tendency`.
    - `grid`, `boundary`, `t`: as for `tendency`.

    **Returns:** the velocity, with the given values on sides.

    **Raises:** `InputError` as `tendency` does.

    Cost: one solve by transforms along the axes, as in `FastDiagonalization`.
    """
    v = checked_velocity(velocity, grid)
    here = Arrangement(grid, boundary)
    here.check_balance()
    q = poisson(here, v[0])(here.divergence(v, t))
    inner = zip(v, here.gradient(q), strict=True)
    moved = [here.closed(x - g, axis) for axis, (x, g) in enumerate(inner)]
    return tuple(here.with_given(x, axis, t) for axis, x in enumerate(moved))
