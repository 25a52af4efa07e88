r"""The product of a field with a matrix of fluxes between neighbouring cells, and its transpose.

Advection by "upwind" or "central" and diffusion have the flux v (a + b) / 2 + k (a - b) from the
cell below a face, a, to the one above, b. The inflow of cell i along an axis is then

$$r_i u_i + l_i (u_{i-1} - u_i) + m_i (u_{i+1} - u_i),$$

a star stencil: one pass reads its coefficients and the field, each shifted by at most a cell. The
transpose is a star of the same l and m, since the outflow of one cell enters the next; walls aside,
it has no r.

Products with a Jacobian, of which a Newton-Krylov solve takes many, use the star. If JAX linearises
the fluxes and their divergence, each cell has a selection between computed values, and the
transpose shifts results rather than inputs; on a CPU XLA vectorises neither
(`benchmarks/operators.py`). A single product is cheaper by the fluxes, which need no coefficients
first. Hence a primitive that computes fluxes, whose derivative is a primitive that multiplies by a
star, whose transpose is one too.
"""

from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, Float

from impindiff.operators._faces import (
    Faces,
    difference,
    fields_are_spread,
    from_above,
    from_below,
    layer,
    lower_faces,
    neighbours,
    upper_faces,
)


class TwoPoint(NamedTuple):
    """Coefficients of a flux v (a + b) / 2 + k (a - b) on the faces of an axis.

    v is None without advection.
    """

    velocity: Faces | None
    exchange: Faces


class Star(NamedTuple):
    """Stencil coefficients in the cells, of length 1 along axes on which they are constant.

    - `below`, `above`: l and m, per axis.
    - `centre`: parts of r, to be summed; `walls`: their contributions from walls.
    """

    below: tuple[Array, ...]
    above: tuple[Array, ...]
    centre: tuple[Array, ...]
    walls: tuple[Array, ...]


class Inflow(NamedTuple):
    """Fluxes of each axis, and the star of fluxes and walls.

    Fluxes are divided by the spacing, and 0 through walls; their coefficients are as large as the
    faces or have length 1 along axes on which they are constant.
    """

    fluxes: tuple[TwoPoint, ...]
    star: Star


def inflow_of(fluxes: Sequence[TwoPoint], walls: Sequence[Array]) -> Inflow:
    """The star of these fluxes, and of the inflow through walls per unit in each cell."""
    below, above, centre = [], [], []
    for axis, (v, k) in enumerate(fluxes):
        along = axis - len(fluxes)
        plus = minus = k
        if v is not None:
            plus = jax.tree.map(lambda k, v: k + 0.5 * v, k, v)
            minus = jax.tree.map(lambda k, v: k - 0.5 * v, k, v)
            centre.append(-difference(v, along, 1.0))
        below.append(lower_faces(plus.inner, plus.lower, along))
        above.append(upper_faces(minus.inner, minus.upper, along))
    star = Star(tuple(below), tuple(above), _summed([*centre, *walls]), _summed(walls))
    return Inflow(tuple(fluxes), star)


def _summed(parts: Sequence[Array]) -> tuple[Array, ...]:
    """Sum into one array per shape: broadcast in the product, not before."""
    by_shape: dict[tuple[int, ...], Array] = {}
    for part in parts:
        by_shape[part.shape] = by_shape[part.shape] + part if part.shape in by_shape else part
    return tuple(by_shape.values())


def inflow_product(
    inflow: Inflow, u: Float[Array, "..."], wraps: tuple[bool, ...]
) -> Float[Array, "..."]:
    """Inflow of each cell of u, (*batch, *cells), with flags of the periodic axes."""
    shape = jnp.broadcast_shapes(u.shape, *(x.shape for x in jax.tree.leaves(inflow.star)))
    u = jnp.broadcast_to(u, shape)
    inflow = jax.tree.map(lambda x: x.reshape((1,) * (u.ndim - x.ndim) + x.shape), inflow)
    coefficients, kind = jax.tree.flatten(inflow)
    # a star's transpose would also communicate layers of its coefficients
    if fields_are_spread():
        return _by_fluxes(u, *coefficients, kind=kind, wraps=wraps)
    # numbers as coefficients: their star, of length 1 along some axis, costs next to nothing to
    # make and to read
    if all(min(x.shape[-len(wraps) :]) == 1 for x in jax.tree.leaves(inflow.star)):
        return _times_star(u, coefficients, kind, wraps=wraps)
    return _fluxes_p.bind(u, *coefficients, kind=kind, wraps=wraps)


def _by_fluxes(u: Array, *coefficients: Array, kind, wraps: tuple[bool, ...]) -> Array:
    inflow = jax.tree.unflatten(kind, coefficients)
    total = sum((x * u for x in inflow.star.walls), start=jnp.zeros((), u.dtype))
    for axis, (v, k) in enumerate(inflow.fluxes):
        along = axis - len(wraps)
        first, last = layer(u, along, 0), layer(u, along, -1)
        lower, upper = neighbours(u, along)
        nothing = jnp.zeros_like(first)
        beyond = (last, first) if wraps[axis] else (nothing, nothing)
        below, above = Faces(lower, beyond[0], last), Faces(upper, first, beyond[1])
        passed = jax.tree.map(lambda k, a, b: k * (a - b), k, below, above)
        if v is not None:
            carried = jax.tree.map(lambda v, a, b: v * (0.5 * (a + b)), v, below, above)
            passed = jax.tree.map(jnp.add, passed, carried)
        total -= difference(passed, along, 1.0)
    return total


def _by_star(
    u: Array, *coefficients: Array, kind, wraps: tuple[bool, ...], transposed: bool
) -> Array:
    star = jax.tree.unflatten(kind, coefficients)
    total = jnp.zeros((), u.dtype)
    for axis, wrap in enumerate(wraps):
        along = axis - len(wraps)
        lower, upper = star.below[axis], star.above[axis]
        if transposed:
            lower, upper = from_below(upper, along, wrap), from_above(lower, along, wrap)
        total += lower * (from_below(u, along, wrap) - u)
        total += upper * (from_above(u, along, wrap) - u)
    # last: before the neighbours, where u is computed in the same loop, XLA's takes twice as long
    return sum((x * u for x in (star.walls if transposed else star.centre)), start=total)


def _times_star(u, coefficients, kind, transposed=False, **how) -> Array:
    """Derivative of `_by_fluxes` with respect to u, or its transpose."""
    leaves, kind = jax.tree.flatten(jax.tree.unflatten(kind, coefficients).star)
    return _star_p.bind(u, *leaves, kind=kind, transposed=transposed, **how)


def _transposed_fluxes(ct, u, *coefficients, **how):
    del u
    return [_times_star(ct, coefficients, transposed=True, **how), *[None] * len(coefficients)]


def _star_itself(u, coefficients, **how) -> Array:
    return _star_p.bind(u, *coefficients, **how)


def _transposed_star(ct, u, *coefficients, transposed, **how):
    del u
    product = _star_p.bind(ct, *coefficients, transposed=not transposed, **how)
    return [product, *[None] * len(coefficients)]


def linear_primitive(name, compute, how, derivative, transpose) -> Primitive:
    """A primitive u, coefficients -> `compute`, linear in u and in the coefficients.

    `how` names the further arguments of `compute`; `derivative` is with respect to u.
    """
    primitive = Primitive(name)

    def shape(u, *coefficients, **how):
        del coefficients, how
        return u.update()

    def pushed_forward(primals, tangents, **how):
        u, *coefficients = primals
        du, *dots = tangents
        parts = []
        if not isinstance(du, ad.Zero):
            parts.append(derivative(du, coefficients, **how))
        if not all(isinstance(dot, ad.Zero) for dot in dots):
            parts.append(compute(u, *map(ad.instantiate_zeros, dots), **how))
        return primitive.bind(u, *coefficients, **how), sum(parts[1:], start=parts[0])

    def batched(operands, dims, **how):
        pairs = list(zip(operands, dims, strict=True))
        size = next(x.shape[d] for x, d in pairs if d is not None)
        u, *coefficients = (x[None] if d is None else jnp.moveaxis(x, d, 0) for x, d in pairs)
        u = jnp.broadcast_to(u, (size, *u.shape[1:]))
        return primitive.bind(u, *coefficients, **how), 0

    primitive.def_impl(jax.jit(compute, static_argnames=how))
    primitive.def_abstract_eval(shape)
    ad.primitive_jvps[primitive] = pushed_forward
    ad.primitive_transposes[primitive] = transpose
    batching.primitive_batchers[primitive] = batched
    mlir.register_lowering(primitive, mlir.lower_fun(compute, multiple_results=False))
    return primitive


_fluxes_p = linear_primitive(
    "inflow_by_fluxes", _by_fluxes, ("kind", "wraps"), _times_star, _transposed_fluxes
)
_star_p = linear_primitive(
    "inflow_by_star", _by_star, ("kind", "wraps", "transposed"), _star_itself, _transposed_star
)
