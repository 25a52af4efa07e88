"""The convolutional LSTM: the published equations, its symmetries, its memory."""

import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.methods import ConvLSTM, ConvLSTMCell
from impindiff.methods._conv_lstm import convolve

KEY = jax.random.key(4)


def convolve_plainly(weight, x, periodic):
    """Cell by cell, neighbour by neighbour."""
    kernel, cells = weight.shape[2:], x.shape[1:]
    y = np.zeros((weight.shape[0], *cells))
    for cell in itertools.product(*map(range, cells)):
        for offset in itertools.product(*map(range, kernel)):
            at = [c + o - k // 2 for c, o, k in zip(cell, offset, kernel, strict=True)]
            if any(
                not wraps and not 0 <= a < n
                for a, n, wraps in zip(at, cells, periodic, strict=True)
            ):
                continue
            neighbour = tuple(a % n for a, n in zip(at, cells, strict=True))
            y[(slice(None), *cell)] += (
                weight[(slice(None), slice(None), *offset)] @ x[(slice(None), *neighbour)]
            )
    return y


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("cells", "kernel", "periodic"),
    [
        ((7,), 5, (True,)),
        ((5,), 3, (False,)),
        ((4, 5), 3, (True, False)),
        ((3, 4, 3), 3, (False, True, True)),
    ],
)
def test_a_cell_is_the_published_equations(cells, kernel, periodic):
    inputs, hidden = 2, 3
    cell = ConvLSTMCell(inputs, hidden, kernel, periodic, key=KEY)
    rng = np.random.default_rng(6)
    bias, peephole = rng.normal(size=4 * hidden), rng.normal(size=(3, hidden))
    cell = eqx.tree_at(
        lambda c: (c.bias, c.peephole), cell, (jnp.asarray(bias), jnp.asarray(peephole))
    )
    x = rng.normal(size=(inputs, *cells))
    h, c = rng.normal(size=(2, hidden, *cells))

    weight = np.asarray(cell.weight)

    def one(values):
        return values.reshape(-1, *[1] * len(cells))

    w_i, w_f, w_c, w_o = np.split(weight, 4)
    b_i, b_f, b_c, b_o = map(one, np.split(bias, 4))
    p_i, p_f, p_o = map(one, peephole)

    def sees(w):
        on_x = convolve_plainly(w[:, :inputs], x, periodic)
        return on_x + convolve_plainly(w[:, inputs:], h, periodic)

    i = sigmoid(sees(w_i) + p_i * c + b_i)
    f = sigmoid(sees(w_f) + p_f * c + b_f)
    c_new = f * c + i * np.tanh(sees(w_c) + b_c)
    o = sigmoid(sees(w_o) + p_o * c_new + b_o)

    found = cell(jnp.asarray(x), (jnp.asarray(h), jnp.asarray(c)))
    np.testing.assert_allclose(found[0], o * np.tanh(c_new), rtol=1e-10)
    np.testing.assert_allclose(found[1], c_new, rtol=1e-10)


def test_fresh_cells_remember():
    """The bias of the forget gate is 1, all others 0, and the memory starts empty."""
    cell = ConvLSTMCell(2, 3, 3, (True,), key=KEY)
    np.testing.assert_array_equal(cell.bias.reshape(4, 3), [[0] * 3, [1] * 3, [0] * 3, [0] * 3])
    bound = 1 / np.sqrt((2 + 3) * 3)
    assert 0.9 * bound < float(jnp.max(jnp.abs(cell.weight))) <= bound
    assert all(float(jnp.max(jnp.abs(x))) == 0 for x in cell.start((6,)))


@pytest.mark.parametrize("cells", [(9,), (6, 5)])
def test_shifted_features_give_the_shifted_increment(cells):
    network = ConvLSTM(2, (True,) * len(cells), hidden=3, layers=2, key=KEY)
    first, second = jax.random.normal(jax.random.key(3), (2, 2, *cells))
    shift, axes = tuple(range(1, len(cells) + 1)), tuple(range(len(cells)))

    @eqx.filter_jit
    def two_steps(network, first, second):
        _, memory = network(first, network.start(first))
        return network(second, memory)[0][0]

    def moved(f):
        return jnp.roll(f, shift, tuple(a + 1 for a in axes))

    expected = jnp.roll(two_steps(network, first, second), shift, axes)
    found = two_steps(network, moved(first), moved(second))
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)
    # the second step remembers the first
    other = two_steps(network, 2 * first, second)
    assert float(jnp.max(jnp.abs(other - two_steps(network, first, second)))) > 1e-6


def test_an_increment_reaches_as_far_as_the_kernels():
    """Two layers of 3 cells: two cells to either side."""
    network = ConvLSTM(1, (True,), hidden=3, layers=2, key=KEY)
    flat = jnp.zeros((1, 11))
    memory = network.start(flat)
    answer = network(flat.at[0, 5].set(1.0), memory)[0] - network(flat, memory)[0]
    assert np.flatnonzero(np.abs(answer[0]) > 1e-12).tolist() == [3, 4, 5, 6, 7]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": 4}, "kernel = 4; expected an odd number"),
        ({"hidden": 0}, "hidden = 0; expected at least 1"),
        ({"layers": 0}, "layers = 0"),
    ],
)
def test_what_cannot_be_built_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        ConvLSTM(2, (True,), **changed, key=KEY)


def test_a_kernel_that_reaches_around_the_domain_is_refused():
    with pytest.raises(InputError, match="reaches around axis 0, which has 2; expected at most 5"):
        convolve(jnp.zeros((1, 1, 7)), jnp.zeros((1, 2)), (True,))
