"""Detection of levels and totals that an equation leaves undetermined."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, PyTree

from impindiff.implicit.components import Components
from impindiff.implicit.linear import LinearMap
from impindiff.implicit.pytree import result_dtype

# a vector below so many eps of the terms that it is summed of is zero up to round-off
_ROUND_OFF = 64.0


def has_free_level(
    matvec: LinearMap, z: PyTree[Array], weights: PyTree[Array | float]
) -> Bool[Array, ""]:
    """True if A is singular on constants: A v = 0, or A^T (weights v) = 0, for some constants v.

    v has one number per component (see `Components`). The first case is an unknown of which only
    differences enter, the second an equation whose sum over all cells does not contain the unknown:
    diffusion between walls without flux, or a total of several reacting components. Then A x = b
    has no solution, or many. Of a system of at most 16 numbers the rank itself is tested. Other
    null vectors are not found.

    **Arguments:**

    - `matvec`: v -> A v, made of operations that JAX transposes.
    - `z`: pytree of the unknown's structure.
    - `weights`: volumes of the cells, of any unit: for each leaf of z a number, or an array that
      broadcasts to it.

    Cost: three products per component, and a QR factorisation of as many vectors.
    """
    components = Components(z)
    dtype = result_dtype(z)
    magnitudes = components.magnitudes(matvec)
    # equilibrated, so that neither units nor sizes matter
    rows = _over(jnp.max(magnitudes, 1))
    columns = _over(jnp.max(rows[:, None] * magnitudes, 0))
    ones = jax.tree.map(jnp.ones_like, z)
    volumes = jax.tree.map(
        lambda w, x: jnp.broadcast_to(jnp.asarray(w, x.dtype), x.shape), weights, z
    )
    transposed = jax.linear_transpose(matvec, z)
    even = components.weights()

    def vector(tree: PyTree[Array]) -> Float[Array, " entries"]:
        scaled = components.times(jnp.asarray(even, dtype), tree)
        return jnp.concatenate([jnp.ravel(x).astype(dtype) for x in jax.tree.leaves(scaled)])

    def level(chosen: Float[Array, " components"]) -> Float[Array, " entries"]:
        return vector(components.times(rows, matvec(components.times(columns * chosen, ones))))

    def total(chosen: Float[Array, " components"]) -> Float[Array, " entries"]:
        (found,) = transposed(components.times(rows * chosen, volumes))
        return vector(components.times(columns, found))

    unit = jnp.eye(components.number, dtype=dtype)
    least = _ROUND_OFF * float(max(components.eps)) * sum(x.size for x in jax.tree.leaves(z)) ** 0.5

    def is_deficient(found: Float[Array, "components entries"]) -> Bool[Array, ""]:
        pivots = jnp.abs(jnp.diagonal(jnp.linalg.qr(found.T, mode="r")))
        return jnp.any(pivots <= least)

    return is_deficient(jax.lax.map(level, unit)) | is_deficient(jax.lax.map(total, unit))


def _over(sizes: Float[Array, " components"]) -> Float[Array, " components"]:
    return 1 / jnp.where((sizes > 0) & jnp.isfinite(sizes), sizes, 1.0)
