"""Second-order optimisers, uncertainty, and training steps that needed smaller steps."""

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
import optax
import optimistix
import pytest
from power_decay import POWER, RATE, TIMES, PowerDecay, model

import impindiff as ipd
from impindiff.inference import standard_errors
from impindiff.training import (
    Callbacks,
    FitOptions,
    LevenbergMarquardt,
    TrainingError,
    TrajectoryLoss,
    fit,
    lbfgs,
    value_and_jacobian,
)
from impindiff.training.history import read


def loss(noise=0.0, seed=0, **stepper):
    u0 = np.linspace(1.0, 3.0, 8)[None]
    truth = model(np.log(RATE), POWER)
    exact = np.asarray(ipd.rollout(truth, u0, TIMES, dt=0.01).u[1:])
    values = exact + noise * np.random.default_rng(seed).normal(size=exact.shape)
    return TrajectoryLoss(
        u0=jnp.asarray(u0),
        times=TIMES,
        values=jnp.asarray(values),
        observe=lambda u: u[1:],
        stepper=ipd.CrankNicolson(**stepper),
        dt=0.01,
    )


def found(m: PowerDecay) -> dict[str, Any]:
    return {"rate": jnp.exp(m.a), "power": m.p}


def train(folder, optimizer, steps=40, of_loss=None, *, resume=False):
    told = Callbacks(identified=lambda m: {name: float(value) for name, value in found(m).items()})
    return fit(
        model(),
        of_loss or loss(),
        optimizer,
        folder,
        FitOptions(steps=steps, log_every=1, save_every=1),
        callbacks=told,
        resume=resume,
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lbfgs", "levenberg_marquardt"])
def test_both_numbers_are_found_to_many_digits(name, tmp_path):
    optimizer = lbfgs() if name == "lbfgs" else LevenbergMarquardt()
    fitted = train(tmp_path, optimizer, steps=25)
    assert float(jnp.exp(fitted.model.a)) == pytest.approx(RATE, rel=1e-5)
    assert float(fitted.model.p) == pytest.approx(POWER, rel=1e-5)
    records = read(tmp_path / "history.jsonl")
    assert records[-1]["step"] == fitted.steps
    assert records[-1]["identified"]["power"] == pytest.approx(POWER, rel=1e-5)
    if name == "levenberg_marquardt":
        assert fitted.steps < 15  # it ends once converged
        losses = [record["loss"] for record in records]
        assert losses == sorted(losses, reverse=True)


@pytest.mark.slow
def test_a_trial_is_resumed_to_the_bit_and_a_finished_run_does_nothing(tmp_path):
    whole = train(tmp_path / "whole", LevenbergMarquardt())
    train(tmp_path / "cut", LevenbergMarquardt(), steps=3)
    resumed = train(tmp_path / "cut", LevenbergMarquardt(), resume=True)
    assert (resumed.model.a, resumed.model.p) == (whole.model.a, whole.model.p)
    assert resumed.steps == whole.steps
    assert train(tmp_path / "cut", LevenbergMarquardt(), resume=True).steps == whole.steps


def test_many_columns_of_a_jacobian_are_those_of_one_pass():
    rng = np.random.default_rng(0)
    A, x = jnp.asarray(rng.normal(size=(7, 70))), jnp.asarray(rng.normal(size=70))

    def function(x):
        return jnp.tanh(A @ x), jnp.sum(x)

    value, jacobian, total = value_and_jacobian(function, x)
    np.testing.assert_allclose(value, jnp.tanh(A @ x))
    np.testing.assert_allclose(jacobian, (1 - value**2)[:, None] * A, atol=1e-12)
    np.testing.assert_allclose(total, jnp.sum(x))


@pytest.mark.slow
def test_the_standard_errors_are_the_spread_of_repeated_fits(tmp_path):
    level, repeats = 0.01, 8
    fits = []
    for seed in range(repeats):
        noisy = loss(level, seed)
        fits.append(train(tmp_path / str(seed), LevenbergMarquardt(), of_loss=noisy))
    errors = standard_errors(found, fits[0].model, loss(level, 0))
    known = standard_errors(found, fits[0].model, loss(level, 0), fits[0].linearization)
    for name in ("rate", "power"):
        spread = np.std([float(found(m)[name]) for m in (f.model for f in fits)], ddof=1)
        assert float(known[name]) == pytest.approx(float(errors[name]), rel=1e-6)
        assert 0.4 < float(errors[name]) / spread < 2.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("optimizer", "steps", "converged"),
    [
        (LevenbergMarquardt(), 40, True),
        (LevenbergMarquardt(), 3, False),
        # trials so damped that none can change anything: given up, which is no convergence
        (LevenbergMarquardt(damping=1e11, tolerance=0.0), 40, False),
        (optimistix.BFGS(rtol=1e-6, atol=1e-6), 60, True),
        (optimistix.BFGS(rtol=1e-6, atol=1e-6), 3, False),
        (lbfgs(), 5, None),
        (optax.adam(1e-2), 3, None),
    ],
)
def test_an_optimiser_with_a_criterion_says_if_it_converged(optimizer, steps, converged, tmp_path):
    assert train(tmp_path, optimizer, steps).converged is converged


@pytest.mark.slow
def test_a_loss_that_a_loose_solver_blurs_is_seen_to_be_at_its_minimum(tmp_path):
    """Trials then differ by less than the tolerance of the solver, and are all rejected."""
    blurred = loss(0.05, solver=ipd.NewtonKrylov(rtol=1e-5))
    fitted = train(tmp_path, LevenbergMarquardt(tolerance=0.0), of_loss=blurred)
    assert fitted.converged
    assert fitted.steps < 15


def test_too_many_parameters_are_refused(tmp_path):
    wide = dataclasses.replace(model(), a=jnp.zeros(300))
    with pytest.raises(ipd.InputError, match=r"at most 200 parameters, the model has 301"):
        fit(wide, loss(), LevenbergMarquardt(), tmp_path, FitOptions(steps=1))


@pytest.mark.slow
def test_a_failed_solve_is_halved_in_training(tmp_path):
    def coarse(max_halvings):
        solver = ipd.NewtonKrylov(max_iterations=2, rtol=1e-6, line_search=False)
        stepper = ipd.BackwardEuler(solver=solver, max_halvings=max_halvings)
        return dataclasses.replace(loss(), stepper=stepper, dt=0.25)

    def start(folder, max_halvings):
        of_loss = coarse(max_halvings)
        return fit(model(1.5, 3.0), of_loss, LevenbergMarquardt(), folder, FitOptions(steps=1))

    with pytest.raises(TrainingError, match="the rollout failed at step 1 of 3"):
        start(tmp_path / "whole", 0)
    assert np.isfinite(start(tmp_path / "parts", 7).final_loss)


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [ipd.Binomial(2), ipd.Segments(3), ipd.ForBudget(200)])
def test_the_standard_errors_do_not_depend_on_the_checkpointing(schedule):
    stored = standard_errors(found, model(), loss(noise=0.01))
    spare = dataclasses.replace(loss(noise=0.01), checkpointing=schedule)
    assert standard_errors(found, model(), spare) == stored
