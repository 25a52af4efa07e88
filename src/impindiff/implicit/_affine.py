"""Detection of residuals that are affine in the unknown, which one Newton iteration solves."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import PyTree


def is_affine(function: Callable[[PyTree], PyTree], z: PyTree) -> bool:
    """True if the derivative of `function` at z is structurally independent of z.

    The derivative z -> (dF/dz) v is itself differentiated by forward mode; JAX propagates tangents
    that are zero by construction as symbols, and a symbolic zero at the output means that z does
    not enter. Nothing is computed: the function is only traced. Piecewise linear functions (|z|,
    relu) look affine to this test, so it is a hint about tolerances, never a proof of convergence.
    """
    verdicts: list[bool] = []

    @jax.custom_jvp
    def probe(x):
        return x

    def rule(primals, tangents):
        (tangent,) = tangents
        zero = [isinstance(leaf, SymbolicZero) for leaf in jax.tree.leaves(tangent)]
        verdicts.append(all(zero))
        dense = jax.tree.map(
            lambda x, dx: jnp.zeros_like(x) if isinstance(dx, SymbolicZero) else dx,
            primals[0],
            tangent,
        )
        return primals[0], dense

    probe.defjvp(rule, symbolic_zeros=True)

    def derivative(z, v):
        return probe(jax.jvp(function, (z,), (v,))[1])

    def second_derivative(z, v, w):
        return jax.jvp(lambda z: derivative(z, v), (z,), (w,))[1]

    jax.eval_shape(second_derivative, z, z, z)
    return all(verdicts)
