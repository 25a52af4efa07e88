"""Convection of a scalar by its own nonlinear flux, in conservative form."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.grid import Boundaries, Boundary, BoundaryLike, Grid
from impindiff.grid.boundary import Wall
from impindiff.grid.geometry import AtFaces, relative_volumes, weights_below, width
from impindiff.operators._advection import is_periodic
from impindiff.operators._embedded import boundary_states, open_parts
from impindiff.operators._faces import (
    Beside,
    Faces,
    arithmetic_mean,
    cells_beside,
    check_choice,
    face_means,
    flux_divergence,
)
from impindiff.operators._limited import limited_inflow
from impindiff.operators.given import Flux, fluxes_per_axis
from impindiff.operators.notes import note

_SCHEMES = ("rusanov", "central", "van_leer")


def convection(
    u: Float[Array, "..."],
    flux: Flux | Sequence[Flux],
    grid: Grid,
    scheme: str = "rusanov",
    *,
    boundary: BoundaryLike | None = None,
    embedded: Boundary | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Convection -div f(u) in flux form, from the states a below and b above each face.

    The local Lax-Friedrichs flux is

        (f(a) + f(b)) / 2 - c (b - a) / 2,   c = max(|f'(a)|, |f'(b)|).

    Burgers' equation has `flux=lambda u: 0.5 * u**2`.

    - "rusanov": a and b are the cells. First order, adds a diffusion c h / 2. Monotone where |f'|
      is largest at an end of each interval of states, as it is for a convex or concave f: shocks
      travel at the right speed, rarefactions are the entropy solution, and no extremum is created
      (by a forward Euler step: while the sum over axes of c dt / h is at most 1/2).
    - "van_leer": a and b are the two cells' linear profiles on the face, with `advection`'s limited
      slope. Second order on smooth fields; suits shocks too. Nonlinear in u even if f is linear.
    - "central": the mean (f(a) + f(b)) / 2 over the cells. Second order; adds no diffusion, so it
      oscillates at shocks, and where the cell Peclet number |f'| h / D exceeds 2.

    For f(u) = v u these are `advection`'s "upwind", "van_leer" and "central".

    On a non-periodic side the condition's value on the face, g on a Dirichlet face, is the outer
    state, and the flux is the one above between it and the scheme's state from inside. For a linear
    f that is f(g) at inflow, and f of the inner state at outflow; for a nonlinear f only if the two
    states are close, and a g far from the inner state acts on an outflow too (for a free outflow
    give `Neumann()`, whose face has the inner state). "central" carries f of the condition's value
    both ways.

    The boundary of a domain is no wall either: it has the same flux, along its normal, with the
    value of its condition outside. A zero `Neumann` lets f of the cell's own state through; where
    nothing shall pass, f of the condition's value must be 0, as `Dirichlet(0.0)` makes it for
    Burgers' equation (`advection` takes the domain's boundary as impermeable).

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `flux`: f, used along every axis, or a sequence of grid.ndim of them. It receives the states
      on faces, arrays of several shapes, and returns an array of the same shape for each,
      entrywise; its coefficients can therefore be numbers, not fields. JAX differentiates it.
    - `grid`: the grid.
    - `scheme`: "rusanov", "central" or "van_leer".
    - `boundary`: boundary conditions of u, as `Grid` takes them; default the grid's own.
    - `embedded`: condition on the boundary of the grid's domain; default the grid's own.
    - `t`: time, for time-dependent boundary values.

    **Returns:** (*batch, *cells), in u's dtype, in units of f over length.

    **Raises:** `InputError` on a `flux` that is neither of the above or returns another shape, an
    unknown scheme, and as `advection` does.

    Differentiable if f is twice differentiable: the derivative of c is 0 where f' is, and the mean
    of both sides where |f'(a)| = |f'(b)|.

    Source: Rusanov, The calculation of the interaction of non-stationary shock waves and obstacles,
    USSR Comput. Math. Math. Phys. 1 (1962; Russian original 1961); LeVeque, Finite Volume Methods
    for Hyperbolic Problems, 2002, ch. 12; van Leer, as in `advection`.
    """
    grid.check_field(u, "u")
    check_choice("scheme", scheme, _SCHEMES)
    boundaries = grid.boundary_or_own(boundary)
    wall = grid.embedded_or_own(embedded)
    functions = fluxes_per_axis(flux, grid)
    if scheme == "rusanov":
        note(
            "numerical_diffusivity",
            lambda: jnp.stack(
                [_largest(_speed(f, u), grid, axis) for axis, f in enumerate(functions)]
            ),
        )
    if scheme == "central":
        inflow = -_central_outflow(u, functions, grid, boundaries, wall, t)
    else:
        inflow = _inflow(u, functions, grid, boundaries, wall, t, limited=scheme == "van_leer")
    if wall is None:
        return inflow
    through_boundary = jnp.zeros_like(u)
    for normal, state in boundary_states(u, grid, wall, t):
        flux_along = _projected(functions, normal)
        through_boundary += (
            flux_along(state) if scheme == "central" else _rusanov(flux_along, u, state)
        )
    return inflow - through_boundary / relative_volumes(grid, u.dtype)


def _central_outflow(
    u: Array,
    functions: Sequence[Flux],
    grid: Grid,
    boundaries: Boundaries,
    wall: Wall | None,
    t: ArrayLike | None,
) -> Array:
    fluxes = []
    for axis, f in enumerate(functions):
        beside = cells_beside(u, grid, axis, boundaries, t)
        periodic = is_periodic(boundaries, axis)
        through = _central(f, beside, periodic, weights_below(grid, axis, periodic, u.dtype))
        if wall is not None:
            through = jax.tree.map(jnp.multiply, through, open_parts(grid, axis, u.dtype))
        fluxes.append(through)
    return flux_divergence(fluxes, grid)


def _inflow(
    u: Array,
    functions: Sequence[Flux],
    grid: Grid,
    boundaries: Boundaries,
    wall: Wall | None,
    t: ArrayLike | None,
    limited: bool,
) -> Array:
    """Net inflow by the local Lax-Friedrichs flux."""
    fluxes, operands = [], []
    for axis, f in enumerate(functions):
        of_both, hoisted = _without_closure(f, u, axis - grid.ndim)
        parts = None if wall is None else open_parts(grid, axis, u.dtype)
        fluxes.append(of_both)
        operands.append((axis, hoisted, parts))

    def through_faces(operand: Any, states: Beside) -> Faces:
        axis, hoisted, parts = operand

        def through(a: Array, b: Array) -> Array:
            return _rusanov(lambda x: fluxes[axis](hoisted, x), a, b)

        found = jax.tree.map(through, *states)
        return found if parts is None else jax.tree.map(jnp.multiply, found, parts)

    return limited_inflow(u, through_faces, operands, grid, boundaries, t, limited)


def _without_closure(
    f: Flux, u: Array, along: int
) -> tuple[Callable[[Any, Array], Array], dict[tuple[int, ...], list[Array]]]:
    """F as a function of x and of the differentiated arrays that f closes over, and these arrays.

    For values on the inner faces of an axis and on its sides.
    """
    converted, hoisted = {}, {}
    for n in {u.shape[along] - 1, 1}:
        shape = list(u.shape)
        shape[along] = n
        x = jnp.zeros(shape, u.dtype)
        converted[x.shape], hoisted[x.shape] = jax.closure_convert(f, x)
    return lambda arrays, x: converted[x.shape](x, *arrays[x.shape]), hoisted


def _projected(functions: Sequence[Flux], vector: Sequence[Any]) -> Flux:
    """The flux through an area, given as a vector with 0.0 where it has no component."""

    def f(x: Array) -> Array:
        pairs = zip(functions, vector, strict=True)
        return jnp.asarray(sum(n * of(x) for of, n in pairs if not isinstance(n, float)))

    return f


def _largest(speed: Array, grid: Grid, axis: int) -> Array:
    """Largest |f'| h / 2, h being the cell's width."""
    h = width(grid, axis, speed.dtype)
    return 0.5 * h * jnp.max(speed) if isinstance(h, float) else jnp.max(0.5 * h * speed)


def _central(f: Flux, beside: Beside, periodic: bool, weights: AtFaces | None) -> Faces:
    if weights is None:
        mean = jax.tree.map(lambda a, b: arithmetic_mean(f(a), f(b)), *beside)
    else:
        mean = face_means(Beside(*(jax.tree.map(f, cells) for cells in beside)), weights)
    if periodic:
        return mean
    on_walls = face_means(beside)
    return mean._replace(lower=f(on_walls.lower), upper=f(on_walls.upper))


def _rusanov(f: Flux, a: Array, b: Array) -> Array:
    at_a, slope_a = _with_slope(f, a)
    at_b, slope_b = _with_slope(f, b)
    fastest = jnp.maximum(jnp.abs(slope_a), jnp.abs(slope_b))
    return arithmetic_mean(at_a, at_b) - 0.5 * fastest * (b - a)


def _speed(f: Flux, u: Array) -> Array:
    return jnp.abs(_with_slope(f, u)[1])


def _with_slope(f: Flux, x: Array) -> tuple[Array, Array]:
    """Evaluate f and f' entrywise, f' as the derivative along ones."""
    return jax.jvp(f, (x,), (jnp.ones_like(x),))
