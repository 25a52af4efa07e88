"""The problem `burgers`: its truth, its model and its loss fit each other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.experiment import prepare
from impindiff.problems import Burgers, get_problem
from impindiff.settings import load_configuration

SMALL = [
    "grid.cells=[24, 12]",
    "truth.training_samples=2",
    "truth.test_samples=1",
    "truth.dt=0.005",
    "observations.times=[0.05, 0.1]",
    "forecast.until=0.1",
    "field.width=8",
]


@pytest.mark.slow
def test_the_loss_is_zero_at_the_truth_but_for_the_step_and_not_elsewhere():
    problem = get_problem("burgers")
    experiment = prepare(problem, load_configuration(problem.settings, [], SMALL))
    truth = experiment.true_latent({"diffusivity": None})["diffusivity"]
    assert 1e-3 <= truth.min() < truth.max() <= 1e-2
    loss, fresh = experiment.loss(), experiment.model(jax.random.key(0))
    assert isinstance(fresh, Burgers)
    found = experiment.latent_fields(fresh, np.zeros(1))["diffusivity"]
    lower, upper = experiment.settings.physics.diffusivity_bounds
    assert found.shape == (24, 12)
    assert lower < found.min() < found.max() < upper

    value = jax.jit(lambda k: loss(Burgers(fresh.grid, k), loss.probe())[0])
    at_truth, elsewhere = value(jnp.asarray(truth)), value(jnp.asarray(found))
    assert at_truth < 1e-8
    assert elsewhere > 100 * at_truth


def test_bounds_the_wrong_way_round_are_refused():
    problem = get_problem("burgers")
    with pytest.raises(InputError, match="diffusivity_bounds"):
        load_configuration(problem.settings, [], ["physics.diffusivity_bounds=[0.1, 0.01]"])
