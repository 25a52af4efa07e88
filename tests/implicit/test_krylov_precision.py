"""Linear solves in float32 inside a float64 layer: the same residual, the same gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import relative_difference
from impindiff.implicit.linear import refined_solve

N = 40
A = jnp.asarray(np.diag(np.linspace(1, 30, N)) + np.random.default_rng(0).normal(size=(N, N)) / N)
B = jnp.asarray(np.random.default_rng(1).normal(size=N))
SEEN = []


def preconditioner(z, args):
    SEEN.append(z.dtype.name)
    diagonal = jnp.diag(A).astype(z.dtype) + 3 * args.astype(z.dtype) * z**2
    return lambda v: v / diagonal


def cubic(z, args):
    return A.astype(z.dtype) @ z + args * z**3 - B.astype(z.dtype)


@pytest.mark.slow
@pytest.mark.parametrize("preconditioned", [False, True])
def test_the_same_residual_and_gradient(preconditioned):
    def solve(args, precision):
        solver = ipd.NewtonKrylov(
            rtol=1e-12,
            atol=1e-13,
            krylov_precision=precision,
            preconditioner=preconditioner if preconditioned else None,
        )
        z, status = ipd.root(
            cubic,
            jnp.zeros(N),
            args,
            solver=solver,
            adjoint=ipd.ImplicitAdjoint(rtol=1e-11),
        )
        return jnp.sum(z**2), (z, status)

    SEEN.clear()
    of = jax.jit(jax.value_and_grad(solve, has_aux=True), static_argnums=1)
    (_, (z, status)), gradient = of(jnp.asarray(0.3), None)
    assert set(SEEN) <= {"float64"}
    SEEN.clear()
    (_, (found, status_low)), gradient_low = of(jnp.asarray(0.3), "float32")
    if preconditioned:
        assert "float32" in SEEN
    assert bool(status.converged)
    assert bool(status_low.converged)
    assert float(status_low.residual) < 1e-11
    assert found.dtype == jnp.float64
    assert relative_difference(found, z) < 1e-11
    np.testing.assert_allclose(gradient_low, gradient, rtol=1e-9)


def test_the_krylov_loop_is_in_the_lower_precision():
    def layer(args):
        solver = ipd.NewtonKrylov(krylov_precision="float32")
        return ipd.root(cubic, jnp.zeros(N), args, solver=solver)[0].sum()

    program = str(jax.make_jaxpr(jax.grad(layer))(jnp.asarray(0.3)))
    assert f"f32[{N}]" in program
    plain = str(jax.make_jaxpr(jax.grad(lambda a: ipd.root(cubic, jnp.zeros(N), a)[0].sum()))(0.3))
    assert f"f32[{N}]" not in plain


@pytest.mark.slow
def test_a_float32_layer_is_left_as_it_is():
    solver = ipd.NewtonKrylov(krylov_precision="float32")
    z, status = ipd.root(cubic, jnp.zeros(N, jnp.float32), jnp.float32(0.3), solver=solver)
    assert z.dtype == jnp.float32
    assert bool(status.converged)


@pytest.mark.slow
def test_a_start_near_the_solution_saves_iterations_and_a_bad_one_costs_none():
    x = jnp.linalg.solve(A, B)

    def iterations(start):
        found = refined_solve(lambda v: A @ v, B, ipd.BiCGStab(), 1e-10, start=start)
        assert bool(found.converged)
        assert relative_difference(found.value, x) < 1e-8
        return int(found.iterations)

    none = iterations(None)
    assert iterations(x * (1 + 1e-7)) < none
    assert iterations(1e3 * B) == none


@pytest.mark.slow
def test_the_adjoint_started_from_its_cotangent_is_the_same():
    def loss(args, first_guess):
        adjoint = ipd.ImplicitAdjoint(rtol=1e-12, first_guess=first_guess)
        return jnp.sum(ipd.root(cubic, jnp.zeros(N), args, adjoint=adjoint)[0] ** 2)

    zero, warm = (jax.grad(loss)(jnp.asarray(0.3), first_guess=g) for g in ("zero", "cotangent"))
    np.testing.assert_allclose(warm, zero, rtol=1e-10)
