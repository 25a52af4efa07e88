"""Adjoint rules and solvers side by side, on one nonlinear problem."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

from helpers import central_difference_error, dot, normal_like, relative_difference
from impindiff.implicit import (
    Anderson,
    ImplicitAdjoint,
    JacobianFree,
    NewtonKrylov,
    Picard,
    Unrolled,
    root,
)
from problems import TIGHT_ADJOINT

N = 8
ARGS = (jnp.asarray(0.4), normal_like(0, jnp.zeros(N)))
SOLVERS = {
    "Newton, BiCGStab": NewtonKrylov(rtol=1e-14, atol=1e-15),
    "Newton, GMRES": NewtonKrylov(1e-14, 1e-15, linear_solver=lx.GMRES(1e-6, 1e-6)),
    "Picard": Picard(rtol=1e-14, atol=1e-15),
    "Anderson": Anderson(rtol=1e-14, atol=1e-15),
}


def residual(z, args):
    strength, right = args
    return z + strength * jnp.sin(z) + 0.2 * jnp.roll(z, 1) * z - right


def loss(args, solver, rule):
    z, _ = root(residual, jnp.zeros(N), args, solver=solver, adjoint=rule)
    return jnp.sum(jnp.cos(z) + z**2)


def gradient(solver, rule):
    return jax.jit(jax.grad(lambda args: loss(args, solver, rule)))(ARGS)


EXACT = gradient(SOLVERS["Newton, BiCGStab"], TIGHT_ADJOINT)


def test_the_exact_gradient_is_that_of_central_differences():
    value = jax.jit(lambda args: loss(args, SOLVERS["Newton, BiCGStab"], TIGHT_ADJOINT))
    for seed in range(20):
        direction = normal_like(seed, ARGS)
        slope = jnp.asarray(dot(EXACT, direction))
        assert central_difference_error(value, ARGS, direction, slope) < 1e-6


@pytest.mark.few(1)
@pytest.mark.parametrize("name", SOLVERS)
def test_the_gradient_does_not_depend_on_which_solver_found_the_root(name):
    assert relative_difference(gradient(SOLVERS[name], TIGHT_ADJOINT), EXACT) < 1e-9


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Newton, BiCGStab", "Picard", "Anderson"])
def test_each_solver_unrolled_gives_it_too(name):
    solver = {
        "Newton, BiCGStab": NewtonKrylov(1e-14, 1e-15, max_iterations=8),
        "Picard": Picard(1e-14, 1e-15, max_iterations=150),
        "Anderson": Anderson(1e-14, 1e-15, max_iterations=40),
    }[name]
    assert relative_difference(gradient(solver, Unrolled()), EXACT) < 1e-9


@pytest.mark.slow
def test_the_neumann_series_has_the_bias_it_states():
    """The relative error falls like the powers of dg/dz, and the probe tells the residual."""
    errors = [
        relative_difference(gradient(NewtonKrylov(), JacobianFree(terms=k)), EXACT)
        for k in (0, 4, 8, 40)
    ]
    assert 0.1 < errors[0] < 1
    assert errors[1] < 0.5 * errors[0]
    assert errors[2] < 0.5 * errors[1]
    assert errors[3] < 1e-4

    def told(right, probe):
        z, _ = root(residual, jnp.zeros(N), (ARGS[0], right), adjoint=JacobianFree(2), probe=probe)
        return jnp.sum(z)

    w, relative = jax.grad(told, argnums=(0, 1))(ARGS[1], jnp.zeros(()))
    z, _ = root(residual, jnp.zeros(N), ARGS)
    jacobian = np.asarray(jax.jacobian(residual)(z, ARGS))
    left = np.linalg.norm(jacobian.T @ w - np.ones(N)) / np.sqrt(N)
    assert float(relative) == pytest.approx(left, rel=1e-6)


def test_a_preconditioner_removes_the_bias():
    """With the exact inverse no term is missing."""

    def inverse(z, args):
        matrix = jnp.linalg.inv(jax.jacobian(residual)(z, args))
        return lambda v: matrix @ v

    preconditioned = JacobianFree(terms=0, preconditioner=inverse)
    assert relative_difference(gradient(NewtonKrylov(rtol=1e-13), preconditioned), EXACT) < 1e-9


@pytest.mark.slow
def test_hessian_vector_products_agree_between_solvers():
    direction = normal_like(5, ARGS)

    def product(solver):
        def along(args):
            slope = jax.grad(lambda args: loss(args, solver, ImplicitAdjoint(rtol=1e-13)))(args)
            return sum(jnp.vdot(a, b) for a, b in zip(slope, direction, strict=True))

        return jax.jit(jax.grad(along))(ARGS)

    assert relative_difference(product(SOLVERS["Anderson"]), product(SOLVERS["Picard"])) < 1e-8
