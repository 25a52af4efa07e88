"""Norms and vector arithmetic on pytrees."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Inexact, Int, PyTree

from impindiff.errors import InputError


def rms_norm(tree: PyTree[Inexact[Array, "..."]]) -> Float[Array, ""]:
    """Root mean square over all entries of all leaves.

    Independent of the number of unknowns, so that one tolerance has the same meaning on every grid.
    Entries are divided by the largest first, so no square over- or underflows. A NaN gives NaN, an
    infinite entry infinity.
    """
    leaves = jax.tree.leaves(tree)
    size = sum(leaf.size for leaf in leaves)
    largest = jax.lax.stop_gradient(max_norm(leaves))
    safe = jnp.where((largest > 0) & jnp.isfinite(largest), largest, jnp.ones_like(largest))

    def sum_of_squares(leaf):
        scaled = leaf / safe.astype(leaf.dtype)
        return jnp.sum(scaled * scaled).astype(safe.dtype)

    return safe * jnp.sqrt(functools.reduce(jnp.add, map(sum_of_squares, leaves)) / size)


def max_norm(tree: PyTree[Inexact[Array, "..."]]) -> Float[Array, ""]:
    """Largest absolute value over all entries of all leaves."""
    dtype = result_dtype(tree)
    largest = (jnp.max(jnp.abs(leaf)).astype(dtype) for leaf in jax.tree.leaves(tree))
    return functools.reduce(jnp.maximum, largest)


def all_finite(tree: PyTree[Inexact[Array, "..."]]) -> Bool[Array, ""]:
    """True if no entry is NaN or infinite."""
    finite = [jnp.all(jnp.isfinite(leaf)) for leaf in jax.tree.leaves(tree)]
    return jnp.all(jnp.stack(finite))


def largest_leaf(tree: PyTree[Inexact[Array, "..."]]) -> Int[Array, ""]:
    """Index (in `jax.tree.leaves` order) of the leaf with the largest root mean square.

    A leaf with a NaN counts as the largest.
    """
    sizes = [rms_norm(leaf).astype(result_dtype(tree)) for leaf in jax.tree.leaves(tree)]
    return jnp.argmax(jnp.nan_to_num(jnp.stack(sizes), nan=jnp.inf)).astype(jnp.int32)


def tree_add(a: PyTree, b: PyTree) -> PyTree:
    """Leafwise sum."""
    return jax.tree.map(jnp.add, a, b)


def tree_subtract(a: PyTree, b: PyTree) -> PyTree:
    """Leafwise difference."""
    return jax.tree.map(jnp.subtract, a, b)


def tree_scale(factor: Float[Array, ""] | float, tree: PyTree) -> PyTree:
    """Leafwise product with a scalar, in each leaf's own precision."""
    return jax.tree.map(lambda leaf: jnp.asarray(factor, leaf.dtype) * leaf, tree)


def tree_where(condition: Bool[Array, ""], a: PyTree, b: PyTree) -> PyTree:
    """Select `a` where the (scalar) condition holds, else `b`."""
    return jax.tree.map(lambda x, y: jnp.where(condition, x, y), a, b)


def result_dtype(tree: PyTree[Inexact[Array, "..."]]) -> jnp.dtype:
    """The precision of scalars derived from `tree`."""
    return jnp.result_type(*(leaf.dtype for leaf in jax.tree.leaves(tree)))


def without_tangents(tree: PyTree) -> PyTree:
    """The same numbers, treated as constants in derivatives."""
    return jax.tree.map(lambda x: jax.lax.stop_gradient(x) if eqx.is_array(x) else x, tree)


def carry_with_tangents(carry: PyTree[Array], others: PyTree) -> PyTree[Array]:
    """The carry of a loop before its first step, with zeros as tangents where it has none.

    JAX derives the body of a `lax.scan` once with only those tangents that the first carry has, and
    again with those that the body adds, from scratch: in nested loops 2, 4, 8, ... times. From a
    carry with tangents it is once. The numbers are the same.

    - `others`: what the body depends on. Without tangents in it, the carry gets none either.
    """
    return _with_tangents(carry, eqx.filter(others, eqx.is_inexact_array))


@jax.custom_jvp
def _with_tangents(carry: PyTree[Array], others: PyTree) -> PyTree[Array]:
    del others
    return carry


@functools.partial(_with_tangents.defjvp, symbolic_zeros=True)
def _(primals, tangents):
    moving = [dot for dot in jax.tree.leaves(tangents) if not isinstance(dot, SymbolicZero)]
    some = [dot.ravel()[0] for dot in moving if dot.size][:1]

    def moved(x, dot):
        needed = isinstance(dot, SymbolicZero) and jnp.issubdtype(x.dtype, jnp.inexact)
        if not needed or not some:
            return dot
        # zeros that depend on a tangent: reverse mode leaves out those that do not
        zero = jnp.where(False, some[0], 0.0)
        return jnp.broadcast_to(zero.astype(x.dtype), x.shape)

    return primals[0], jax.tree.map(moved, primals[0], tangents[0])


def tree_cast(tree: PyTree, dtype: DTypeLike) -> PyTree:
    """Cast floating-point arrays to that precision; all else is unchanged."""

    def cast(leaf):
        floating = eqx.is_array(leaf) and jnp.issubdtype(leaf.dtype, jnp.floating)
        return jnp.asarray(leaf, dtype) if floating else leaf

    return jax.tree.map(cast, tree)


def tree_cast_like(tree: PyTree[Array], like: PyTree[Array]) -> PyTree[Array]:
    """Cast each leaf to the precision of its counterpart."""
    return jax.tree.map(lambda leaf, other: jnp.asarray(leaf, other.dtype), tree, like)


def require_floating(tree: PyTree[Array], name: str) -> None:
    """Raise `InputError` unless `tree` has leaves, all of them real, floating and not empty."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    if not leaves:
        raise InputError(f"{name} holds no arrays; expected at least one floating-point array")
    for path, leaf in leaves:
        place = name + jax.tree_util.keystr(path)
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            raise InputError(
                f"{place} has dtype {leaf.dtype}; expected a real floating-point array (split "
                "complex unknowns into real and imaginary parts)"
            )
        if leaf.size == 0:
            raise InputError(f"{place} has shape {leaf.shape}, no entries")


def axpy(factor: Float[Array, ""] | float, x: PyTree, y: PyTree) -> PyTree:
    """Sum factor x + y, leafwise, in each leaf's own precision."""
    return jax.tree.map(lambda a, b: jnp.asarray(factor, b.dtype) * a + b, x, y)


@jax.custom_batching.custom_vmap
def any_sample(flag: Bool[Array, ""]) -> Bool[Array, ""]:
    """True if the flag holds for any sample of a `jax.vmap` batch; the same for all.

    A `lax.cond` on it stays a branch under `vmap`; on `flag` it would always run both sides.
    """
    return flag


@any_sample.def_vmap
def _(axis_size, in_batched, flag):
    del axis_size, in_batched
    return any_sample(jnp.any(flag)), False
