"""Functions of each cell: their derivatives, and what a linearised equation keeps of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.problems.vapor_infiltration.cells import cell_by_cell

FIELDS = (jnp.linspace(0.2, 0.9, 12).reshape(3, 4), jnp.linspace(1.0, 2.0, 12).reshape(3, 4))
GIVEN = {"power": jnp.asarray(1.7), "initial": jnp.linspace(0.5, 0.6, 12).reshape(3, 4)}


def law(given, x, y):
    return jnp.log(1 + x ** given["power"]) * jnp.tanh(y * given["initial"]) / (1 + x * y)


def plain(given, fields):
    return law(given, *fields)


def by_cell(given, fields):
    return cell_by_cell(law, given, *fields)


@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
def test_derivatives_by_fields_and_all_else_are_those_of_the_function(derivative):
    expected, found = (derivative(f, argnums=(0, 1))(GIVEN, FIELDS) for f in (plain, by_cell))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-12), expected, found)


@pytest.mark.slow
def test_second_derivatives_are_those_of_the_function():
    expected, found = (
        jax.hessian(lambda given, fields, f=f: jnp.sum(f(given, fields) ** 2), argnums=(0, 1))(
            GIVEN, FIELDS
        )
        for f in (plain, by_cell)
    )
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10, atol=1e-12), expected, found
    )


def test_what_the_function_does_not_depend_on_has_no_influence():
    found = jax.grad(lambda unused: jnp.sum(cell_by_cell(law, GIVEN | {"x": unused}, *FIELDS)))
    assert float(found(jnp.asarray(2.0))) == 0.0


def test_a_linearised_function_keeps_one_slope_for_each_field():
    def kept(function) -> int:
        linear = jax.linearize(lambda fields: function(GIVEN, fields), FIELDS)[1]
        consts = jax.make_jaxpr(linear)(FIELDS).consts
        return sum(np.shape(constant) == FIELDS[0].shape for constant in consts)

    assert kept(by_cell) == 2 < kept(plain)
