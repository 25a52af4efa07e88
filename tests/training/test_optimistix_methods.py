"""Minimisers and least-squares solvers of Optimistix in place of our optimisers."""

import dataclasses
import json
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import optimistix as optx
import pytest
from power_decay import POWER, RATE, TIMES, model

import impindiff as ipd
from impindiff.training import (
    Callbacks,
    FitOptions,
    TrainingError,
    TrajectoryLoss,
    fit,
    fit_ensemble,
)

METHODS = {
    "LevenbergMarquardt": optx.LevenbergMarquardt(rtol=1e-8, atol=1e-8),
    "IndirectLevenbergMarquardt": optx.IndirectLevenbergMarquardt(rtol=1e-8, atol=1e-8),
    "Dogleg": optx.Dogleg(rtol=1e-8, atol=1e-8),
    "GaussNewton": optx.GaussNewton(rtol=1e-8, atol=1e-8),
    "BFGS": optx.BFGS(rtol=1e-9, atol=1e-9),
    "LBFGS": optx.LBFGS(rtol=1e-9, atol=1e-9),
    "NelderMead": optx.NelderMead(rtol=1e-9, atol=1e-9),
    "OptaxMinimiser": optx.OptaxMinimiser(optax.adam(0.1), rtol=1e-9, atol=1e-9),
}


def loss(**changes: Any):
    u0 = np.linspace(1.0, 3.0, 8)[None]
    exact = ipd.rollout(model(np.log(RATE), POWER), u0, TIMES, dt=0.05).u[1:]
    whole = TrajectoryLoss(
        u0=jnp.asarray(u0),
        times=TIMES,
        values=exact,
        observe=lambda u: u[1:],
        stepper=ipd.CrankNicolson(),
        dt=0.05,
    )
    return dataclasses.replace(whole, **changes)


def train(folder, method, steps=400, start=None, of_loss=None, horizon=(), **given: Any):
    start, of_loss = start or model(), of_loss or loss()
    options = FitOptions(steps=steps, log_every=1, horizon=horizon)
    return fit(start, of_loss, method, folder, options, **given)


@pytest.mark.slow
@pytest.mark.parametrize("name", METHODS)
def test_each_finds_both_numbers_and_ends_by_itself(name, tmp_path):
    fitted = train(tmp_path, METHODS[name])
    assert fitted.steps < 400
    assert float(jnp.exp(fitted.model.a)) == pytest.approx(RATE, rel=1e-5)
    assert float(fitted.model.p) == pytest.approx(POWER, rel=1e-5)
    of_loss = loss()
    assert fitted.final_loss == pytest.approx(float(of_loss(fitted.model, of_loss.probe())[0]))


@pytest.mark.slow
def test_trials_are_those_of_optimistix_alone(tmp_path):
    method, of_loss = METHODS["LevenbergMarquardt"], loss()
    alone = optx.least_squares(lambda m, _: of_loss.misfit(m, None)[0], method, model())
    fitted = train(tmp_path, method)
    assert fitted.steps == int(alone.stats["num_steps"])
    np.testing.assert_allclose(fitted.model.a, alone.value.a, rtol=1e-10)
    np.testing.assert_allclose(fitted.model.p, alone.value.p, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["LevenbergMarquardt", "BFGS"])
def test_what_was_cut_short_is_resumed_to_the_bit(name, tmp_path):
    whole = train(tmp_path / "whole", METHODS[name])
    train(tmp_path / "cut", METHODS[name], steps=4)
    seen = []
    resumed = train(
        tmp_path / "cut", METHODS[name], resume=True, callbacks=Callbacks(show=seen.append)
    )
    assert seen[0].step == 5
    assert (resumed.steps, resumed.model.a, resumed.model.p) == (
        whole.steps, whole.model.a, whole.model.p,
    )  # fmt: skip
    lines = (tmp_path / "cut" / "history.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == list(range(1, whole.steps + 1))


@pytest.mark.slow
def test_an_ensemble_ends_where_its_members_do_alone(tmp_path):
    starts, method = [model(), model(0.5, 1.2)], METHODS["LevenbergMarquardt"]
    together = fit_ensemble(starts, loss(), method, tmp_path / "together", FitOptions(steps=60))
    for i, start in enumerate(starts):
        alone = train(tmp_path / str(i), method, start=start)
        assert float(together.model.members[i].p) == pytest.approx(float(alone.model.p), rel=1e-9)


@pytest.mark.slow
def test_a_horizon_that_grows_changes_nothing_of_the_state(tmp_path):
    fitted = train(tmp_path, METHODS["LevenbergMarquardt"], horizon=[(3, 0.4)])
    assert float(fitted.model.p) == pytest.approx(POWER, rel=1e-5)


@pytest.mark.slow
def test_no_trial_is_taken_whose_solve_fails(tmp_path):
    solver = ipd.NewtonKrylov(max_iterations=2, rtol=1e-6, line_search=False)
    stepper = ipd.BackwardEuler(solver=solver)
    of_loss = loss(stepper=stepper, dt=0.25, times=(0.0, 0.25, 0.5))
    values = ipd.rollout(model(0.0, 1.2), of_loss.u0, of_loss.times, dt=0.25).u[1:]
    of_loss = dataclasses.replace(of_loss, values=values)
    far = model(-6.0, 4.0)  # its first trial is too long for two Newton iterations
    fitted = train(tmp_path, optx.LevenbergMarquardt(1e-8, 1e-8), 30, far, of_loss)
    result = ipd.rollout(fitted.model, of_loss.u0, of_loss.times, stepper=stepper, dt=0.25)
    assert bool(jnp.all(result.stats.converged))
    with pytest.raises(TrainingError, match="training step 1: the rollout failed at step 1 of 2"):
        train(tmp_path / "failing", METHODS["BFGS"], 5, model(1.5, 3.0), of_loss)


def test_what_is_not_a_sum_of_squares_and_what_is_too_large(tmp_path):
    penalised = loss(penalty=lambda m: m.a**2)
    with pytest.raises(ipd.InputError, match=r"optimistix\.Dogleg minimises the misfit alone"):
        train(tmp_path, METHODS["Dogleg"], of_loss=penalised)
    assert train(tmp_path, METHODS["BFGS"], of_loss=penalised).final_loss > 1e-6
    wide = dataclasses.replace(model(), a=jnp.zeros(300))
    message = r"optimistix\.Dogleg is for at most 200 parameters, the model has 301"
    with pytest.raises(ipd.InputError, match=message):
        train(tmp_path, METHODS["Dogleg"], start=wide)
