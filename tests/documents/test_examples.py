"""The scripts that a user would start from run, and what they print is true."""

import runpy
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.experiment import prepare
from impindiff.observations import Probes
from impindiff.training import FitOptions, LevenbergMarquardt, fit

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name: str) -> dict:
    return runpy.run_path(str(EXAMPLES / f"{name}.py"))


def test_own_model_has_a_gradient(capsys):
    names = run("own_model")
    assert names["value"] > 0
    assert jnp.abs(names["gradient"].velocity.network.weights[0]).max() > 0
    assert "gradient of the first layer: (" in capsys.readouterr().out


def test_the_gas_of_quasi_steady_obeys_its_equation_and_so_does_the_gradient(capsys):
    names = run("quasi_steady")
    model, u0, loss = names["model"], names["u0"], names["loss"]
    stats = names["stats"]
    assert stats.converged.all()
    assert stats.linear_iterations.sum() < 3 * stats.iterations.sum()
    assert "in 10 steps" in capsys.readouterr().out
    # solid fills the bed from the inlet, at the gas's rate
    solid = names["observed"][-1]
    assert (jnp.diff(solid, axis=0) < 0).all()
    assert 0 < float(solid.min()) < float(solid.max()) < 1
    assert set(u0) == {"gas", "solid"}

    def moved(h):
        return eqx.tree_at(lambda m: m.diffusivity.log_slopes, model, replace_fn=lambda v: v + h)

    h = 1e-4
    (above, _), (below, _) = loss(moved(h)), loss(moved(-h))
    slope = float(jnp.sum(names["gradient"].diffusivity.log_slopes))
    assert float(above - below) / (2 * h) == pytest.approx(slope, rel=1e-5)
    assert all(jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(names["gradient"]))


def test_the_compliance_of_the_heat_slab_and_its_gradient():
    names = run("steady/heat_slab")
    both = eqx.filter_jit(eqx.filter_value_and_grad(names["compliance"]))
    assert float(both(names["slab"](8))[0]) == pytest.approx(2 / (1e-3 + 0.999 / 8), rel=1e-9)
    model = names["slab"](8, jax.random.key(0))
    way, h = jax.random.normal(jax.random.key(1), model.grid.cells), 1e-5

    def moved(h):
        return both(eqx.tree_at(lambda m: m.density, model, model.density + h * way))[0]

    slope = float(jnp.sum(both(model)[1].density * way))
    assert float(moved(h) - moved(-h)) / (2 * h) == pytest.approx(slope, rel=1e-6)


def test_the_plates_thermocouples_read_the_model_inside_its_outline():
    names = run("plate/plate")
    problem, settings = names["Problem"](), names["Problem"].settings()
    model = names["Plate"](problem.model(settings, None).grid, lambda: 90.0, lambda: 0.004)
    points = ipd.data.read_points(settings.data.path)
    places = np.stack([points["x"].values, points["y"].values], axis=1)[:8]
    times = np.unique(points["time"].values)
    result = ipd.rollout(
        model,
        problem.initial_state(settings, model, None),
        [0.0, *times],
        stepper=ipd.SDIRK2(solver=settings.solver.build()),
        dt=10.0,
    )
    found = Probes.on(model.grid, places)(result.u["temperature"][1:])
    left = np.asarray(found).ravel() - points["value"].values
    assert np.sqrt(np.mean(left**2)) < 1.3 * 0.1  # the errors' standard deviation


def test_four_d_var_finds_state_and_parameter(tmp_path):
    """Together, and far better than the background."""
    problem = run("assimilation/four_d_var")["Problem"]()
    quick = {"solver": {"rtol": 1e-5}, "stepper": {"dt": 0.1}}
    settings = problem.settings.with_defaults(**quick)()
    experiment, background = prepare(problem, settings), problem.model(settings, None)
    found = fit(background, experiment.loss(), LevenbergMarquardt(), tmp_path, FitOptions(steps=4))
    truth = problem.reference(settings)["u"].values[[0, -1]]

    def errors(model):
        start = problem.initial_state(settings, model, None)
        later = ipd.rollout(model, start, [0.0, 2.0], dt=0.1).u
        return np.abs(later - truth).sum((1, 2)) / np.abs(truth).sum((1, 2))

    # steps four times as long as the example's, which reaches 0.05 and 0.02
    assert (errors(found.model) < [0.07, 0.16]).all()
    assert (errors(background) > 0.8).all()
    assert float(found.model.factor()) == pytest.approx(1.0, abs=0.02)


def test_the_page_on_four_d_var_shows_the_example():
    example = (EXAMPLES / "assimilation" / "four_d_var.py").read_text()
    assert example in (EXAMPLES.parent / "docs" / "gallery" / "four_d_var.md").read_text()
    assert len(example.splitlines()) <= 60
