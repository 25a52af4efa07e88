"""Penalties: their value against calculus, and what becomes of them in a loss."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from impindiff import Grid, InputError
from impindiff.steppers import RK4, HybridModel
from impindiff.training import (
    FitOptions,
    GaussianPrior,
    LevenbergMarquardt,
    SlowChange,
    TrajectoryLoss,
    fit,
)

GRID = Grid((0.0,), (1.0,), (2,))


class Drift(HybridModel):
    """u' = a + b t + c t^2, the polynomial a latent field."""

    grid: Grid
    coefficients: Array

    def latent(self, t):
        a, b, c = self.coefficients
        return jnp.stack([a + b * t + c * t**2, jnp.zeros(())])

    def tendency(self, t, u, latent):
        del t
        return latent[0] * jnp.ones_like(u)


def model(*coefficients: float) -> Drift:
    return Drift(GRID, jnp.asarray(coefficients))


def test_the_bend_of_a_parabola():
    """d^2/ds^2 (c T^2 s^2) = 2 c T^2 in one of two components."""
    penalty = SlowChange(weight=0.3, until=0.7)
    expected = 0.3 * (2 * 5.0 * 0.7**2) ** 2 / 2
    assert float(penalty(model(1.0, -2.0, 5.0))) == pytest.approx(expected, rel=1e-10)


def test_a_field_that_changes_linearly_costs_nothing():
    assert float(SlowChange(1.0, 0.7)(model(1.0, -2.0, 0.0))) < 1e-20


@pytest.fixture
def loss():
    return TrajectoryLoss(
        u0=jnp.zeros((1, 2)),
        times=(0.0, 1.0),
        values=jnp.ones((1, 1, 2)),
        observe=lambda u: u[1:],
        stepper=RK4(),
        dt=1.0,
        penalty=SlowChange(weight=2.0, until=1.0),
    )


def test_a_loss_is_misfit_and_penalty(loss):
    """u(1) = 0.5 + 2 / 3, where 1 was observed; the parabola's bend is 4."""

    def value(of_loss):
        return float(of_loss(model(0.5, 0.0, 2.0), of_loss.probe())[0])

    misfit = (0.5 + 2 / 3 - 1) ** 2
    assert value(dataclasses.replace(loss, penalty=None)) == pytest.approx(misfit)
    assert value(loss) == pytest.approx(misfit + 2.0 * 4.0**2 / 2)


def test_a_penalty_is_differentiated(loss):
    gradient = jax.grad(lambda m: loss(m, loss.probe())[0])(model(1.0, 0.0, 2.0)).coefficients
    # of the misfit by c, (u - 1) 2 / 3, and of the penalty, 2 * 2 c * 4 / 2
    np.testing.assert_allclose(gradient[2], (2 / 3) * 2 / 3 + 2.0 * 4 * 2.0, rtol=1e-10)


def test_levenberg_marquardt_refuses_a_penalty(loss):
    with pytest.raises(InputError, match="has a penalty"):
        LevenbergMarquardt().start(model(1.0, 0.0, 0.0), loss, model(1.0, 0.0, 0.0))


@pytest.fixture
def believed(loss):
    """c is believed to be 0, to a quarter; the data say that a + b / 2 + c / 3 is 1."""
    prior = GaussianPrior(lambda m: m.coefficients[2:], 0.25)
    return dataclasses.replace(loss, penalty=None, prior=prior)


def test_a_gaussian_prior_is_one_more_residual(believed):
    misfit, _ = believed.misfit(model(0.5, 0.0, 2.0), None)
    # in units of the observations' norm, as the misfit
    np.testing.assert_allclose(misfit[-1], 2.0 / 0.25 / np.sqrt(2))
    assert misfit.size == believed.values.size + 1


def test_levenberg_marquardt_weighs_data_against_the_belief(believed, tmp_path):
    """a alone can meet the data: then c is what is believed of it."""
    fitted = fit(
        model(0.5, 0.0, 2.0),
        believed,
        LevenbergMarquardt(),
        tmp_path,
        FitOptions(steps=12),
    )
    assert abs(float(fitted.model.coefficients[2])) < 1e-3
    assert fitted.final_loss < 1e-6


def test_levenberg_marquardt_ends_where_it_gains_little(believed, tmp_path):
    fitted = fit(
        model(0.5, 0.0, 2.0),
        believed,
        LevenbergMarquardt(damping=1.0, loss_tolerance=0.999),
        tmp_path,
        FitOptions(steps=12),
    )
    assert fitted.steps < 6


class Shifted(eqx.Module):
    """Takes a model to one whose u0 is its own, 0.25."""

    def __call__(self, of):
        return of, jnp.full((1, 2), 0.25)


def test_the_model_may_bring_its_own_initial_state(loss):
    plain = dataclasses.replace(loss, penalty=None)
    shifted = dataclasses.replace(plain, prepare=Shifted())
    found = [float(of.misfit(model(0.5, 0.0, 0.0), None)[1].u[-1, 0, 0]) for of in (plain, shifted)]
    np.testing.assert_allclose(found, [0.5, 0.75])
