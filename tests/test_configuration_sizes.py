"""Sizes that no machine has are refused by their keys, and nothing is made to find out."""

import resource
import time

import jax
import pytest

from impindiff.errors import InputError
from impindiff.experiment import prepare
from impindiff.experiment.sizes import require_problem_fits
from impindiff.problems import PROBLEMS
from impindiff.problems.advection_diffusion import AdvectionDiffusionSteady
from impindiff.settings import load_configuration

STEADY, VAPOR = "advection_diffusion_steady", "vapor_infiltration_closure"
TOO_LARGE = [
    (STEADY, "grid.cells=[1000000000, 1000000000]", "lower grid.cells"),
    (STEADY, "grid.cells=[20000, 20000]", "lower grid.cells"),
    (STEADY, "grid.cells=[5000, 5000, 5000]", "lower grid.cells"),
    (STEADY, "grid.lower=[-1e6, -1e6]", "bring grid.lower and grid.upper closer"),
    (STEADY, "field.width=1000000000", "field.width"),
    (STEADY, "forecast.every=1e-9", "raise forecast.every"),
    (STEADY, "forecast.every=1e-300", "raise forecast.every"),
    (STEADY, "forecast.until=1e300", "lower forecast.until"),
    (STEADY, "truth.dt=1e-12", "raise truth.dt"),
    (STEADY, "stepper.dt=1e-12", "take longer steps"),
    (STEADY, "truth.training_samples=1000000000", "lower truth.training_samples"),
    (STEADY, "training.ensemble=10000", "of memory"),
    (STEADY, "stepper={name: kencarp3, adaptive: {max_steps: 1000000000}}", "max_steps"),
    (VAPOR, "refine=100000", "lower refine"),
    (VAPOR, "substeps=1000000000000", "lower substeps"),
    (VAPOR, "grid.cells=[1000000000]", "lower grid.cells"),
    ("burgers_public", "grid.cells=1000000000000", "lower grid.cells"),
    ("burgers_public", "forecast.every=1e-12", "raise forecast.every"),
]


@pytest.mark.parametrize(("name", "override", "words"), TOO_LARGE)
def test_what_no_machine_has(name, override, words):
    settings = load_configuration(PROBLEMS[name].settings, [], [override])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    with pytest.raises(InputError, match="of memory, this machine has") as refusal:
        require_problem_fits(PROBLEMS[name], settings)
    assert words in str(refusal.value)
    assert time.perf_counter() - start < 10
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


@pytest.mark.parametrize(
    "method", ["{name: fno, width: 1000000}", "{name: conv_lstm, kernel: 1000001}"]
)
def test_a_black_box_that_no_machine_has(method):
    """Its inputs are known once the data are; the network is not made."""
    small = ["grid.cells=[8, 4]", "truth.dt=0.01", "forecast.every=0.05"]
    settings = load_configuration(PROBLEMS[STEADY].settings, [], [f"method={method}", *small])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(InputError, match="of memory, this machine has") as refusal:
        prepare(PROBLEMS[STEADY], settings)
    assert "those of method" in str(refusal.value)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000  # kB


class Selecting(AdvectionDiffusionSteady):
    def model(self, settings, key):
        weights = jax.random.normal(key, (8,))
        assert weights[weights > -9].shape == (8,)  # not known while JAX traces it
        return super().model(settings, key)


def test_a_model_that_cannot_be_traced_is_not_looked_at():
    small = ["grid.cells=[8, 4]", "truth.dt=0.01", "forecast.every=0.05"]
    settings = load_configuration(Selecting.settings, [], small)
    assert prepare(Selecting(), settings).observations.times[-1] > 0


@pytest.mark.parametrize("name", PROBLEMS)
def test_what_is_shipped_fits(name):
    require_problem_fits(PROBLEMS[name], load_configuration(PROBLEMS[name].settings, [], []))
    require_problem_fits(PROBLEMS[name], load_configuration(PROBLEMS[name].settings, [], []), 5.0)


@pytest.mark.parametrize(
    "override",
    [
        "seed=9223372036854775808",
        "seed=4294967296",
        "seed=-1",
        "observations.seed=9223372036854775807",
        "training.steps=" + "9" * 400,
        "training.steps=" + "9" * 5000,
        "field.depth=1000000000",
        "training.restarts=1000000000",
        "training.ensemble=1000000000",
        "adjoint.terms=1000000000",
        "stepper.max_halvings=1000000000",
        "forecast.until=.inf",
        "stepper.dt=.nan",
        "grid.cells=[1e9, 1e9]",
    ],
)
def test_numbers_that_no_key_takes(override):
    with pytest.raises(InputError) as refusal:
        load_configuration(PROBLEMS[STEADY].settings, [], [override])
    assert override.partition("=")[0] in str(refusal.value)
    assert len(str(refusal.value)) < 300 + len(override)
