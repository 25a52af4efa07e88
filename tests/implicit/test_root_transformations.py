"""`root` under jit, vmap and closures, and what it is not differentiated by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import relative_difference
from impindiff.implicit import Unrolled, root
from problems import CUBIC, TIGHT, TIGHT_ADJOINT, cubic_residual

STRENGTH, RIGHT = CUBIC.args


def solve(residual, z0, args=None):
    return root(residual, z0, args, solver=TIGHT, adjoint=TIGHT_ADJOINT)


def loss(args):
    z, status = solve(cubic_residual, CUBIC.z0, args)
    return jnp.sum(jnp.sin(z)), (z, status)


value_and_gradient = jax.value_and_grad(loss, has_aux=True)


@pytest.mark.slow
def test_vmap_equals_a_loop():
    strengths = jnp.asarray([0.0, 0.5, 4.0])
    rights = jnp.stack([RIGHT, -3 * RIGHT, 10 * RIGHT])
    (_, (z, status)), gradient = jax.jit(jax.vmap(value_and_gradient))((strengths, rights))
    single = jax.jit(value_and_gradient)
    for i in range(3):
        (_, (z_i, status_i)), gradient_i = single((strengths[i], rights[i]))
        assert status.converged[i]
        np.testing.assert_allclose(z[i], z_i, rtol=1e-12, atol=1e-14)
        assert relative_difference([g[i] for g in gradient], list(gradient_i)) < 1e-9
        assert status.iterations[i] == status_i.iterations
    # The samples are systems of their own: the hardest does not set the pace of the others.
    assert status.iterations[0] < status.iterations[2]


@pytest.mark.slow
def test_without_jit_it_is_the_same():
    outside = value_and_gradient(CUBIC.args)[1]
    inside = jax.jit(value_and_gradient)(CUBIC.args)[1]
    assert relative_difference(outside, inside) < 1e-12


@pytest.mark.slow
def test_what_the_residual_closes_over_is_differentiated():
    def closed(args):
        z, _ = solve(lambda z, _: cubic_residual(z, args), CUBIC.z0)
        return jnp.sum(jnp.sin(z))

    closed_over, (_, expected) = jax.jit(
        lambda args: (jax.grad(closed)(args), value_and_gradient(args))
    )(CUBIC.args)
    assert relative_difference(closed_over, expected) < 1e-11


@pytest.mark.slow
def test_a_python_number_can_be_differentiated():
    def of_number(strength):
        return jnp.sum(solve(cubic_residual, CUBIC.z0, (strength, RIGHT))[0])

    by_array = jax.grad(of_number)(jnp.asarray(0.5))
    assert float(jax.grad(of_number)(0.5)) == pytest.approx(float(by_array), rel=1e-12)


def test_the_gradient_in_the_first_guess_is_zero():
    gradient = jax.grad(lambda z0: jnp.sum(root(cubic_residual, z0, CUBIC.args)[0]))(CUBIC.z0 + 0.1)
    np.testing.assert_array_equal(gradient, jnp.zeros_like(CUBIC.z0))


@pytest.mark.slow
def test_a_leaf_that_knows_no_parameter_has_no_derivative():
    def residual(z, strength):
        return {"known": 3 * z["known"] - 1, "moved": z["moved"] + z["moved"] ** 3 - strength}

    def parts(strength):
        z0 = {"known": jnp.zeros(2), "moved": jnp.zeros(3)}
        return solve(residual, z0, strength)[0]

    strength = jnp.asarray(2.0)  # whose root is 1, where dz/dstrength = 1 / (1 + 3 z^2) = 1/4
    tangent = jax.jit(lambda s: jax.jvp(parts, (s,), (jnp.ones(()),))[1])(strength)
    np.testing.assert_allclose(tangent["known"], 0, atol=1e-15)
    np.testing.assert_allclose(tangent["moved"], 0.25, rtol=1e-10)
    gradient = jax.grad(lambda s: sum(jnp.sum(leaf) for leaf in jax.tree.leaves(parts(s))))
    assert float(jax.jit(gradient)(strength)) == pytest.approx(0.75, rel=1e-10)


def test_arguments_that_are_not_arrays_pass_through():
    def residual(z, args):
        weight, name, power = args
        return z**power - weight if name == "power" else z

    z, status = root(residual, jnp.ones(1), (jnp.asarray(8.0), "power", 3))
    assert status.converged
    assert float(z[0]) == pytest.approx(2, rel=1e-7)


@pytest.mark.slow
def test_unrolled_has_no_derivative_of_its_status():
    def residual_size(right):
        return root(cubic_residual, CUBIC.z0, (STRENGTH, right), adjoint=Unrolled())[1].residual

    np.testing.assert_array_equal(jax.grad(residual_size)(RIGHT), jnp.zeros_like(RIGHT))
