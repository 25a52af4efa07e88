r"""Net inflow by a flux between the states next to each face, its Jacobian being a stencil.

The flux of cell i to the next is F(a, b) with the states a = u_i + s_i and b = u_{i+1} - s_{i+1},
where s is a limited slope times half the width of a cell, or 0. With P, Q and R, the derivatives of
s_i with respect to u_{i-1}, u_i and u_{i+1}, its derivative is

$$F_a (P_i, 1 + Q_i, R_i) \cdot (u_{i-1}, u_i, u_{i+1})
  + F_b (-P_{i+1}, 1 - Q_{i+1}, -R_{i+1}) \cdot (u_i, u_{i+1}, u_{i+2}),$$

so that the inflow of a cell has a stencil of five cells along each axis. Products with a Jacobian,
of which a Newton-Krylov solve takes many, use that stencil, one pass over its coefficients. As JAX
linearises the slopes, the fluxes and their divergence, a product is a pass for each of them, none
vectorised by XLA on a CPU, and takes 5 to 20 times as long (`benchmarks/operators.py`).
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, PyTree

from impindiff.grid import Boundaries, Grid, Periodic, ghosts_of_layers, homogeneous
from impindiff.grid.geometry import balance, half_widths, mean_spacing
from impindiff.operators._embedded import flat_where_cut
from impindiff.operators._faces import (
    Beside,
    Faces,
    face_means,
    fields_are_spread,
    flux_divergence,
    from_above,
    from_below,
    layer,
    neighbours,
    on_both_sides,
    on_lower_side,
    on_upper_side,
    upper_faces,
)
from impindiff.operators._layers import take_layer
from impindiff.operators.inflow import linear_primitive

Field = Float[Array, "..."]
FaceFlux = Callable[[PyTree, Beside], Faces]
"""Flux from what it needs besides the states, such as a velocity, and the states; entrywise."""


class Ghost(NamedTuple):
    """A ghost cell's value, `slope` times that of the cell next to the wall, plus `offset`."""

    slope: Array
    offset: Array


Ghosts = tuple[Ghost, Ghost] | None
"""Ghosts at the lower and at the upper side of an axis; None if it is periodic."""


class Stencil(NamedTuple):
    """Coefficients of each cell's neighbours and of the cell itself.

    - `others`: per axis those of the cells at -1 and 1, or at -2, -1, 1 and 2.
    """

    others: tuple[tuple[Field, ...], ...]
    own: Field


class _Factors(NamedTuple):
    """Factors of a flux through the upper faces of cells, the first and the last face.

    - `per_cell`: of the difference of two fluxes.
    """

    upper: Any
    first: Any
    last: Any
    per_cell: Any

    @classmethod
    def of(cls, grid: Grid, axis: int, dtype: DTypeLike) -> "_Factors":
        metric = balance(grid, axis, dtype)
        if metric is None:
            one = 1.0 / mean_spacing(grid)[axis]
            found = cls(one, one, one, 1.0)
        else:
            inner, first, last = metric.areas
            upper = np.concatenate([inner, last], axis - grid.ndim)
            found = cls(upper, first, last, 1.0 / metric.volumes)
        if grid.domain is None:
            return found
        inside = jnp.asarray(grid.domain.volumes, dtype)
        return found._replace(per_cell=found.per_cell / jnp.where(inside > 0, inside, 1.0))


def limited_inflow(
    u: Field,
    flux: FaceFlux,
    operands: Sequence[PyTree],
    grid: Grid,
    boundaries: Boundaries,
    t: ArrayLike | None,
    limited: bool,
) -> Field:
    """Net inflow of each cell, per volume, by the flux between the states next to each face.

    The states are the cells' own values or, if `limited`, those of van Leer's profiles. Beyond a
    wall the state is the condition's value.

    **Arguments:**

    - `flux`: called with an entry of `operands` and the states at an axis. It closes over no array
      that is differentiated.
    - `operands`: per axis.
    """
    ghosts = tuple(_ghosts(u, grid, axis, boundaries, t) for axis in range(grid.ndim))
    arguments = (u, tuple(operands), ghosts, grid)
    # its products would communicate layers of coefficients too
    if fields_are_spread():
        return _inflow(*arguments, flux=flux, limited=limited)
    return _inflow_with_stencil(*arguments, flux=flux, limited=limited)


def _inflow(
    u: Field,
    operands: tuple[PyTree, ...],
    ghosts: tuple[Ghosts, ...],
    grid: Grid,
    *,
    flux: FaceFlux,
    limited: bool,
) -> Field:
    fluxes = []
    for axis in range(grid.ndim):
        beside = _cells_beside(u, axis - grid.ndim, ghosts[axis])
        half = _limited_half(beside, grid, axis, ghosts[axis]) if limited else None
        states = face_states(beside, ghosts[axis] is None, half, axis - grid.ndim)
        fluxes.append(flux(operands[axis], states))
    return -flux_divergence(fluxes, grid)


_inflow_with_stencil = eqx.filter_custom_jvp(_inflow)


@_inflow_with_stencil.def_jvp
def _pushed_forward(primals: Any, tangents: Any, *, flux: FaceFlux, limited: bool) -> Any:
    u, *others = primals
    du, *moved = tangents
    value = _inflow_with_stencil(*primals, flux=flux, limited=limited)
    total = jnp.zeros_like(value)
    if du is not None:
        stencil = _stencil_of(*primals, flux=flux, limited=limited)
        wraps = tuple(ghost is None for ghost in primals[2])
        coefficients, kind = jax.tree.flatten(stencil)
        du = jnp.broadcast_to(du, value.shape)
        total += _product_p.bind(du, *coefficients, kind=kind, wraps=wraps, transposed=False)
    if jax.tree.leaves(moved):

        def of_the_others(*others: Any) -> Field:
            return _inflow(u, *others, flux=flux, limited=limited)

        total += eqx.filter_jvp(of_the_others, tuple(others), tuple(moved))[1]
    return value, total


def _ghosts(u: Field, grid: Grid, axis: int, boundaries: Boundaries, t: ArrayLike | None) -> Ghosts:
    """The ghosts as affine functions of the layers next to the walls, which they are."""
    if isinstance(boundaries[axis][0], Periodic):
        return None
    zero = jnp.zeros_like(layer(u, axis - grid.ndim, 0))
    one = jnp.ones_like(zero)
    offsets = ghosts_of_layers(zero, zero, grid, axis, boundaries, t)
    slopes = ghosts_of_layers(one, one, grid, axis, homogeneous(boundaries), None)
    lower, upper = (Ghost(*pair) for pair in zip(slopes, offsets, strict=True))
    return lower, upper


def _cells_beside(u: Field, along: int, ghosts: Ghosts) -> Beside:
    below, above = neighbours(u, along)
    first, last = layer(u, along, 0), layer(u, along, -1)
    lower, upper = last, first
    if ghosts is not None:
        outer = zip(ghosts, (first, last), strict=True)
        lower, upper = (ghost.slope * inner + ghost.offset for ghost, inner in outer)
    return Beside(Faces(below, lower, last), Faces(above, first, upper))


def face_states(
    beside: Beside, periodic: bool, half: Field | None = None, along: int = -1
) -> Beside:
    """States on both sides of each face: the condition's value outside a wall.

    - `half`: slopes of the profiles in cells, times half a width along the axis `along`; without
      them the states are the cells' values.
    """
    below, above = beside
    if half is not None:
        first, last = layer(half, along, 0), layer(half, along, -1)
        half_below, half_above = neighbours(half, along)
        below = Faces(below.inner + half_below, below.lower + last, below.upper + last)
        above = Faces(above.inner - half_above, above.lower - first, above.upper - first)
    if not periodic:
        # an inflow through a wall carries the condition's face value, not the ghost's
        means = face_means(beside)
        below = below._replace(lower=means.lower)
        above = above._replace(upper=means.upper)
    return Beside(below, above)


def _stencil_of(
    u: Field,
    operands: tuple[PyTree, ...],
    ghosts: tuple[Ghosts, ...],
    grid: Grid,
    *,
    flux: FaceFlux,
    limited: bool,
) -> Stencil:
    """The Jacobian of `_inflow` with respect to u."""
    others, own = [], jnp.zeros((), u.dtype)
    for axis in range(grid.ndim):
        along, walls = axis - grid.ndim, ghosts[axis]
        beside, wraps = _cells_beside(u, along, walls), walls is None
        half, slopes = _slopes(beside, grid, axis, walls) if limited else (None, None)
        states = face_states(beside, wraps, half, along)
        factors = _Factors.of(grid, axis, u.dtype)

        ones, zeros = (jax.tree.map(f, states.below) for f in (jnp.ones_like, jnp.zeros_like))

        def changed(direction: Beside, axis: int = axis, states: Beside = states) -> Faces:
            return jax.jvp(lambda s: flux(operands[axis], s), (states,), (direction,))[1]

        by_below, by_above = changed(Beside(ones, zeros)), changed(Beside(zeros, ones))
        # through the upper face of each cell, by the cells at -1, 0, 1 and 2
        F_a = factors.upper * upper_faces(by_below.inner, by_below.upper, along)
        seam = by_above.upper if wraps else jnp.zeros_like(by_above.upper)
        F_b = factors.upper * upper_faces(by_above.inner, seam, along)
        through: list[Field] = [jnp.zeros_like(F_a), F_a, F_b, jnp.zeros_like(F_b)]
        if slopes is not None:
            P, Q, R = slopes
            nextP, nextQ, nextR = (from_above(x, along, wraps) for x in slopes)
            through = [F_a * P, F_a * (1 + Q) - F_b * nextP, F_a * R + F_b * (1 - nextQ)]
            through.append(-F_b * nextR)
        # and out of the cell at their lower faces: minus the inflow
        into = [from_below(x, along, wraps) for x in through]
        found = [into[0], into[1] - through[0], into[3] - through[2], -through[3]]
        centre = into[2] - through[1]
        if walls is not None:
            n = grid.cells[axis]
            low, high = (0.5 * (1 + ghost.slope) for ghost in walls)
            centre -= on_upper_side(factors.last * high * by_above.upper, along, n)
            # the state inside the lower wall has the slope of the first cell
            inner, following = by_above.lower, jnp.zeros_like(by_above.lower)
            if slopes is not None:
                first_Q, first_R = (layer(x, along, 0) for x in slopes[1:])
                inner, following = inner * (1 - first_Q), -inner * first_R
            centre += on_lower_side(factors.first * (low * by_below.lower + inner), along, n)
            found[2] += on_lower_side(factors.first * following, along, n)
        kept = found if limited else found[1:3]
        others.append(tuple(factors.per_cell * x for x in kept))
        own += factors.per_cell * centre
    return Stencil(tuple(others), own)


def _differences(beside: Beside, along: int) -> tuple[Field, Field]:
    """To the cell below and to that above each cell."""
    return on_both_sides(jax.tree.map(jnp.subtract, beside.above, beside.below), along)


def _limited_half(beside: Beside, grid: Grid, axis: int, walls: Ghosts) -> Field:
    """Van Leer's slope times half the cell's width, in each cell."""
    a, b = _differences(beside, axis - grid.ndim)
    half = _limiter(grid, axis, walls, a.dtype)(a, b)
    return half if grid.domain is None else flat_where_cut(half, grid, axis)


def _slopes(
    beside: Beside, grid: Grid, axis: int, walls: Ghosts
) -> tuple[Field, tuple[Field, Field, Field]]:
    """`_limited_half` and its derivatives by the cell below, the cell itself and that above."""
    along, n = axis - grid.ndim, grid.cells[axis]
    a, b = _differences(beside, along)
    limiter = _limiter(grid, axis, walls, a.dtype)
    half, by_a = jax.jvp(lambda a: limiter(a, b), (a,), (jnp.ones_like(a),))
    _, by_b = jax.jvp(lambda b: limiter(a, b), (b,), (jnp.ones_like(b),))
    if grid.domain is not None:
        half, by_a, by_b = (flat_where_cut(x, grid, axis) for x in (half, by_a, by_b))
    P, Q, R = -by_a, by_a - by_b, by_b
    if walls is not None:
        # a ghost moves with the cell next to it
        first, last = layer(by_a, along, 0), layer(by_b, along, -1)
        P += on_lower_side(first, along, n)
        R -= on_upper_side(last, along, n)
        Q -= on_lower_side(walls[0].slope * first, along, n)
        Q += on_upper_side(walls[1].slope * last, along, n)
    return half, (P, Q, R)


def _limiter(
    grid: Grid, axis: int, walls: Ghosts, dtype: DTypeLike
) -> Callable[[Field, Field], Field]:
    reach = half_widths(grid, axis, walls is None, dtype)
    return _limited if reach is None else lambda a, b: _limited_by_distances(a, b, *reach)


def _limited(a: Field, b: Field) -> Field:
    # Two `where`s, so that neither the value nor its derivatives contain 0/0 where the field is
    # flat. Above the smallest normal number, 1 / (a + b)^2 in the derivative cannot overflow
    # either.
    same_sign = a * b > np.finfo(a.dtype).tiny
    total = jnp.where(same_sign, a + b, 1.0)
    return 0.5 * jnp.where(same_sign, 2 * a * (b / total), 0.0)


def _limited_by_distances(below: Array, above: Array, p: Any, q: Any) -> Array:
    """The same for differences over unequal distances, of which the cell has the parts p and q.

    With a = 2 p below and b = 2 q above, half the general form of the limiter,

        a b (a / q + b / p) / (a^2 + (1 / q + 1 / p - 2) a b + b^2),

    and at most the difference to either neighbour; p = q = 1/2 gives a b / (a + b).

    Source: Mignone, High-order conservative reconstruction schemes for finite volume methods in
    cylindrical and spherical coordinates, J. Comput. Phys. 270 (2014).
    """
    a, b = 2 * p * below, 2 * q * above
    same_sign = a * b > np.finfo(a.dtype).tiny
    total = jnp.where(same_sign, a + b, 1.0)
    a, b = a / total, b / total
    share = jnp.where(same_sign, a**2 + (1 / q + 1 / p - 2) * a * b + b**2, 1.0)
    half = 0.5 * total * a * b * (a / q + b / p) / share
    # next to a cell less than half as wide the formula can pass a neighbour's value
    least, most = jnp.minimum(below, above), jnp.maximum(below, above)
    half = jnp.where(above > 0, jnp.minimum(half, least), jnp.maximum(half, most))
    return jnp.where(same_sign, half, 0.0)


def _shifted(x: Field, along: int, offset: int, wraps: bool) -> Field:
    """Value in the cell `offset` further along an axis; beyond the last, 0 unless it wraps."""
    shift = from_below if offset < 0 else from_above
    if abs(offset) == 1:
        return shift(x, along, wraps)
    n = x.shape[along]
    if n == 2:
        return x if wraps else jnp.zeros_like(x)
    widths = [(0, 0, 0)] * x.ndim
    widths[along] = (2, -2, 0) if offset < 0 else (-2, 2, 0)
    found = lax.pad(x, jnp.zeros((), x.dtype), widths)
    if not wraps:
        return found
    shape = [1] * x.ndim
    shape[along] = n
    index = lax.broadcasted_iota(jnp.int32, shape, along % x.ndim)
    for at, source in [(0, -2), (1, -1)] if offset < 0 else [(n - 2, 0), (n - 1, 1)]:
        found = jnp.where(index == at, take_layer(x, along, source), found)
    return found


def _product(
    u: Field, *coefficients: Field, kind: Any, wraps: tuple[bool, ...], transposed: bool
) -> Field:
    stencil = jax.tree.unflatten(kind, coefficients)
    total = jnp.zeros((), u.dtype)
    for axis, entries in enumerate(stencil.others):
        along = axis - len(wraps)
        offsets = (-2, -1, 1, 2) if len(entries) > 2 else (-1, 1)
        for offset, x in zip(offsets, entries, strict=True):
            step = -offset if transposed else offset
            entry = _shifted(x, along, step, wraps[axis]) if transposed else x
            total += entry * _shifted(u, along, step, wraps[axis])
    # last: see `inflow_product`
    return total + stencil.own * u


def _product_itself(u: Field, coefficients: Sequence[Field], **how: Any) -> Field:
    return _product_p.bind(u, *coefficients, **how)


def _transposed_product(ct: Field, u: Any, *coefficients: Field, transposed: bool, **how: Any):
    del u
    product = _product_p.bind(ct, *coefficients, transposed=not transposed, **how)
    return [product, *[None] * len(coefficients)]


_product_p = linear_primitive(
    "product_with_stencil",
    _product,
    ("kind", "wraps", "transposed"),
    _product_itself,
    _transposed_product,
)
