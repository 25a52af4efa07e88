"""Extraction and insertion of one layer of cells across an axis.

The two are transposes of each other. JAX's slice and pad are too, but XLA on a CPU turns a pad of
computed values into a branch in each cell, which prevents vectorisation of everything fused with
it. A selection by cell index avoids that, but its transpose in JAX sums over the whole field. Hence
two primitives, each with the other as its transpose.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array


def take_layer(x: Array, along: int, index: int) -> Array:
    """One layer of cells across an axis, counted from the end if negative, with its axis kept."""
    axis = along % x.ndim
    return _take.bind(x, axis=axis, index=index % x.shape[axis])


def put_layer(values: Array, along: int, index: int, size: int) -> Array:
    """Zeros of `size` layers, one of them `values`: the transpose of `take_layer`."""
    return _put.bind(values, axis=along % values.ndim, index=index % size, size=size)


@partial(jax.jit, static_argnames=("axis", "index"))
def _taken(x: Array, *, axis: int, index: int) -> Array:
    return lax.slice_in_dim(x, index, index + 1, axis=axis)


@partial(jax.jit, static_argnames=("axis", "index", "size"))
def _put_in_zeros(values: Array, *, axis: int, index: int, size: int) -> Array:
    zero = jnp.zeros((), values.dtype)
    along = [1] * values.ndim
    along[axis] = size
    here = lax.broadcasted_iota(jnp.int32, along, axis) == index
    return jnp.where(here, values, zero)


def _taken_shape(x, *, axis, index):
    del index
    return x.update(shape=(*x.shape[:axis], 1, *x.shape[axis + 1 :]))


def _put_shape(values, *, axis, index, size):
    del index
    return values.update(shape=(*values.shape[:axis], size, *values.shape[axis + 1 :]))


def _transpose_take(ct, x, *, axis, index):
    return [_put.bind(ct, axis=axis, index=index, size=x.aval.shape[axis])]


def _transpose_put(ct, values, *, axis, index, size):
    del values, size
    return [_take.bind(ct, axis=axis, index=index)]


def _batched(primitive, operands, dims, *, axis, **others):
    (x,), (dim,) = operands, dims
    return primitive.bind(jnp.moveaxis(x, dim, 0), axis=axis + 1, **others), 0


def _primitive(name, function, shape, transpose) -> Primitive:
    primitive = Primitive(name)
    primitive.def_impl(function)
    primitive.def_abstract_eval(shape)
    ad.deflinear2(primitive, transpose)
    batching.primitive_batchers[primitive] = partial(_batched, primitive)
    mlir.register_lowering(primitive, mlir.lower_fun(function, multiple_results=False))
    return primitive


_take = _primitive("take_layer", _taken, _taken_shape, _transpose_take)
_put = _primitive("put_layer", _put_in_zeros, _put_shape, _transpose_put)
