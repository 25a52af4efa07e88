"""Diffusion with a variable, possibly anisotropic coefficient."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import Boundaries, BoundaryLike, Grid, Periodic
from impindiff.grid.boundary import Boundary, Wall
from impindiff.grid.geometry import AtFaces, distances, extrapolation, weights_below
from impindiff.grid.given import extremes
from impindiff.operators._embedded import diffusion_through, diffusive_parts
from impindiff.operators._faces import (
    Beside,
    Faces,
    arithmetic_mean,
    check_choice,
    layer,
    neighbours,
    over,
)
from impindiff.operators._two_point import TwoPoint, net_inflow
from impindiff.operators.given import given_field
from impindiff.operators.notes import note

_AVERAGINGS = ("arithmetic", "harmonic")


def diffusion(
    u: Float[Array, "..."],
    coefficient: ArrayLike | Sequence[ArrayLike],
    grid: Grid,
    *,
    averaging: str = "arithmetic",
    boundary: BoundaryLike | None = None,
    embedded: Boundary | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Diffusion div(D grad u) in flux form: the two-point flux D (u_{i+1} - u_i) / h on each face.

    Conservative to round-off, symmetric and, for D >= 0 and a, b >= 0 in Robin sides, negative
    semi-definite (boundary values 0). Solutions are second-order accurate up to the boundary. The
    operator itself is second order inside only: in the layer of cells next to a Dirichlet or Robin
    side, whose ghosts are mirror images, its truncation error does not vanish, without effect on
    the solution's order.

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `coefficient`: D >= 0, a number or an array (..., *cells) whose leading axes broadcast with
      u's; or a sequence with one of these per axis, for diagonal anisotropy. In units of
      length^2 over time if u's rate is per time.
    - `grid`: the grid.
    - `averaging`: rule for a face's D from its two cells. "arithmetic" suits a D that varies
      smoothly; on a non-periodic side it extrapolates linearly, 3/2 D1 - 1/2 D2, no lower than D1 /
      2. "harmonic", 2 D1 D2 / (D1 + D2), suits jumps between materials along faces, where it is
      exact in one dimension, and closes a face next to a cell with D = 0; on a non-periodic side it
      takes the adjacent cell's D, which is first-order under a prescribed flux where D varies.
    - `boundary`: boundary conditions of u, as `Grid` takes them; default the grid's own.
    - `embedded`: condition on the boundary of the grid's domain; default the grid's own. D of cut
      cells is that at their centre, inside or not.
    - `t`: time, for time-dependent boundary values.

    **Returns:** (*batch, *cells), in u's dtype.

    **Raises:** `InputError` on shapes that do not fit the grid, a D that is negative or not finite,
    an unknown averaging, and as `ghosts` does. A traced D is not checked: where it is negative, the
    status of a `rollout`'s step is `ill_posed`, unless the tendency calls this inside its own
    `jax.vmap`, `scan` or `jit`.

    Source: LeVeque 2002, ch. 4; Patankar, Numerical Heat Transfer and Fluid Flow, 1980, section 4.2
    (harmonic means).
    """
    grid.check_field(u, "u")
    boundaries = grid.boundary_or_own(boundary)
    wall = grid.embedded_or_own(embedded)
    on_faces = face_coefficients(coefficient, grid, averaging, boundaries, u.dtype, wall)
    fluxes = []
    for axis, D in enumerate(on_faces):
        periodic = isinstance(boundaries[axis][0], Periodic)
        fluxes.append(diffusive_coefficients(D, distances(grid, axis, periodic, u.dtype)))

    def through_walls(axis: int, beside: Beside) -> Faces:
        D = on_faces[axis]._replace(inner=None)
        return diffusive_flux(beside, D, distances(grid, axis, False, u.dtype))

    through = diffusion_through(coefficient, grid, averaging, wall, boundaries, t, u.dtype)
    return net_inflow(u, fluxes, through_walls, grid, boundaries, t, through)


def diffusive_coefficients(D: Faces, distance: float | AtFaces) -> TwoPoint:
    """Flux -D du/dx, linear in the two cells next to a face, that far from each other."""
    return TwoPoint(None, over(D, distance))


def diffusive_flux(beside: Beside, D: Faces, distance: float | AtFaces) -> Faces:
    """Flux -D du/dx on the faces of an axis."""
    if isinstance(distance, AtFaces):
        return jax.tree.map(lambda D, below, above: D * (below - above), over(D, distance), *beside)
    scale = 1.0 / distance
    return jax.tree.map(lambda D, below, above: D * scale * (below - above), D, *beside)


def face_coefficients(
    coefficient: ArrayLike | Sequence[ArrayLike],
    grid: Grid,
    averaging: str,
    boundaries: Boundaries,
    dtype: DTypeLike,
    wall: Wall | None,
) -> list[Faces]:
    """D on the faces of each axis; arguments and errors are those of `diffusion`.

    With a domain, whose boundary has the condition `wall`, times the open part of faces.
    """
    check_choice("averaging", averaging, _AVERAGINGS)
    per_axis = coefficient if isinstance(coefficient, Sequence) else (coefficient,) * grid.ndim
    if len(per_axis) != grid.ndim:
        raise InputError(
            f"coefficient: expected {grid.ndim} entries, one per axis, got {len(per_axis)}"
        )
    faces, given = [], []
    for axis, entry in enumerate(per_axis):
        name = f"coefficient of axis {axis}"
        D = given_field(entry, grid, axis, dtype, name)
        _require_positive(entry, D, grid, name)
        periodic = isinstance(boundaries[axis][0], Periodic)
        given.append(D)
        on_faces = _on_faces(D, grid, axis, periodic, averaging)
        if wall is not None:
            open_part = diffusive_parts(grid, axis, wall, periodic, dtype)
            on_faces = jax.tree.map(jnp.multiply, on_faces, open_part)
        faces.append(on_faces)
    note("diffusivity", lambda: jnp.stack([jnp.mean(D) for D in given]))
    return faces


def _require_positive(given: ArrayLike, D: Array, grid: Grid, name: str) -> None:
    """Raise `InputError` for a concrete D below 0; note a traced one for the status.

    Negative round-off of 0 is accepted.
    """
    slack = float(jnp.finfo(D.dtype).eps) ** 0.5
    least, largest = extremes(given)
    if least < -slack * max(abs(least), abs(largest)):
        raise InputError(
            f"{name}: the diffusivity is {least:g} somewhere; expected 0 or more, since with a "
            "negative one the smallest scales grow fastest (where that is meant, subtract the "
            "diffusion of the positive one)"
        )
    if isinstance(given, jax.core.Tracer):
        note("ill_posed", lambda: jnp.min(D) < -slack * jnp.max(jnp.abs(D)))


def _on_faces(D: Array, grid: Grid, axis: int, periodic: bool, averaging: str) -> Faces:
    if D.ndim == 0:
        return Faces(D, D, D)
    along = axis - grid.ndim
    weights = weights_below(grid, axis, periodic, D.dtype)
    if weights is None:
        mean = _harmonic_mean if averaging == "harmonic" else arithmetic_mean
        inner = mean(*neighbours(D, along))
    else:
        weighted = _weighted_harmonic_mean if averaging == "harmonic" else _weighted_mean
        mean = partial(weighted, weights.upper)
        inner = weighted(weights.inner, *neighbours(D, along))
    first, last = layer(D, along, 0), layer(D, along, -1)
    if periodic:
        wrap = mean(first, last) if weights is None else mean(last, first)
        return Faces(inner, wrap, wrap)
    if averaging == "harmonic":
        return Faces(inner, first, last)
    beyond = extrapolation(grid, axis) or (0.5, 0.5)
    return Faces(
        inner,
        _extrapolate(first, layer(D, along, 1), beyond[0]),
        _extrapolate(last, layer(D, along, -2), beyond[1]),
    )


def _extrapolate(near: Array, far: Array, beyond: float) -> Array:
    # The nearest cell's value would make a prescribed flux first-order accurate; the bound keeps
    # the side open, and D positive, where D grows steeply inwards.
    return jnp.maximum((1 + beyond) * near - beyond * far, 0.5 * near)


def _weighted_mean(w: Any, below: Array, above: Array) -> Array:
    return w * below + (1 - w) * above


def _weighted_harmonic_mean(w: Any, below: Array, above: Array) -> Array:
    """Resistances in series: of the cell below, 1 - w of the distance, and of that above."""
    total = (1 - w) * above + w * below
    closed = (below <= 0) | (above <= 0)
    return jnp.where(closed, 0.0, below * (above / jnp.where(closed, 1.0, total)))


def _harmonic_mean(a: Array, b: Array) -> Array:
    # the inner `where` keeps 0/0, and NaN in derivatives, out of closed faces
    total = a + b
    closed = total <= 0
    return jnp.where(closed, 0.0, 2 * a * (b / jnp.where(closed, 1.0, total)))
