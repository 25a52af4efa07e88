"""The Fourier neural operator: its symmetries, its spectral convolution, and that it learns."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from impindiff.errors import InputError
from impindiff.methods import FourierNeuralOperator, SequenceModel
from impindiff.methods._fno import SpectralConvolution

KEY = jax.random.key(1)


def network(axes, **changed):
    arguments = {"width": 4, "modes": 3, "layers": 2} | changed
    return FourierNeuralOperator(2, (True,) * axes, **arguments, key=KEY)


@pytest.mark.parametrize("cells", [(12,), (8, 11), (6, 7, 8)])
def test_shifted_features_give_the_shifted_increment(cells):
    fno = network(len(cells))
    features = jax.random.normal(jax.random.key(3), (2, *cells))
    shift, axes = tuple(range(1, len(cells) + 1)), tuple(range(len(cells)))
    moved = jnp.roll(features, shift, tuple(a + 1 for a in axes))
    apply = eqx.filter_jit(lambda fno, f: fno(f)[0][0])
    np.testing.assert_allclose(
        apply(fno, moved), jnp.roll(apply(fno, features), shift, axes), rtol=1e-9, atol=1e-12
    )


@pytest.mark.slow
def test_a_grid_twice_as_fine_gives_the_same_function():
    def features(n):
        x = 2 * np.pi * np.arange(n) / n
        x, y = np.meshgrid(x, x, indexing="ij")
        return jnp.asarray(np.stack([np.sin(x + y), 0.5 * np.cos(2 * x - y)]))

    fno = network(2, layers=3)
    (coarse,), (fine,) = fno(features(48))[0], fno(features(96))[0]
    assert float(jnp.std(coarse)) > 1e-4
    np.testing.assert_allclose(fine[::2, ::2], coarse, atol=1e-6 * float(jnp.std(coarse)))


def test_the_spectral_convolution_multiplies_each_mode_by_its_matrix():
    """A plane wave, positive and negative wavenumbers, against R_k written out."""
    modes, cells, width = (3, 2), (10, 8), 3
    layer = SpectralConvolution(width, modes, key=KEY)
    R = np.asarray(layer.weight[0] + 1j * layer.weight[1])
    amplitude = np.asarray([1.0, -0.5, 2.0])
    x, y = np.meshgrid(np.arange(10) / 10, np.arange(8) / 8, indexing="ij")
    for k, kept in [((2, 1), True), ((-2, 1), True), ((3, 1), False), ((1, 2), False)]:
        wave = np.exp(2j * np.pi * (k[0] * x + k[1] * y))
        expected = np.zeros((width, *cells))
        if kept:
            matrix = R[:, :, k[0] + modes[0] - 1, k[1]]
            expected = np.real((matrix @ amplitude)[:, None, None] * wave)
        found = layer(jnp.asarray(amplitude[:, None, None] * np.real(wave)))
        np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.slow
def test_axes_that_are_not_periodic_do_not_wrap_around():
    """On the padded domain a neighbour across the edge is far: the answer to a shift differs."""
    features = jax.random.normal(jax.random.key(3), (2, 12))
    moved = jnp.roll(features, 1, 1)
    differences = []
    for periodic in (True, False):
        fno = FourierNeuralOperator(2, (periodic,), width=4, modes=3, layers=2, key=KEY)
        (found,), (of_moved,) = fno(features)[0], fno(moved)[0]
        differences.append(float(jnp.max(jnp.abs(of_moved - jnp.roll(found, 1)))))
        assert found.shape == (12,)
    assert differences[0] < 1e-12 < 1e-5 < differences[1]


@pytest.mark.slow
def test_it_learns_the_heat_equation():
    """The map over an interval, from twenty fields, judged on ten others by three steps of it."""
    cells, rate = 32, 0.02
    k = np.fft.rfftfreq(cells, 1 / cells)

    def heat(u, t):
        return np.fft.irfft(np.fft.rfft(u) * np.exp(-rate * k**2 * t), cells)

    rng = np.random.default_rng(0)
    x = 2 * np.pi * (np.arange(cells) + 0.5) / cells
    waves = np.stack([f(m * x) for m in range(1, 5) for f in (np.sin, np.cos)])
    first = rng.normal(size=(30, 8)) @ waves / 2
    u0, u1 = jnp.asarray(first), jnp.asarray(heat(first, 5.0))
    model = SequenceModel(
        FourierNeuralOperator(4, (True,), width=16, modes=6, layers=2, key=KEY),
        (0.0, 5.0),
        (True,),
        (cells,),
    )
    steps = 400
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, steps))
    parameters, static = eqx.partition(model, eqx.is_inexact_array)

    def loss(parameters):
        found = eqx.combine(parameters, static)(u0[:20], (0.0, 5.0))[1]
        return jnp.sum((found - u1[:20]) ** 2) / jnp.sum(u1[:20] ** 2)

    @jax.jit
    def train(parameters):
        def step(carry, _):
            parameters, state = carry
            updates, state = optimizer.update(jax.grad(loss)(parameters), state)
            return (optax.apply_updates(parameters, updates), state), None

        return jax.lax.scan(step, (parameters, optimizer.init(parameters)), length=steps)[0][0]

    trained = eqx.combine(train(parameters), static)
    truth = np.stack([heat(first[20:], 5.0 * n) for n in (1, 3)])

    def error(model):
        found = model(u0[20:], (0.0, 5.0, 15.0))[1:]
        return np.linalg.norm(found - truth, axis=(1, 2)) / np.linalg.norm(truth, axis=(1, 2))

    before, after = error(model), error(trained)
    assert (before > 0.3).all()
    assert (after < 0.05).all()


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"modes": (2, 2)}, "one for each of 1 axes"),
        ({"modes": 0}, "modes = 0; expected at least 1"),
        ({"width": 0}, "width = 0"),
        ({"layers": 0}, "layers = 0"),
    ],
)
def test_what_cannot_be_built_is_refused(changed, message):
    with pytest.raises(InputError, match=message):
        network(1, **changed)


def test_a_grid_too_coarse_for_the_modes_is_refused():
    with pytest.raises(
        InputError, match="3 modes along axis 0, which has 5 cells; expected at most 2"
    ):
        network(1)(jnp.zeros((2, 5)))
