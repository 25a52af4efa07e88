"""Which residuals are recognised as affine in the unknown."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.implicit import root
from impindiff.implicit._affine import is_affine
from problems import NONSYMMETRIC

MATRIX = jnp.asarray([[2.0, 1.0], [0.5, 3.0]])
SWITCH = jnp.asarray([True, False])
Z = jnp.ones(2)

AFFINE = {
    "matrix": lambda z: MATRIX @ z - 1,
    "constant": lambda z: jnp.ones_like(z),
    "parameters through where": lambda z: jnp.where(SWITCH, 2.0, 3.0) * z + jnp.where(SWITCH, z, 0),
    "jit": jax.jit(lambda z: jax.jit(lambda v: 2 * v)(z) + 1),
    "nonlinear in parameters": lambda z: jnp.sin(MATRIX) @ z + jnp.exp(MATRIX[0]),
    "scan": lambda z: jax.lax.scan(lambda c, _: (MATRIX @ c, None), z, length=3)[0],
    "checkpoint": jax.checkpoint(lambda z: MATRIX @ z),
}
NOT_AFFINE = {
    "square": lambda z: z * z,
    "sine": lambda z: jnp.sin(z),
    "jit": jax.jit(lambda z: jax.jit(lambda v: v * v[::-1])(z)),
    "one entry": lambda z: z.at[0].add(1e-300 * z[1] ** 2),
    "weighted by the state": lambda z: jnp.where(SWITCH, 2.0, z) * z,
    "scan": lambda z: jax.lax.scan(lambda c, _: (c * z, None), z, length=2)[0],
    "checkpoint": jax.checkpoint(lambda z: z**3),
}


@pytest.mark.parametrize("name", AFFINE)
def test_affine(name):
    assert is_affine(AFFINE[name], Z)


@pytest.mark.parametrize("name", NOT_AFFINE)
def test_not_affine(name):
    assert not is_affine(NOT_AFFINE[name], Z)


def test_trees_of_which_one_leaf_is_nonlinear():
    def residual(z):
        return {"a": 2 * z["a"] + z["b"], "b": z["b"] * (1 + z["a"])}

    z = {"a": jnp.ones(2), "b": jnp.ones(2)}
    assert not is_affine(residual, z)
    assert is_affine(lambda z: {"a": z["b"], "b": z["a"] - 1}, z)


def test_parameters_that_are_being_differentiated_do_not_matter():
    def verdict(matrix):
        assert is_affine(lambda z: jnp.tanh(matrix) @ z, Z)
        return jnp.sum(matrix)

    jax.grad(verdict)(MATRIX)
    jax.jit(jax.vmap(verdict))(MATRIX[None])


def test_nothing_is_computed():
    def residual(z):
        jax.debug.callback(lambda: pytest.fail("the residual was evaluated"))
        return 2 * z

    assert is_affine(residual, Z)
    jax.effects_barrier()


@pytest.mark.slow
def test_a_piecewise_linear_residual_is_still_solved_truly():
    """|z| passes for affine; more than one iteration is then taken, until the residual is true."""

    def residual(z, right):
        return 2 * z + jnp.abs(z) - right

    right = jnp.asarray([3.0, -1.0, 0.6])
    z, status = root(residual, -jnp.ones(3) * jnp.sign(right), right)
    assert status.converged
    np.testing.assert_allclose(z, [1.0, -1.0, 0.2], atol=1e-7)


def test_a_linear_problem_does_not_care_where_it_starts():
    _z, status = root(NONSYMMETRIC.residual, NONSYMMETRIC.z0 + 1e3, NONSYMMETRIC.args)
    assert status.converged
    assert status.iterations == 1
