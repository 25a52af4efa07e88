"""Sinusoidal networks and the coordinate fields made of them."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.fields import ConditionalField, Siren
from impindiff.grid import Grid

KEY = jax.random.key(3)
WIDE = Siren(2, 3, width=256, depth=6, key=KEY)
LOWER, UPPER = (-1.0, 0.0), (1.0, 2.0)
GRID = Grid(lower=LOWER, upper=UPPER, cells=(8, 6))
FIELD = ConditionalField(2, LOWER, UPPER, periodic=(True, False), width=16, depth=2, key=KEY)


@eqx.filter_jit
def evaluate(network, *args):
    """Compiled once for each kind of input; eager evaluation would compile every operation."""
    return network(*args)


class Points(eqx.Module):
    """Any points, in place of a grid."""

    centers: jax.Array


def test_shapes():
    assert [w.shape for w in WIDE.weights] == [(256, 2), *[(256, 256)] * 5, (3, 256)]
    assert evaluate(WIDE, jnp.zeros((2, 5, 4))).shape == (3, 5, 4)
    assert evaluate(WIDE, jnp.zeros(2)).shape == (3,)
    assert evaluate(FIELD, GRID).shape == (2, *GRID.shape)


def test_weights_fill_the_published_bounds():
    bounds = [1 / 2, *[np.sqrt(6 / 256) / 30] * 6]
    for weight, bound in zip(WIDE.weights, bounds, strict=True):
        largest = float(jnp.max(jnp.abs(weight)))
        assert 0.97 * bound < largest <= bound
        assert float(jnp.std(weight)) == pytest.approx(bound / np.sqrt(3), rel=0.1)
    for bias, weight in zip(WIDE.biases, WIDE.weights, strict=True):
        assert float(jnp.max(jnp.abs(bias))) <= 1 / np.sqrt(weight.shape[1])


def test_activations_keep_their_distribution_through_the_depth():
    """Sitzmann et al.: what enters a hidden sine is about standard normal, at any depth."""
    h = jax.random.uniform(jax.random.key(4), (2, 2000), minval=-1, maxval=1)
    deviations = []
    for i, (weight, bias) in enumerate(zip(WIDE.weights[:-1], WIDE.biases[:-1], strict=True)):
        omega = WIDE.omega_first if i == 0 else WIDE.omega
        deviations.append(float(jnp.std(omega * (weight @ h))))
        h = jnp.sin(omega * (weight @ h + bias[:, None]))
        # of an arcsine distribution, to which sin of anything broad tends
        assert float(jnp.std(h)) == pytest.approx(np.sqrt(0.5), rel=0.1)
    np.testing.assert_allclose(deviations[1:], 1, atol=0.1)


def test_the_formula():
    net = Siren(1, 1, width=2, depth=2, omega_first=5.0, omega=7.0, key=KEY)
    (w0, w1, w2), (b0, b1, b2) = net.weights, net.biases
    x = np.asarray([0.3])
    expected = w2 @ np.sin(7 * (w1 @ np.sin(5 * (w0 @ x + b0)) + b1)) + b2
    np.testing.assert_allclose(evaluate(net, jnp.asarray(x)), expected, rtol=1e-12)


def test_a_field_is_exactly_periodic_where_marked():
    x = jnp.asarray([[-1.0, 0.3, 0.9], [0.2, 0.2, 1.1]])
    here = evaluate(FIELD, Points(x))
    np.testing.assert_allclose(
        evaluate(FIELD, Points(x + jnp.asarray([[2.0], [0.0]]))), here, atol=1e-12
    )
    assert np.max(np.abs(evaluate(FIELD, Points(x + jnp.asarray([[0.0], [2.0]]))) - here)) > 1e-3


def test_a_field_belongs_to_the_box_not_to_the_grid():
    """Every third cell of a grid three times finer has the same centre."""
    finer = Grid(lower=LOWER, upper=UPPER, cells=(24, 18))
    np.testing.assert_allclose(
        evaluate(FIELD, finer)[:, 1::3, 1::3], evaluate(FIELD, GRID), rtol=1e-10
    )


def test_coordinates_are_scaled_to_the_box():
    stretched = ConditionalField(
        2, (-1e3, 0.0), (1e3, 2e-6), periodic=(True, False), width=16, depth=2, key=KEY
    )
    grid = Grid(lower=(-1e3, 0.0), upper=(1e3, 2e-6), cells=GRID.cells)
    np.testing.assert_allclose(evaluate(stretched, grid), evaluate(FIELD, GRID), rtol=1e-9)


def test_a_steady_field_ignores_the_time():
    np.testing.assert_array_equal(
        evaluate(FIELD, GRID, 0.0), evaluate(FIELD, GRID, jnp.asarray(3.0))
    )


def test_gradients_are_finite_and_reach_every_layer():
    gradient = eqx.filter_jit(eqx.filter_grad(lambda field: jnp.sum(field(GRID) ** 2)))(FIELD)
    leaves = jax.tree.leaves(gradient)
    assert len(leaves) == 6
    for leaf in leaves:
        assert np.all(np.isfinite(leaf))
        assert np.any(leaf != 0)


def test_the_precision_is_that_of_the_weights():
    single = jax.tree.map(lambda x: x.astype(jnp.float32), FIELD)
    assert evaluate(FIELD, GRID).dtype == jnp.float64
    assert evaluate(single, GRID).dtype == jnp.float32


def test_two_keys_two_fields_one_key_one_field():
    again = ConditionalField(2, LOWER, UPPER, periodic=(True, False), width=16, depth=2, key=KEY)
    other = ConditionalField(2, LOWER, UPPER, width=16, depth=2, key=jax.random.key(4))
    np.testing.assert_array_equal(evaluate(again, GRID), evaluate(FIELD, GRID))
    assert np.max(np.abs(evaluate(other, GRID) - evaluate(FIELD, GRID))) > 1e-3


def test_a_box_that_does_not_fit_is_refused():
    with pytest.raises(InputError, match="2, 1 and 2 entries"):
        ConditionalField(2, LOWER, (1.0,), periodic=(True, False), key=KEY)
    with pytest.raises(InputError, match="one per axis"):
        ConditionalField(2, LOWER, UPPER, periodic=(True,), key=KEY)
    with pytest.raises(InputError, match="1 axes, the field's box has 2"):
        FIELD(Grid(lower=(0.0,), upper=(1.0,), cells=(4,)))
