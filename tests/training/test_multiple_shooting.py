"""A long record in segments: the same problem, with fewer wrong solutions."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_decay import loss as decay_loss
from noisy_decay import model as decay
from noisy_decay import train

import impindiff as ipd
from impindiff.training import (
    FitOptions,
    LevenbergMarquardt,
    TrajectoryLoss,
    WithNodes,
    fit,
    multiple_shooting,
    split,
)
from impindiff.training._multiple_shooting import states_near

RATES = np.array([1.0, 0.5, 1.5, 0.6])
TIMES = tuple(np.linspace(0.0, 30.0, 61).tolist())


class LotkaVolterra(ipd.HybridModel):
    """Prey and predators: dx/dt = a x - b x y, dy/dt = -c y + d x y."""

    grid: ipd.Grid
    rates: jax.Array

    def tendency(self, t, u, latent):
        a, b, c, d = self.rates
        x, y = u["x"], u["y"]
        return {"x": a * x - b * x * y, "y": -c * y + d * x * y}


def populations(rates):
    return LotkaVolterra(ipd.Grid((0.0,), (1.0,), (2,)), jnp.asarray(rates))


def record(noise=0.05):
    u0 = {"x": jnp.array([[2.0, 3.0]]), "y": jnp.array([[1.0, 0.5]])}
    exact = ipd.rollout(populations(RATES), u0, TIMES, stepper=ipd.RK4(), dt=0.1).u
    both = np.stack([exact["x"][1:], exact["y"][1:]])
    values = both * (1 + noise * np.random.default_rng(0).normal(size=both.shape))
    return TrajectoryLoss(
        u0=u0,
        times=TIMES,
        values=jnp.asarray(values),
        observe=lambda u: jnp.stack([u["x"][1:], u["y"][1:]]),
        stepper=ipd.RK4(),
        dt=0.1,
    )


def test_one_segment_is_the_loss_of_one_rollout():
    plain = decay_loss()
    shooting, nodes = multiple_shooting(plain, decay(), 1)
    assert nodes.nodes == ()
    for found, expected in zip(
        shooting(nodes, shooting.probe()), plain(decay(), plain.probe()), strict=True
    ):
        assert jax.tree.all(jax.tree.map(lambda a, b: bool(jnp.all(a == b)), found, expected))


def test_without_defects_the_loss_the_states_and_the_statistics_are_those_of_one_rollout():
    plain = decay_loss()
    whole, result = plain(decay(), plain.probe())
    starts = [result.u[1], result.u[3]]
    shooting, nodes = multiple_shooting(plain, decay(), 3, nodes=starts)
    assert shooting.starts == (1, 3)
    found, joined = shooting(nodes, shooting.probe())
    assert float(found) == pytest.approx(float(whole), rel=1e-12)
    np.testing.assert_allclose(joined.u, result.u, rtol=1e-9)
    np.testing.assert_allclose(joined.step_times, result.step_times, rtol=1e-12)
    assert joined.stats.converged.shape == result.stats.converged.shape == shooting.probe().shape


def test_a_defect_counts_relative_to_the_size_of_the_nodes():
    plain = decay_loss()
    result = plain.trajectory(decay(), None)
    node = result.u[2]
    shooting, nodes = multiple_shooting(plain, decay(), 2, continuity=0.25, nodes=[node])
    moved = WithNodes(nodes.model, (node + 0.1,))
    misfit, _ = shooting.misfit(moved, None)
    assert len(misfit) == plain.values.size + node.size == shooting.number_of_residuals(moved)
    expected = 0.25 * 0.1**2 / float(np.mean(np.asarray(node) ** 2))
    assert float(jnp.sum(misfit[plain.values.size :] ** 2)) == pytest.approx(expected, rel=1e-9)


def test_nodes_start_at_what_was_measured_and_at_the_initial_state_elsewhere():
    whole = decay_loss()
    np.testing.assert_allclose(states_near(whole, decay())[1:], whole.values, rtol=1e-10)

    def doubled_first_cell(u):
        return 2 * u[1:, ..., 0]

    some = decay_loss(observe=doubled_first_cell, values=whole.values[..., 0])
    states = np.asarray(states_near(some, decay()))
    np.testing.assert_allclose(2 * states[1:, :, 0], some.values, rtol=1e-10)
    np.testing.assert_array_equal(states[..., 1:], np.broadcast_to(whole.u0[:, 1:], (5, 2, 2)))


@pytest.mark.slow
def test_clean_data_have_the_same_minimiser(tmp_path):
    clean = decay_loss(noise=0.0, dt=0.005)
    one = train(tmp_path / "one", LevenbergMarquardt(), 30, of_loss=clean).model
    shooting, start = multiple_shooting(clean, decay(), 2)
    two = train(tmp_path / "two", LevenbergMarquardt(), 30, start, shooting).model.model
    assert float(two.rate) == pytest.approx(float(one.rate), rel=1e-4)
    assert float(two.rate) == pytest.approx(2.0, rel=1e-3)


def test_validation_is_of_the_joined_rollout(tmp_path):
    training, validation = split(decay_loss(), decay(), 0.3)
    shooting, start = multiple_shooting(training, decay(), 2)
    fitted = train(tmp_path, optax.adam(0.05), 5, start, shooting, validation=validation)
    assert fitted.validation_loss is not None
    assert 0 < fitted.validation_loss < 1


@pytest.mark.slow
def test_a_long_oscillating_record_is_fitted_where_one_rollout_is_lost(tmp_path):
    start = populations(np.array([0.6, 0.9, 1.0, 0.9]))
    plain, options = record(), FitOptions(steps=80)
    single = fit(start, plain, LevenbergMarquardt(), tmp_path / "single", options)
    assert np.abs(np.asarray(single.model.rates) / RATES - 1).max() > 0.2
    shooting, nodes = multiple_shooting(plain, start, 12)
    found = fit(nodes, shooting, LevenbergMarquardt(), tmp_path / "many", options)
    np.testing.assert_allclose(found.model.model.rates, RATES, rtol=0.03)


def test_more_segments_than_times_are_refused():
    with pytest.raises(ipd.InputError, match=r"segments: 5 segments of 4 observed times"):
        multiple_shooting(decay_loss(), decay(), 5)


def test_a_few_sensors_are_no_start_for_segments():
    few = decay_loss(observe=lambda u: u[1:, :, 0], values=decay_loss().values[..., 0])
    with pytest.raises(ipd.InputError, match="8 values are seen of 24 numbers in the states"):
        multiple_shooting(few, decay(), 2)
    start = jnp.ones((2, 3))
    assert multiple_shooting(few, decay(), 2, nodes=[start])[1].nodes == (start,)
