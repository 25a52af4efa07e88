import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.observations import Sensors, add_noise


def test_sensors_read_the_cells_they_stand_on():
    x, y = np.arange(6.0), 10.0 * np.arange(4.0)
    u = x[:, None] + y[None, :]
    sensors = Sensors((6, 4), 7, seed=3)
    np.testing.assert_array_equal(sensors(u), sensors.positions([x, y]).sum(axis=-1))
    assert len(np.unique(sensors.positions([x, y]), axis=0)) == 7


def test_leading_axes_are_kept_and_all_cells_are_the_default():
    u = np.random.default_rng(0).random((2, 3, 6, 4))
    assert Sensors((6, 4), 5)(u).shape == (2, 3, 5)
    np.testing.assert_array_equal(Sensors((6, 4))(u), u.reshape(2, 3, 24))
    assert Sensors((6, 4)).count == 24
    assert Sensors((6, 4)).positions([np.arange(6.0), np.arange(4.0)]).shape == (24, 2)


def test_as_many_sensors_as_cells_is_every_cell():
    u = np.random.default_rng(0).random((6, 4))
    np.testing.assert_array_equal(Sensors((6, 4), 24)(u), Sensors((6, 4))(u))


def test_sensors_are_fixed_by_their_seed():
    cells = np.arange(64 * 32).reshape(64, 32)
    first, again, other = (Sensors((64, 32), 128, seed)(cells) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_a_loss_through_sensors_has_gradient_at_the_sensors_only():
    sensors = Sensors((6, 4), 3)
    gradient = jax.jit(jax.grad(lambda u: jnp.sum(sensors(u) ** 2)))(jnp.ones((6, 4)))
    assert int((gradient != 0).sum()) == 3
    np.testing.assert_array_equal(sensors(gradient), 2.0)


@pytest.mark.parametrize("count", [0, -1, 25])
def test_a_count_that_does_not_fit_is_refused(count):
    with pytest.raises(InputError, match=rf"observations.sensors: {count} .* 6 x 4 = 24 cells"):
        Sensors((6, 4), count)


def test_an_array_of_another_grid_is_refused():
    with pytest.raises(InputError, match="trailing axes"):
        Sensors((6, 4), 3)(np.zeros((4, 6)))


def test_noise_has_the_given_share_of_each_fields_deviation():
    rng = np.random.default_rng(0)
    fields = np.array([1.0, 100.0])[:, None, None] * rng.standard_normal((2, 200, 100)) + 5.0
    noise = add_noise(fields, 0.05, seed=1, space_axes=2) - fields
    expected = 0.05 * fields.std(axis=(1, 2))
    np.testing.assert_allclose(noise.std(axis=(1, 2)), expected, rtol=0.02)
    np.testing.assert_allclose(noise.mean(axis=(1, 2)) / expected, 0.0, atol=0.03)
    assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.03


def test_noise_on_all_axes_takes_them_as_one_field():
    fields = np.array([1.0, 100.0])[:, None] * np.random.default_rng(0).standard_normal((2, 5000))
    noise = add_noise(fields, 0.1, seed=1) - fields
    np.testing.assert_allclose(noise.std(axis=1), 0.1 * fields.std(), rtol=0.05)


def test_noise_is_fixed_by_its_seed_and_leaves_its_input_alone():
    values = np.random.default_rng(0).random((10, 10))
    before = values.copy()
    first, again, other = (add_noise(values, 0.1, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(add_noise(values, 0.0, 1), values)


def test_noise_keeps_single_precision():
    assert add_noise(np.ones((3, 3), np.float32), 0.1, 0).dtype == np.float32


@pytest.mark.parametrize("level", [-0.1, float("nan"), float("inf")])
def test_a_level_that_is_no_fraction_is_refused(level):
    with pytest.raises(InputError, match=r"observations.noise: must be 0 or more"):
        add_noise(np.ones(3), level, 0)
