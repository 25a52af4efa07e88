"""The posterior: exact for linear models, and the spread of repeated fits for others."""

import dataclasses
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.inference import flat_parameters, laplace
from impindiff.problem import closure_curves
from impindiff.training import Ensemble, GaussianPrior, TrajectoryLoss

TIMES = np.linspace(0.0, 1.0, 11)


class Sources(ipd.HybridModel):
    """du/dt = source: linear in its parameters, each of which the data see alone."""

    source: jax.Array

    def tendency(self, t, u, latent):
        return self.source + 0.0 * u


def loss_of(model: Any, values: Any, **more: Any) -> TrajectoryLoss:
    return TrajectoryLoss(
        u0=jnp.zeros((1, model.source.size)),
        times=tuple(TIMES.tolist()),
        values=values,
        observe=lambda u: u[1:],
        stepper=ipd.BackwardEuler(),
        dt=0.1,
        **more,
    )


def data(source: Any, deviation: float, seed: int = 0) -> Any:
    exact = TIMES[1:, None, None] * np.asarray(source)
    noise = np.random.default_rng(seed).standard_normal(exact.shape)
    return jnp.asarray(exact + deviation * noise)


def test_given_errors_make_the_exact_posterior_of_a_linear_model():
    """u = t p: the variance of p is sigma^2 / sum t^2; that of u(t) is t^2 times it."""
    source, sigma = jnp.array([1.0, -2.0, 0.5]), 0.1
    values = data(source, sigma)
    model = Sources(source)
    loss = loss_of(model, values, weights=jnp.full(values.shape, 1 / sigma))
    found = laplace(model, loss, errors="given")
    expected = sigma**2 / np.sum(TIMES**2)
    np.testing.assert_allclose(found.covariance, expected * np.eye(3), rtol=1e-8, atol=1e-12)
    assert found.error_scale == 1.0
    forecast = found.standard_deviation(lambda m: 3.0 * m.source)
    np.testing.assert_allclose(forecast, 3.0 * np.sqrt(expected), rtol=1e-8)


@pytest.mark.slow
def test_without_given_errors_their_size_is_estimated():
    source, sigma = jnp.ones(40), 0.3
    values = data(source, sigma)
    model = Sources(jnp.asarray(np.einsum("t,ts->s", TIMES[1:], values[:, 0]) / np.sum(TIMES**2)))
    found = laplace(model, loss_of(model, values))
    assert found.error_scale == pytest.approx(sigma, rel=0.12)  # of 360 degrees of freedom
    assert found.to_minimum is not None
    np.testing.assert_allclose(found.to_minimum, 0.0, atol=1e-12)


@pytest.mark.slow
def test_a_fit_away_from_the_minimum_knows_how_far():
    source = jnp.array([1.0, -2.0])
    model = Sources(source + jnp.array([0.25, 0.0]))
    found = laplace(model, loss_of(model, data(source, 0.0)), errors="given")
    change = found.change_to_minimum(lambda m: {"twice": 2 * m.source})
    np.testing.assert_allclose(change["twice"], [-0.5, 0.0], atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("as_residuals", [True, False])
def test_a_prior_adds_its_precision(as_residuals):
    source, sigma, tau = jnp.array([1.0, -2.0]), 0.5, 0.1
    values = data(source, sigma)
    model = Sources(source)
    weights = jnp.full(values.shape, 1 / sigma)
    prior = GaussianPrior(lambda m: m.source, tau)
    if as_residuals:
        found = laplace(model, loss_of(model, values, weights=weights, prior=prior), errors="given")
    else:
        loss = loss_of(model, values, weights=weights)
        found = laplace(model, loss, errors="given", prior_deviation=tau)
    expected = 1 / (np.sum(TIMES**2) / sigma**2 + 1 / tau**2)
    np.testing.assert_allclose(found.covariance, expected * np.eye(2), rtol=1e-8, atol=1e-12)


@pytest.mark.slow
def test_the_randomised_posterior_of_many_parameters_is_that_of_the_whole_matrix():
    source, sigma, tau = jnp.sin(jnp.arange(600.0)), 0.1, 0.3
    # the data see 50 parameters; the others keep the prior's deviation
    values = data(source[:50], sigma)
    model = Sources(source)
    weights = jnp.full(values.shape, 1 / sigma)
    loss = dataclasses.replace(
        loss_of(model, values, weights=weights), observe=lambda u: u[1:, :, :50]
    )
    found = laplace(model, loss, errors="given", prior_deviation=tau)
    deviations = found.standard_deviation(lambda m: m.source)
    seen = 1 / np.sqrt(np.sum(TIMES**2) / sigma**2 + 1 / tau**2)
    # of 200 draws
    np.testing.assert_allclose(deviations[:50], seen, rtol=0.25)
    np.testing.assert_allclose(np.mean(deviations[:50]), seen, rtol=0.03)
    np.testing.assert_allclose(np.mean(deviations[50:]), tau, rtol=0.03)
    with pytest.raises(InputError, match="known for up to 500 parameters; the model has 600"):
        found.change_to_minimum(lambda m: m.source)


@pytest.mark.slow
def test_draws_have_the_posteriors_covariance():
    source = jnp.array([1.0, -2.0])
    model = Sources(source)
    values = data(source, 0.1)
    loss = loss_of(model, values, weights=jnp.full(values.shape, 10.0))
    found = laplace(model, loss, errors="given")
    drawn = np.stack([flat_parameters(m).values for m in found.draws(jax.random.key(0), 2000)])
    np.testing.assert_allclose(drawn.mean(axis=0), source, atol=0.01)
    np.testing.assert_allclose(np.cov(drawn.T), found.covariance, rtol=0.15, atol=3e-4)


@pytest.mark.slow
def test_the_room_is_reached_by_the_packages_name():
    code = "import impindiff as ipd; ipd.inference.laplace"  # in a process that imported nothing
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)


def test_a_loss_with_a_penalty_is_refused():
    model = Sources(jnp.ones(2))
    loss = loss_of(model, data(model.source, 0.1), penalty=lambda m: jnp.sum(m.source**2))
    with pytest.raises(InputError, match="laplace: the loss has a penalty"):
        laplace(model, loss)


@pytest.mark.slow
def test_curves_of_laws_have_the_errors_of_the_posterior_or_of_the_members():
    source, sigma = jnp.array([1.0, -2.0, 0.5]), 0.1
    values = data(source, sigma)
    loss = loss_of(Sources(source), values, weights=jnp.full(values.shape, 1 / sigma))
    x = np.linspace(0.0, 2.0, 5)

    def laws(model):
        return {"line": model.source[0] + model.source[1] * x, "point": model.source[2] + 0 * x}

    fitted: Any = SimpleNamespace(model=Sources(source))
    line, point = closure_curves(laws, x, "x (m)", fitted, loss, truths={"line": 1 - 2 * x})
    deviation = laplace(fitted.model, loss).standard_deviation(laws)
    np.testing.assert_allclose(line.learned, 1 - 2 * x)
    curves: Any = line
    np.testing.assert_allclose(curves.truth, 1 - 2 * x)
    np.testing.assert_allclose(curves.standard_error, deviation["line"])
    assert (point.name, point.argument_label, point.truth) == ("point", "x (m)", None)
    assert closure_curves(laws, x, "x", fitted)[0].standard_error is None
    fitted.model = Ensemble.of([Sources(source), Sources(source + 2.0)])
    curves, _ = closure_curves(laws, x, "x", fitted, loss)
    np.testing.assert_allclose(curves.learned, 2 - x)
    np.testing.assert_allclose(curves.standard_error, np.sqrt(2) * (1 + x))
    with pytest.raises(InputError, match=r"closure 'line': learned has shape \(5,\)"):
        closure_curves(laws, x[:3], "x", fitted)
