"""What stands in place of a case's model or solver: the same data, loss and workflow."""

import dataclasses
import sys
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.baselines import with_method
from impindiff.baselines.emulator import EmulatorLoss
from impindiff.baselines.local_law import LocalLaw
from impindiff.cases import Data, get_case
from impindiff.cases.configuration import load_settings, merged, without_useless
from impindiff.errors import InputError
from impindiff.rollout import depends_on_time

SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "held_out_samples": 1},
    "field": {"width": 8, "depth": 2},
    "training": {"steps": 2},
    "forecast": {"until": 0.1, "every": 0.05},
}


def prepared(case_name="advection_diffusion_steady", **given):
    case = get_case(case_name)
    small = {"grid": {"cells": [8]}} if "infiltration" in case_name else SMALL
    given = without_useless(case.settings, merged(small, given))
    settings = load_settings(case.settings, given)
    case = with_method(case, settings)
    trajectories = case.reference(settings)
    held_out = case.held_out(settings)
    training = [i for i in range(len(trajectories.field)) if i not in held_out]
    return case, settings, Data(trajectories, training, held_out)


def loss_of(case, settings, data):
    loss = case.loss(settings, data)
    model = case.model(settings, jax.random.key(0))
    return loss, model


def value(loss, model):
    return float(loss(model, loss.probe())[0])


def test_the_method_itself_is_the_case_as_it_is():
    case = get_case("advection_diffusion_steady")
    assert with_method(case, case.settings()) is case


def test_diffrax_that_is_not_installed_is_asked_for(monkeypatch):
    monkeypatch.setitem(sys.modules, "diffrax", None)
    monkeypatch.delitem(sys.modules, "impindiff.baselines.diffrax_hybrid", raising=False)
    case = get_case("advection_diffusion_steady")
    settings = load_settings(case.settings, {"method": {"name": "diffrax"}})
    with pytest.raises(
        InputError, match=r"needs that package: pip install 'impindiff\[baselines\]'"
    ):
        with_method(case, settings)


@pytest.mark.parametrize("solver", ["tsit5", "kvaerno5"])
def test_diffrax_gives_the_loss_and_gradient_of_short_implicit_steps(solver):
    exact: dict[str, Any] = {"stepper": {"name": "kencarp4", "dt": 0.005}}
    loss, model = loss_of(*prepared(**exact))
    method = {"name": "diffrax", "solver": solver, "rtol": 1e-9, "atol": 1e-11}
    other, _ = loss_of(*prepared(method=method))
    assert value(other, model) == pytest.approx(value(loss, model), rel=1e-6)

    def gradient(of):
        return eqx.filter_grad(lambda m: of(m, of.probe())[0])(model)

    ours, theirs = (jax.tree.leaves(gradient(of)) for of in (loss, other))
    scale = max(float(jnp.abs(leaf).max()) for leaf in ours)
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5 * scale)


def test_diffrax_forecasts_where_the_field_changes_in_time():
    case, settings, data = prepared(
        "advection_diffusion_dynamic",
        method={"name": "diffrax", "rtol": 1e-8, "atol": 1e-10},
        observations={"times": [0.05, 0.1]},
    )
    model = case.true_model(settings)
    times = data.trajectories.times
    found, failure = case.forecast(settings, model, data.trajectories, [0, 1, 2], times)
    assert failure is None
    np.testing.assert_allclose(np.moveaxis(found, 0, 1), data.trajectories.field, atol=5e-6)


def test_diffrax_out_of_steps_is_a_failure_that_names_the_samples():
    case, settings, data = prepared(method={"name": "diffrax", "max_steps": 1, "rtol": 1e-9})
    model = case.true_model(settings)
    times = np.array([0.0, 0.1])
    _, failure = case.forecast(settings, model, data.trajectories, [0, 1], times)
    assert failure is not None
    assert failure.code == "step_limit"
    assert "tsit5 did not reach t = 0.1 in 1 steps" in str(failure)
    assert "[0, 1]" in str(failure)


def test_diffrax_refuses_a_component_without_inertia():
    case, settings, data = prepared(
        "vapor_infiltration_closure",
        method={"name": "diffrax"},
    )
    loss, model = loss_of(case, settings, data)
    with pytest.raises(InputError, match=r"no inertia.*physics\.storage"):
        loss.misfit(model, None)


def test_a_local_law_in_a_cases_place_depends_on_time_where_its_field_does():
    case, settings, data = prepared(method={"name": "local_law", "degree": 2})
    loss, model = loss_of(case, settings, data)
    assert isinstance(model, LocalLaw)
    assert model.degree == 2
    assert not depends_on_time(model, jnp.zeros(()))
    gradient = eqx.filter_grad(lambda m: loss(m, loss.probe())[0])(model)
    assert all(float(jnp.abs(leaf).max()) > 0 for leaf in jax.tree.leaves(gradient))
    assert case.latent_fields(model, data.trajectories.times) == {}
    dynamic = get_case("advection_diffusion_dynamic")
    settings = load_settings(dynamic.settings, merged(SMALL, {"method": {"name": "local_law"}}))
    model = with_method(dynamic, settings).model(settings, jax.random.key(0))
    assert depends_on_time(model, jnp.zeros(()))


def test_a_black_box_that_is_lost_says_from_when_and_where():
    small = {"name": "fno", "width": 4, "modes": 2, "layers": 1}
    case, settings, data = prepared(method=small)
    _, model = loss_of(case, settings, data)
    model = jax.tree.map(lambda x: jnp.nan * x if eqx.is_inexact_array(x) else x, model)
    found, failure = case.forecast(
        settings, model, data.trajectories, [1, 2], np.array([0.0, 0.05, 0.1])
    )
    assert failure is not None
    assert failure.code == "not_finite"
    assert str(failure) == "fno: the forecast is not finite from t = 0.05 on, sample 0"
    np.testing.assert_array_equal(found[0], data.trajectories.field[[1, 2], 0])


@pytest.mark.parametrize("name", ["fno", "conv_lstm"])
@pytest.mark.parametrize("fit_to", ["next_observation", "trajectory"])
def test_black_boxes_see_the_observations_of_the_case(name, fit_to):
    small = {"fno": {"width": 4, "modes": 2, "layers": 1}, "conv_lstm": {"hidden": 2, "kernel": 3}}
    observed = {"times": [0.05, 0.1]}
    case, settings, data = prepared(
        method={"name": name, "fit_to": fit_to} | small[name], observations=observed
    )
    loss, model = loss_of(case, settings, data)
    first = jnp.asarray(data.trajectories.field[data.training, 0])
    if fit_to == "trajectory":
        predicted = model(first, (0.0, 0.05, 0.1))[1:]
    else:
        seen = np.moveaxis(data.trajectories.field[data.training], 0, 1)
        predicted = model.next_observations(jnp.asarray(seen))
    truth = np.moveaxis(data.trajectories.field[data.training][:, 1:], 0, 1)
    expected = float(np.sum((predicted - truth) ** 2) / np.sum(truth**2))
    assert value(loss, model) == pytest.approx(expected, rel=1e-12)
    assert case.latent_fields(model, data.trajectories.times) == {}
    forecast, failure = case.forecast(settings, model, data.trajectories, [2], np.array([0, 0.1]))
    assert failure is None
    assert forecast.shape == (2, 1, 16, 8)


def test_a_black_box_is_given_time_and_conditions_where_the_case_has_them():
    dynamic, settings, _ = prepared(
        "advection_diffusion_dynamic",
        method={"name": "fno", "modes": 2},
        observations={"times": [0.05]},
    )
    assert dynamic.model(settings, jax.random.key(0)).with_time
    case, settings, data = prepared(
        "vapor_infiltration_closure",
        method={"name": "fno", "width": 4, "modes": 2, "layers": 1, "fit_to": "trajectory"},
    )
    loss, model = loss_of(case, settings, data)
    assert len(model.condition_scales) == 1
    assert isinstance(loss, EmulatorLoss)
    assert loss.conditions is not None
    others = dataclasses.replace(loss, conditions=2 * loss.conditions)
    assert value(loss, model) != value(others, model)


@pytest.mark.parametrize(
    ("case_name", "given", "message"),
    [
        ("burgers_public", {"method": {"name": "fno"}}, "scattered points"),
        (
            "advection_diffusion_steady",
            {"method": {"name": "fno", "modes": 2}, "observations": {"sensors": 5}},
            r"method\.fit_to: next_observation needs whole fields",
        ),
        ("vapor_infiltration_closure", {"method": {"name": "local_law"}}, "local_law"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(case_name, given, message):
    small = SMALL if case_name == "advection_diffusion_steady" else {}
    case = get_case(case_name)
    given = without_useless(case.settings, merged(small, given))
    settings = load_settings(case.settings, given)
    case = with_method(case, settings)
    if case_name == "advection_diffusion_steady":
        with pytest.raises(InputError, match=message):
            case.loss(settings, prepared()[2])
        return
    with pytest.raises(InputError, match=message):
        case.model(settings, jax.random.key(0))
