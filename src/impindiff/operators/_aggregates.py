"""Aggregates: pairs of cells of a grid along some of its axes.

An axis of n cells has (n + 1) // 2 aggregates; if n is odd the last one is a single cell.
"""

from collections.abc import Collection

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def pairs(u: Float[Array, "..."], axis: int) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The first and the second cell of each aggregate along an axis; 0 where there is no second."""
    n = u.shape[axis]
    if n % 2:
        u = jnp.pad(u, [(0, int(i == axis)) for i in range(u.ndim)])
    apart = u.reshape(*u.shape[:axis], u.shape[axis] // 2, 2, *u.shape[axis + 1 :])
    first, second = (lax.index_in_dim(apart, i, axis + 1, keepdims=False) for i in (0, 1))
    return first, second


def sum_over_pairs(u: Float[Array, "..."], axes: Collection[int]) -> Float[Array, "..."]:
    """Sum over each aggregate."""
    for axis in axes:
        first, second = pairs(u, axis)
        u = first + second
    return u


def copy_to_pairs(
    u: Float[Array, "..."], axes: Collection[int], cells: tuple[int, ...]
) -> Float[Array, "..."]:
    """Copy each aggregate's value to its cells, of shape `cells`: transpose of `sum_over_pairs`."""
    apart = [side for i, m in enumerate(u.shape) for side in (m, 2 if i in axes else 1)]
    repeated = lax.broadcast_in_dim(u, apart, range(0, 2 * u.ndim, 2))
    pairs = [m * (2 if i in axes else 1) for i, m in enumerate(u.shape)]
    return lax.slice(repeated.reshape(pairs), (0,) * u.ndim, cells)
