"""Built-in problems whose unknown field is a sum of modes with a prior that the data choose."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff import InputError
from impindiff.problems import get_problem
from impindiff.settings import load_configuration
from impindiff.training import MaternPrior

SMALL = (
    "grid.cells=[16, 8]",
    "truth={training_samples: 2, test_samples: 1, dt: 0.02}",
    "field={kind: modes, modes: 20}",
    "training.optimizer=empirical_bayes",
)


def settings_of(name, *more):
    return load_configuration(get_problem(name).settings, [], [*SMALL, *more])


def test_the_velocity_has_a_prior_for_each_component():
    problem = get_problem("advection_diffusion_steady")
    settings = settings_of(problem.name)
    model, prior = problem.model(settings, jax.random.key(0)), problem.prior(settings)
    assert isinstance(prior, MaternPrior)
    assert model.latent(jnp.asarray(0.0)).shape == (2, 16, 8)
    assert float(jnp.sum(jnp.exp(-2 * prior.log_weights(prior.hyperparameters())))) == (
        pytest.approx(2.0)  # a variance of 1 each
    )


def test_a_bounded_field_has_a_prior_before_its_bounds():
    problem = get_problem("burgers")
    settings = settings_of("burgers", "field.deviation=2")
    model = problem.model(settings, jax.random.key(0))
    prior = problem.prior(settings)
    assert isinstance(prior, MaternPrior)
    assert prior.features(model).shape == prior.log_weights(prior.hyperparameters()).shape
    assert prior.described()["deviation"] == pytest.approx(2.0)
    low, high = settings.physics.diffusivity_bounds
    np.testing.assert_allclose(model.latent(jnp.asarray(0.0)), (low + high) / 2)


def test_other_optimisers_leave_the_prior_out_and_networks_have_none():
    problem = get_problem("burgers")
    assert problem.prior(settings_of("burgers", "training.optimizer=lbfgs")) is None
    with pytest.raises(InputError, match=r"field\.width: does nothing with field\.kind=modes"):
        settings_of("burgers", "field.width=8")
