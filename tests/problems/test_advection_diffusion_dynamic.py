"""The problem `advection_diffusion_dynamic`: its moving truth, its model and its loss."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.experiment import prepare
from impindiff.experiment._metrics import latent_errors
from impindiff.problems import AdvectionDiffusion, get_problem
from impindiff.problems.moving_waves import MovingWaves
from impindiff.problems.random_fields import random_waves
from impindiff.settings import load_configuration

BOX = ((-1.0, 0.0), (1.0, 1.0))
SMALL = [
    "grid.cells=[24, 12]",
    "truth.training_samples=2",
    "truth.test_samples=1",
    "truth.dt=0.005",
    "observations.times=[0.05, 0.102]",
    "forecast.until=0.12",
    "forecast.every=0.04",
    "field.width=8",
    "field.time_order=2",
]


def test_moving_waves_against_their_formula():
    rng = np.random.default_rng(3)
    waves, rates = random_waves(5, 3, *BOX, (16, 8), rng), rng.uniform(-1, 1, 5)
    t = 0.37
    x, y = np.meshgrid(*waves.centers((16, 8)), indexing="ij")
    each = [
        a * np.sin(2 * np.pi * (k[0] * (x + 1) / 2 + k[1] * y + rate * t) + phase)
        for a, k, phase, rate in zip(
            waves.amplitudes, waves.wavenumbers, waves.phases, rates, strict=True
        )
    ]
    expected = np.sum(each, axis=0)
    expected = (expected - expected.min()) / (expected.max() - expected.min())
    moving = MovingWaves.on_grid(waves, rates, (16, 8), (16, 8))
    np.testing.assert_allclose(moving(jnp.asarray(t)), expected, atol=1e-12)
    # at rest at t = 0, where they are the waves that were drawn
    np.testing.assert_allclose(moving(jnp.asarray(0.0)), waves.on_cells((16, 8)), atol=1e-12)
    # a refined grid samples the same function: four fine cells surround a coarse centre
    fine = MovingWaves.on_grid(waves, rates, (48, 24), (16, 8))(jnp.asarray(t))
    np.testing.assert_allclose(fine[1::3, 1::3], expected, atol=1e-12)


@pytest.fixture(scope="module")
def experiment():
    problem = get_problem("advection_diffusion_dynamic")
    return prepare(problem, load_configuration(problem.settings, [], SMALL))


def test_the_truth_changes_in_time_and_is_stored_at_every_time(experiment, tmp_path):
    data = experiment.data.dataset
    np.testing.assert_allclose(data["time"], [0, 0.04, 0.05, 0.08, 0.102, 0.12])
    velocity = experiment.true_latent({"velocity_x": None})["velocity_x"]
    assert velocity.shape == (6, 24, 12)
    np.testing.assert_allclose(velocity.min(axis=(1, 2)), 0, atol=1e-12)
    np.testing.assert_allclose(velocity.max(axis=(1, 2)), 1, atol=1e-12)
    assert np.abs(velocity[-1] - velocity[0]).mean() > 0.01
    ipd.data.write(data, tmp_path / "data.nc")
    read = ipd.data.read(tmp_path / "data.nc")
    np.testing.assert_array_equal(read["velocity_x"], velocity)


@pytest.mark.slow
def test_the_loss_is_zero_at_the_truth_but_for_the_step_and_not_elsewhere(experiment):
    """Coefficients at wrong times, half a step late say, would show."""
    loss, fresh = experiment.loss(), experiment.model(jax.random.key(0))
    assert isinstance(fresh, AdvectionDiffusion)
    truth = experiment.problem.true_velocity(experiment.settings, (24, 12))

    @jax.jit
    def value(late):
        model = AdvectionDiffusion(fresh.grid, lambda grid, t: truth(grid, t - late), 1e-3)
        return loss(model, loss.probe())[0]

    at_truth, half_a_step_late = float(value(0.0)), float(value(0.005))
    assert at_truth < 1e-7
    assert half_a_step_late > 10 * at_truth
    assert float(loss(fresh, loss.probe())[0]) > 1000 * at_truth


def test_metrics_of_a_field_that_changes_in_time(experiment):
    times = experiment.data.dataset["time"].to_numpy()
    model = experiment.model(jax.random.key(0))
    found = experiment.latent_fields(model, times)
    assert found["velocity_y"].shape == (6, 24, 12)
    again = model.latent(jnp.asarray(0.102))
    np.testing.assert_allclose(found["velocity_y"][4], again[1], atol=1e-12)
    errors = latent_errors(found, experiment.true_latent(found), times, space_axes=2)
    assert errors is not None
    at_each = dict(errors.error_vs_time["velocity_x"])
    assert list(at_each) == times.tolist()
    mean = errors.relative_l1_percent["velocity_x"] or 0.0
    assert mean == pytest.approx(np.mean(np.array(list(at_each.values()))))
    assert mean > 20
