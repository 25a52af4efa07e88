"""The adjoint solve: its preconditioner, tolerance, status and cost."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from helpers import Counter, relative_difference
from impindiff.implicit import ImplicitAdjoint, NewtonKrylov, root
from problems import (
    CUBIC,
    NONSYMMETRIC,
    TIGHT,
    TIGHT_ADJOINT,
    N,
    cubic_residual,
    dense_jacobian,
    inverse_of,
    linear_residual,
    reference_root,
)

MATRIX, RIGHT = NONSYMMETRIC.args
W = jnp.arange(1.0, N + 1)


def gradient_of_linear(rule, solver=TIGHT, cotangent=W, right=RIGHT, matrix=MATRIX):
    """d <cotangent, A^{-1} b> / db, which is A^{-T} cotangent; and what the probe tells."""

    def loss(right, probe):
        z, _ = root(
            linear_residual,
            jnp.zeros_like(right),
            (matrix, right),
            solver=solver,
            adjoint=rule,
            probe=probe,
        )
        return jnp.vdot(cotangent, z)

    return jax.jit(jax.grad(loss, argnums=(0, 1)))(right, jnp.zeros((), right.dtype))


EXACT = np.linalg.solve(np.asarray(MATRIX).T, np.asarray(W))


@pytest.mark.slow
def test_the_preconditioner_is_transposed_for_the_adjoint():
    """The exact inverse needs one iteration if transposed, and more than one if not."""
    rule = ImplicitAdjoint(max_iterations=1, preconditioner=inverse_of(linear_residual))
    gradient, _ = gradient_of_linear(rule)
    np.testing.assert_allclose(gradient, EXACT, rtol=1e-9)

    transpose = inverse_of(lambda z, args: linear_residual(z, (args[0].T, args[1])))
    wrong, _ = gradient_of_linear(ImplicitAdjoint(max_iterations=1, preconditioner=transpose))
    assert np.all(np.isnan(wrong))


def test_the_solver_lends_its_preconditioner():
    solver = NewtonKrylov(rtol=1e-13, preconditioner=inverse_of(linear_residual))
    gradient, _ = gradient_of_linear(ImplicitAdjoint(max_iterations=1), solver)
    np.testing.assert_allclose(gradient, EXACT, rtol=1e-9)


def test_a_rough_preconditioner_leaves_the_gradient_exact():
    rough = ImplicitAdjoint(rtol=1e-12, preconditioner=inverse_of(linear_residual, weaken=0.5))
    np.testing.assert_allclose(gradient_of_linear(rough)[0], EXACT, rtol=1e-9)


def test_an_adjoint_that_cannot_converge_gives_nan():
    gradient, residual = gradient_of_linear(ImplicitAdjoint(max_iterations=1))
    assert np.all(np.isnan(gradient))
    assert residual > 1e-10


@pytest.mark.few(1)
@pytest.mark.parametrize("rtol", [1e-2, 1e-10])
def test_the_probe_tells_the_relative_residual(rtol):
    gradient, told = gradient_of_linear(ImplicitAdjoint(rtol=rtol))
    true = np.linalg.norm(MATRIX.T @ gradient - W) / np.linalg.norm(W)
    assert float(told) == pytest.approx(true, rel=1e-3, abs=1e-15)
    assert true <= rtol
    if rtol == 1e-2:
        assert true > 1e-8  # no more was done than was asked for


def test_the_adjoint_does_not_inherit_a_loose_forward_tolerance():
    gradient, residual = gradient_of_linear(ImplicitAdjoint(), NewtonKrylov(rtol=0.3))
    np.testing.assert_allclose(gradient, EXACT, rtol=1e-6)
    assert residual <= 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("linear_solver", [lx.GMRES(rtol=1e-6, atol=1e-6), lx.BiCGStab(0.1, 0.1)])
def test_a_linear_solver_of_its_own(linear_solver):
    rule = ImplicitAdjoint(rtol=1e-12, linear_solver=linear_solver)
    np.testing.assert_allclose(gradient_of_linear(rule)[0], EXACT, rtol=1e-9)


@pytest.mark.few(1)
@pytest.mark.parametrize("size", [1e-180, 1e-30, 1e30, 1e180])
def test_a_cotangent_of_any_size(size):
    gradient, _ = gradient_of_linear(TIGHT_ADJOINT, cotangent=size * W)
    np.testing.assert_allclose(gradient / size, EXACT, rtol=1e-9)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_a_cotangent_of_any_size_in_float32(size):
    matrix, right, w = (jnp.asarray(x, jnp.float32) for x in (MATRIX, RIGHT, W))
    gradient, _ = gradient_of_linear(
        ImplicitAdjoint(), NewtonKrylov(), jnp.float32(size) * w, right, matrix
    )
    np.testing.assert_allclose(gradient / size, EXACT, rtol=1e-4)


def test_a_cotangent_of_zero_gives_zero():
    np.testing.assert_array_equal(gradient_of_linear(ImplicitAdjoint(), cotangent=0 * W)[0], 0)


@pytest.mark.slow
def test_the_gradient_is_that_of_the_implicit_function_theorem():
    """dL/db = J^{-T} dL/dz, with a dense J at the root."""
    z = reference_root(CUBIC)
    expected = np.linalg.solve(np.asarray(dense_jacobian(cubic_residual, z, CUBIC.args)).T, W)
    strength, right = CUBIC.args

    def loss(b):
        args = (strength, b)
        z, _ = root(cubic_residual, CUBIC.z0, args, solver=TIGHT, adjoint=TIGHT_ADJOINT)
        return jnp.vdot(W, z)

    gradient = jax.jit(jax.grad(loss))(right)
    assert relative_difference(gradient, jnp.asarray(expected)) < 1e-10


@pytest.mark.slow
def test_backward_does_not_solve_forward_again():
    """Evaluations of F: the backward pass linearises it at the root and takes one VJP, no more."""
    counter = Counter()
    full_steps = NewtonKrylov(rtol=1e-13, atol=1e-14, line_search=False)

    def loss(args):
        return jnp.sum(root(counted_residual, CUBIC.z0, args, solver=full_steps)[0])

    def counted_residual(z, args):
        return cubic_residual(counter(z), args)

    forward = counter.during(jax.jit(loss), CUBIC.args)
    _, status = root(cubic_residual, CUBIC.z0, CUBIC.args, solver=full_steps)
    assert forward == 2 * status.iterations  # one to linearise, one for the true residual
    assert 1 <= counter.during(jax.jit(jax.grad(loss)), CUBIC.args) - forward <= 2
