"""What a training step costs, and how many of them fit into a time."""

import importlib
import math

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.training import FitOptions, TrainingError, TrajectoryLoss, adam, fit, steps_within
from impindiff.training._compiled_step import compile_step, seconds_per_step
from impindiff.training._resources import require_step_fits


class Decay(ipd.HybridModel):
    grid: ipd.Grid
    rate: jax.Array

    def tendency(self, t, u, latent):
        return -self.rate * u


MODEL = Decay(ipd.Grid((0.0,), (1.0,), (4,)), jnp.asarray(1.0))
LOSS = TrajectoryLoss(
    u0=jnp.ones((1, 4)),
    times=(0.0, 0.1),
    values=0.8 * jnp.ones((1, 1, 4)),
    observe=lambda u: u[1:],
    stepper=ipd.BackwardEuler(),
    dt=0.05,
)
OPTIMIZER = adam("constant", 0.1, 10)


def test_temporary_memory_is_that_of_the_program():
    def step(x):
        # all products, of which nothing can be added up before they are sorted
        return jnp.sort(jnp.outer(x, x), axis=0) @ x

    for n in (100, 400):
        found = compile_step(step, jnp.ones(n)).temporary_mb
        assert found is not None
        # neither argument nor result, of n numbers each
        assert 1.0 <= found / (8 * n**2 / 1e6) < 5.0


def test_an_error_of_the_running_program_is_one_line_of_what_happened():
    def step(x):
        return eqx.error_if(x, x > 1, "a linear solver received\nnon-finite input\n\nand more")

    compiled = compile_step(step, jnp.asarray(1.0))
    assert compiled.advance(jnp.asarray(1.0)) == 1.0
    with pytest.raises(ipd.SolverError, match=r"^a linear solver received non-finite input$"):
        compiled.advance(jnp.asarray(2.0))


def test_the_pace_is_a_median_without_the_first():
    compiled = compile_step(lambda x: x + 1, jnp.ones(3))
    assert 0 < seconds_per_step(compiled, jnp.ones(3)) < 0.1


@pytest.mark.slow
def test_steps_fit_into_the_time_and_are_at_least_one_and_at_most_those_asked_for():
    assert steps_within(1e-9, MODEL, LOSS, OPTIMIZER, FitOptions(steps=50))[0] == 1
    assert steps_within(1e9, MODEL, LOSS, OPTIMIZER, FitOptions(steps=50))[0] == 50


@pytest.mark.slow
def test_steps_are_as_many_whole_ones_as_the_pace_allows(monkeypatch):
    module = importlib.import_module("impindiff.training._fit")
    monkeypatch.setattr(module, "seconds_per_step", lambda *_: 0.1)
    assert steps_within(0.75, MODEL, LOSS, OPTIMIZER, FitOptions(steps=50))[0] == 7


@pytest.mark.slow
def test_nothing_left_to_train_has_no_pace(tmp_path):
    fit(MODEL, LOSS, OPTIMIZER, tmp_path, FitOptions(steps=2))
    again = fit(MODEL, LOSS, OPTIMIZER, tmp_path, FitOptions(steps=2), resume=True)
    assert math.isnan(again.seconds_per_step)
    assert again.steps == 2


@pytest.mark.slow
def test_the_compiled_step_serves_the_training(tmp_path):
    options = FitOptions(steps=3)
    _, compiled = steps_within(1.0, MODEL, LOSS, OPTIMIZER, options)
    ahead = fit(MODEL, LOSS, OPTIMIZER, tmp_path / "a", options, compiled=compiled)
    own = fit(MODEL, LOSS, OPTIMIZER, tmp_path / "b", options)
    np.testing.assert_array_equal(ahead.model.rate, own.model.rate)
    assert ahead.compile_seconds == compiled.compile_seconds
    assert 0 < own.seconds_per_step < own.seconds
    assert own.temporary_mb == compiled.temporary_mb


def test_a_step_that_needs_more_memory_than_there_is_is_refused():
    require_step_fits(None)
    require_step_fits(1.0)
    with pytest.raises(TrainingError, match=r"1000000\.0 GB of temporary memory, this machine has"):
        require_step_fits(1e9)


@pytest.mark.slow
def test_weight_decay_pulls_towards_zero(tmp_path):
    decaying = adam("constant", 0.1, 10, weight_decay=1.0)
    plain = fit(MODEL, LOSS, OPTIMIZER, tmp_path / "a", FitOptions(steps=1)).model.rate
    decayed = fit(MODEL, LOSS, decaying, tmp_path / "b", FitOptions(steps=1)).model.rate
    assert float(plain - decayed) == pytest.approx(0.1 * 1.0, rel=1e-6)
