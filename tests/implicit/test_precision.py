"""Single precision, with 64-bit numbers switched on and off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.implicit import NewtonKrylov, Unrolled, root

RIGHT = np.asarray([3.0, -5.0, 0.5, 1.0])
# Eigenvalues of either sign and of large imaginary part: BiCGStab's coefficients change sign.
MATRIX = np.asarray(
    [[2.0, 4.0, 0.0, 1.0], [-4.0, 2.0, 1.0, 0.0], [0.0, -1.0, -3.0, 2.0], [1.0, 0.0, -2.0, -2.5]]
)


def residual(z, args):
    strength, right = args
    return jnp.asarray(MATRIX, z.dtype) @ z + strength * z**3 - right


def loss(args, adjoint=None):
    solver = NewtonKrylov(rtol=2e-6, atol=0.0)  # above the round-off of single precision
    z0 = jnp.zeros(4, args[1].dtype)
    z, status = root(residual, z0, args, solver=solver, adjoint=adjoint)
    return jnp.sum(z * z), (z, status)


def solve(dtype, adjoint=None):
    args = (jnp.asarray(0.01, dtype), jnp.asarray(RIGHT, dtype))
    function = jax.jit(jax.value_and_grad(lambda args: loss(args, adjoint), has_aux=True))
    (_, (z, status)), derivative = function(args)
    return z, status, derivative


@pytest.fixture(scope="module")
def double():
    return solve(jnp.float64)


@pytest.mark.few(1)
@pytest.mark.parametrize("x64", [True, False])
def test_float32(double, x64):
    with jax.enable_x64(x64):
        z, status, gradient = solve(jnp.float32)
        assert status.converged
        leaves = jax.tree.leaves((z, status.residual, gradient))
        assert {leaf.dtype for leaf in leaves} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(z, double[0], rtol=1e-3)
    for single, exact in zip(gradient, double[2], strict=True):
        np.testing.assert_allclose(single, exact, rtol=5e-3)


@pytest.mark.slow
def test_float32_unrolled(double):
    _, _, gradient = solve(jnp.float32, Unrolled())
    for single, exact in zip(gradient, double[2], strict=True):
        assert single.dtype == jnp.float32
        np.testing.assert_allclose(single, exact, rtol=1e-2)
