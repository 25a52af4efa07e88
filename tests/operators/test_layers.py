"""A layer taken from a field and one put into it: each other's transpose, in any program."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from impindiff.operators._layers import put_layer, take_layer

SHAPE = (3, 4, 5)
LONG = (3, 700)  # rows that are put by branches in float64


@pytest.mark.few(6)
@pytest.mark.parametrize("shape", [SHAPE, LONG])
@pytest.mark.parametrize("along", [-2, -1])
@pytest.mark.parametrize("index", [0, 1, -1])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_values_and_transposes(shape, along, index, dtype):
    x = jax.random.normal(jax.random.key(0), shape, dtype)
    layer = take_layer(x, along, index)
    np.testing.assert_array_equal(layer, np.take(x, [index % shape[along]], along))
    field = put_layer(layer, along, index, shape[along])
    assert field.shape == shape
    assert field.dtype == x.dtype
    np.testing.assert_array_equal(take_layer(field, along, index), layer)
    assert float(jnp.sum(jnp.abs(field))) == pytest.approx(float(jnp.sum(jnp.abs(layer))), rel=1e-6)

    taken = jax.linear_transpose(lambda x: take_layer(x, along, index), x)(layer)[0]
    np.testing.assert_array_equal(taken, field)
    put = jax.linear_transpose(lambda v: put_layer(v, along, index, shape[along]), layer)(x)[0]
    np.testing.assert_array_equal(put, layer)


def test_derivatives_of_any_order_and_batches_along_any_axis():
    def both(x):
        x = jnp.asarray(x)
        first = take_layer(x, -1, 0)
        return put_layer(first**3, -1, -1, x.shape[-1]) * x

    x = jax.random.normal(jax.random.key(0), SHAPE)
    check_grads(both, (x,), order=2, modes=["fwd", "rev"])
    for axis in (0, 1):
        batched = jax.jit(jax.vmap(both, in_axes=axis, out_axes=axis))(x)
        one_by_one = [both(jnp.take(x, i, axis)) for i in range(SHAPE[axis])]
        np.testing.assert_array_equal(batched, jnp.stack(one_by_one, axis))


def test_neither_direction_sums_over_the_field():
    x = jnp.ones(SHAPE)
    put = jax.linear_transpose(lambda v: put_layer(v, -1, 0, SHAPE[-1]), jnp.ones((3, 4, 1)))
    text = jax.jit(put).lower(x).as_text()
    assert "reduce" not in text
    assert "slice" in text
