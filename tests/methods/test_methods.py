"""Methods in place of a problem's model or solver: the same data, loss and run."""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.experiment import Experiment
from impindiff.inference import standard_errors
from impindiff.methods import method_of
from impindiff.methods._local_law import LocalLaw
from impindiff.problem import as_data
from impindiff.problems import get_problem
from impindiff.rollout import depends_on_time, failure_of
from impindiff.settings.configuration import load_settings, merged, without_useless

SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "test_samples": 1},
    "field": {"width": 8, "depth": 2},
    "training": {"steps": 2},
    "forecast": {"until": 0.1, "every": 0.05},
}
STEADY, DYNAMIC = "advection_diffusion_steady", "advection_diffusion_dynamic"
INFILTRATION = "vapor_infiltration_closure"
BLACK_BOXES: dict[str, dict[str, Any]] = {
    "fno": {"width": 4, "modes": 2, "layers": 1},
    "conv_lstm": {"hidden": 2, "kernel": 3},
}


def prepared(name=STEADY, **given) -> Experiment:
    problem = get_problem(name)
    small = {"grid": {"cells": [8]}} if name == INFILTRATION else SMALL
    given = without_useless(problem.settings, merged(small, given))
    settings = load_settings(problem.settings, given)
    return Experiment(problem, settings, as_data(problem.reference(settings), None))


def loss_of(experiment):
    return experiment.loss(), experiment.model(jax.random.key(0))


def value(loss, model):
    return float(loss(model, loss.probe())[0])


def fields_of(experiment):
    """Those of the data, (time, sample, *cells)."""
    return np.moveaxis(experiment.data.dataset["phi"].to_numpy(), 1, 0)


def test_diffrax_that_is_not_installed_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    monkeypatch.delitem(sys.modules, "impindiff.methods._diffrax_hybrid", raising=False)
    problem = get_problem(STEADY)
    settings = load_settings(problem.settings, {"method": {"name": "diffrax"}})
    with pytest.raises(
        InputError, match=r"needs that package: pip install 'impindiff\[baselines\]'"
    ):
        method_of(problem, settings, prepared().data)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["tsit5", "kvaerno5"])
def test_diffrax_gives_the_loss_and_gradient_of_short_implicit_steps(solver):
    exact: dict[str, Any] = {"stepper": {"name": "kencarp4", "dt": 0.005}}
    loss, model = loss_of(prepared(**exact))
    method = {"name": "diffrax", "solver": solver, "rtol": 1e-9, "atol": 1e-11}
    other, _ = loss_of(prepared(method=method))
    assert value(other, model) == pytest.approx(value(loss, model), rel=1e-6)

    def gradient(of):
        return eqx.filter_grad(lambda m: of(m, of.probe())[0])(model)

    ours, theirs = (jax.tree.leaves(gradient(of)) for of in (loss, other))
    scale = max(float(jnp.abs(leaf).max()) for leaf in ours)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)


@pytest.mark.slow
def test_diffrax_forecasts_where_the_field_changes_in_time():
    experiment = prepared(
        DYNAMIC,
        method={"name": "diffrax", "rtol": 1e-8, "atol": 1e-10},
        observations={"times": [0.05, 0.1]},
    )
    model = experiment.problem.true_model(experiment.settings)
    times = experiment.data.dataset["time"].to_numpy()
    (found,), failure = experiment.states(model, [0, 1, 2], times)
    assert failure is None
    np.testing.assert_allclose(found, fields_of(experiment), atol=5e-6)


@pytest.mark.slow
def test_diffrax_out_of_steps_is_a_failure_that_names_the_samples():
    experiment = prepared(method={"name": "diffrax", "max_steps": 1, "rtol": 1e-9})
    model = experiment.problem.true_model(experiment.settings)
    _, failure = experiment.states(model, [0, 1], np.array([0.0, 0.1]))
    assert failure is not None
    assert failure.code == "step_limit"
    assert "samples that failed: 0, 1" in str(failure)


@pytest.mark.slow
def test_diffrax_refuses_a_component_of_mass_zero():
    loss, model = loss_of(prepared(INFILTRATION, method={"name": "diffrax"}))
    with pytest.raises(InputError, match=r"has mass 0; give it mass"):
        loss.misfit(model, None)


@pytest.mark.slow
def test_a_local_law_depends_on_time_where_the_problems_field_does():
    experiment = prepared(method={"name": "local_law", "degree": 2})
    loss, model = loss_of(experiment)
    assert isinstance(model, LocalLaw)
    assert model.degree == 2
    assert not depends_on_time(model, jnp.zeros(()))
    gradient = eqx.filter_grad(lambda m: loss(m, loss.probe())[0])(model)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    assert experiment.latent_fields(model, np.zeros(1)) == {}
    dynamic = prepared(DYNAMIC, method={"name": "local_law"}, observations={"times": [0.05, 0.1]})
    assert depends_on_time(dynamic.model(jax.random.key(0)), jnp.zeros(()))


@pytest.mark.slow
def test_a_black_box_that_is_lost_says_from_when_and_where():
    experiment = prepared(method={"name": "fno"} | BLACK_BOXES["fno"])
    _, model = loss_of(experiment)
    model = jax.tree.map(lambda x: jnp.nan * x if eqx.is_inexact_array(x) else x, model)
    (found,), failure = experiment.states(model, [1, 2], np.array([0.0, 0.05, 0.1]))
    assert failure is not None
    assert failure.code == "not_finite"
    assert "t = 0 to 0.05), sample 0" in str(failure)
    np.testing.assert_array_equal(found[0], fields_of(experiment)[0, [1, 2]])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fno", "conv_lstm"])
@pytest.mark.parametrize("fit_to", ["next_observation", "trajectory"])
def test_black_boxes_see_the_observations_of_the_problem(name, fit_to):
    experiment = prepared(
        method={"name": name, "fit_to": fit_to} | BLACK_BOXES[name],
        observations={"times": [0.05, 0.1]},
    )
    loss, model = loss_of(experiment)
    seen = fields_of(experiment)[:, experiment.data.training]
    if fit_to == "trajectory":
        predicted = model(jnp.asarray(seen[0]), (0.0, 0.05, 0.1))[1:]
    else:
        predicted = model.next_observations(jnp.asarray(seen))
    expected = float(np.sum((predicted - seen[1:]) ** 2) / np.sum(seen[1:] ** 2))
    assert value(loss, model) == pytest.approx(expected, rel=1e-12)
    assert experiment.latent_fields(model, np.zeros(1)) == {}
    (forecast,), failure = experiment.states(model, [2], np.array([0, 0.1]))
    assert failure is None
    assert forecast.shape == (2, 1, 16, 8)


@pytest.mark.slow
def test_a_black_box_is_given_time_and_conditions_where_the_problem_has_them():
    dynamic = prepared(DYNAMIC, method={"name": "fno", "modes": 2}, observations={"times": [0.05]})
    assert dynamic.model(jax.random.key(0)).with_time
    experiment = prepared(
        INFILTRATION, method={"name": "fno", "fit_to": "trajectory"} | BLACK_BOXES["fno"]
    )
    loss, model = loss_of(experiment)
    assert len(model.condition_scales) == 1
    assert loss.prepare is not None
    own: Any
    own, u0 = loss.prepare(model)
    thicker = own.with_conditions(2 * own.conditions)
    ends = experiment.observations.times[:2]
    assert not np.allclose(own(u0, ends)["porosity"], thicker(u0, ends)["porosity"], atol=1e-12)


def test_fields_that_are_not_whole_are_no_start_for_the_next():
    method = {"name": "fno", "modes": 2, "fit_to": "next_observation"}
    experiment = prepared(method=method, observations={"sensors": 5})
    with pytest.raises(InputError, match=r"method\.fit_to: next_observation needs whole fields"):
        experiment.loss()
    # without being asked for they are not needed
    del method["fit_to"]
    assert prepared(method=method, observations={"sensors": 5}).loss().simulate is not None


def test_values_in_another_order_of_samples_are_no_whole_fields():
    """Points that form a grid may come in any order: of each time all of one sample first."""
    method = {"name": "fno", "fit_to": "next_observation"} | BLACK_BOXES["fno"]
    experiment = prepared(method=method)
    found = experiment.method.observations
    assert found.table is not None
    turned = dataclasses.replace(found.table, sample=1 - found.table.sample)
    vars(experiment.method)["observations"] = found._replace(table=turned)
    with pytest.raises(InputError, match="whole fields"):
        experiment.loss()


class TwoSpecies(ipd.HybridModel):
    grid: ipd.Grid
    rate: ipd.Parameter

    def tendency(self, t, u, latent):
        change = self.rate() * u["a"]
        return {"a": ipd.diffusion(u["a"], 0.01, self.grid) - change, "b": change}


class Reaction(ipd.Problem):
    """Two species at scattered points, of which a black box knows nothing but the values."""

    name = "reaction"

    def model(self, settings, key):
        return TwoSpecies(ipd.Grid((0.0,), (1.0,), (8,)), ipd.Parameter(1.0, lower=0.0))

    def initial_state(self, settings, model, data):
        return {"a": jnp.ones(8) + model.grid.centers[0], "b": jnp.zeros(8)}

    def data(self, settings):
        import xarray as xr

        rows = [(t, x, q) for t in (0.1, 0.2, 0.3) for x in (0.31, 0.62) for q in ("a", "b")]
        times, places, names = zip(*rows, strict=True)
        return xr.Dataset(
            {
                "time": ("observation", list(times)),
                "x": ("observation", list(places)),
                "quantity": ("observation", list(names)),
                "value": ("observation", [np.exp(-t) if q == "a" else t for t, _, q in rows]),
            }
        )


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"name": "fno", "fit_to": "trajectory"} | BLACK_BOXES["fno"],
        {"name": "conv_lstm", "fit_to": "trajectory"} | BLACK_BOXES["conv_lstm"],
        {"name": "local_law"},
        {"name": "diffrax"},
    ],
    ids=lambda method: method["name"],
)
def test_every_method_takes_several_quantities_at_scattered_points(method):
    problem = Reaction()
    settings = load_settings(ipd.ProblemSettings, {"method": method})
    experiment = Experiment(problem, settings, as_data(problem.data(settings), None))
    loss, model = loss_of(experiment)
    total, gradient = eqx.filter_value_and_grad(lambda m: loss(m, loss.probe(m))[0])(model)
    assert np.isfinite(float(total))
    moved = [leaf for leaf in jax.tree.leaves(gradient) if float(jnp.abs(leaf).max()) > 0]
    assert moved
    assert failure_of(loss.trajectory(model, None)) is None
    (found,), failure = experiment.states(model, [0], np.array([0.0, 0.3, 0.6]))
    assert failure is None
    assert {name: field.shape for name, field in found.items()} == {
        "a": (3, 1, 8),
        "b": (3, 1, 8),
    }


class InABall(Reaction):
    """The same along a stretched radius."""

    def model(self, settings, key):
        edges = ipd.grid.tanh(0.0, 1.0, 8)
        grid = ipd.Grid.from_edges((edges,), (ipd.Neumann(),), "spherical")
        return TwoSpecies(grid, ipd.Parameter(1.0, lower=0.0))


@pytest.mark.few(1)
@pytest.mark.parametrize("name", ["fno", "conv_lstm", "local_law", "hybrid"])
def test_emulators_need_equal_cells(name):
    problem = InABall()
    method = {"name": name} | BLACK_BOXES.get(name, {})
    if name in BLACK_BOXES:
        method["fit_to"] = "trajectory"
    settings = load_settings(ipd.ProblemSettings, {"method": method})
    experiment = Experiment(problem, settings, as_data(problem.data(settings), None))
    if name in BLACK_BOXES:
        with pytest.raises(InputError, match="needs equal cells, and the grid is spherical, axis"):
            loss_of(experiment)
        return
    loss, model = loss_of(experiment)
    assert np.isfinite(value(loss, model))


@pytest.mark.slow
def test_diffrax_gives_the_standard_errors_of_numbers():
    """It has no forward mode where it stores for reverse mode, and Jacobians need one."""
    errors = {}
    for name in ("hybrid", "diffrax"):
        given = {"grid": {"cells": 64}, "observations": {"points": 30}, "method": {"name": name}}
        problem = get_problem("burgers_public")
        settings = load_settings(problem.settings, given | {"training": {"optimizer": "adam"}})
        data = problem.reference(settings)
        settings = problem.configured(settings, data)
        loss, model = loss_of(Experiment(problem, settings, as_data(data, None)))
        errors[name] = standard_errors(problem.identified, model, loss)
    assert set(errors["diffrax"]) == {"lambda", "nu"}
    for number, expected in errors["hybrid"].items():
        np.testing.assert_allclose(errors["diffrax"][number], expected, rtol=0.02)
