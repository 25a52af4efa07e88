"""The problems of chemical vapor infiltration from end to end, small."""

import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from running import impindiff

from impindiff.experiment import prepare
from impindiff.experiment._metrics import identified_numbers, latent_errors
from impindiff.experiment._posterior import uncertainty
from impindiff.experiment.figures import draw_findings
from impindiff.inference import flat_parameters
from impindiff.problems import PROBLEMS
from impindiff.settings import load_configuration
from impindiff.training import Fitted, Totals

pytestmark = pytest.mark.slow  # whole runs of the command

CLOSURE, FIELD, THERMAL = (f"vapor_infiltration_{name}" for name in ("closure", "field", "thermal"))
# One specimen to learn from, one to be judged by, two steps of the cheapest stepper.
SMALL = {
    "grid.cells": "[8]",
    "refine": 1,
    "substeps": 1,
    "time.end": 0.4,
    "time.step": 0.2,
    "forecast.every": 0.2,
    "forecast.bands": "false",
    "stepper.name": "backward_euler",
    "specimens.thickness": "[1.0]",
    "specimens.test_thickness": "[0.7]",
    "observations.ct_block": 2,
    "observations.ct_times": "[0.4]",
    "observations.mass_times": 2,
    "observations.mass_until": 0.4,
    "training.steps": 2,
}
OF_PROBLEM = {
    CLOSURE: {"closure.knots": 2},
    FIELD: {
        "grid.cells": "[8,8]",
        "field.width": 8,
        "field.depth": 2,
        "training.log_every": 1,
    },
    THERMAL: {
        "training.steps": 1,
        "closure.knots": 2,
        "start.knots": 2,
        "specimens.heater": "[1473]",
        "specimens.test_heater": "[1423]",
        "specimens.test_thickness": "[1.0]",
        "observations.thermocouples": "[[0.3],[0.7]]",
    },
}
# What is found of every model, and where parameters are few.
FIGURES = {"instruments", "porosity", "state", "trapped_porosity"}
LEAST_SQUARES = {"closures", "identifiability"}


def settings(name, **changes):
    chosen = SMALL | OF_PROBLEM[name] | {k.replace("__", "."): v for k, v in changes.items()}
    return [part for key, value in chosen.items() for part in ("--set", f"{key}={value}")]


def trained(name, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp(name) / "run"
    impindiff("run", name, *settings(name), "--out", folder)
    return folder


@pytest.fixture(scope="module")
def closure(tmp_path_factory):
    return trained(CLOSURE, tmp_path_factory)


def prepared(name, overrides):
    problem = PROBLEMS[name]
    return prepare(problem, load_configuration(problem.settings, [], overrides))


def untrained(name, folder):
    """What a run leaves but for its training: the model as it starts, sensitivities at random."""
    experiment = prepared(name, settings(name)[1::2])
    model, loss = experiment.model(jax.random.key(0)), experiment.loss()
    size = flat_parameters(model).values.size
    jacobian = jax.random.normal(jax.random.key(1), (5 * size, size))
    fitted = Fitted(
        model=model, steps=0, seconds=0.0, compile_seconds=0.0, seconds_per_step=0.0,
        temporary_mb=None, final_loss=1.0, totals=Totals.zero(),
        linearization=(jnp.full(5 * size, 1e-3), jacobian) if size < 50 else None,
    )  # fmt: skip
    findings = experiment.findings(fitted, loss)
    draw_findings(findings, folder)
    times = experiment.data.dataset["time"].to_numpy()
    found = experiment.latent_fields(model, times)
    errors = latent_errors(
        found, experiment.true_latent(found), times, len(experiment.dataset_coordinates())
    )
    latent = {} if errors is None else errors.relative_l1_percent
    # as a run without bands
    sure = uncertainty(experiment, fitted, loss) if experiment.identified(model) else None
    return findings.metrics, identified_numbers(experiment, fitted, sure)[0], latent


def require_plausible(metrics, learned):
    forecast = metrics["forecast"]
    assert 0 < forecast["relative_l2_percent"]["porosity"] < 30
    assert 0 < forecast["trapped_porosity_error"] < 0.2
    found = metrics["latent"]["relative_l2_percent"]
    assert set(found) == learned
    assert all(0 < percent < 50 for percent in found.values())
    assert 0 <= metrics["balance"]["max_imbalance"] < 1e-8


def test_a_run_leaves_its_files_numbers_and_figures(closure):
    files = {path.name for path in closure.iterdir()}
    assert files >= {"config.yaml", "metrics.json", "model.eqx", "data.nc", "forecast.nc"}
    drawn = {path.stem for path in (closure / "figures").iterdir()}
    assert drawn == FIGURES | {"error_vs_time", "history", "identified"} | LEAST_SQUARES
    metrics = json.loads((closure / "metrics.json").read_text())
    require_plausible(metrics, {"diffusivity"})
    (number,) = metrics["identified"].values()
    assert set(number) == {"value", "standard_error", "truth"}


@pytest.mark.parametrize(
    ("name", "learned", "numbers", "figures"),
    [
        (FIELD, {"initial_porosity"}, set(), set()),
        (
            THERMAL,
            {"diffusivity", "conductivity"},
            {"gamma", "percolation_threshold"},
            LEAST_SQUARES,
        ),
    ],
)
def test_what_is_found_of_a_model(name, learned, numbers, figures, tmp_path):
    (tmp_path / "figures").mkdir()
    metrics, identified, latent = untrained(name, tmp_path)
    require_plausible(metrics, learned)
    assert {path.stem for path in (tmp_path / "figures").iterdir()} == FIGURES | figures
    assert set(latent) == learned - {"diffusivity", "conductivity"}
    assert set(identified) == numbers
    for of in identified.values():
        assert None not in (of.value, of.standard_error, of.truth)
    if name == THERMAL:
        gamma = identified["gamma"]
        # the activation is told beside the one that made the data
        assert gamma.truth == pytest.approx(155e3 / (8.31446 * 1273), rel=1e-5)
        assert (gamma.standard_error or 0.0) > 0
        assert 5 < (gamma.value or 0.0) < 25


def test_a_run_goes_on_further_with_the_truth_beside_it(closure, tmp_path):
    out = tmp_path / "longer.nc"
    said = impindiff("forecast", closure, "--until", "0.8", "--out", out).stdout
    assert "relative L1 error at t = 0.8, test set" in said
    with xr.open_dataset(out, engine="h5netcdf") as longer:
        assert longer["time"].values[-1] == pytest.approx(0.8)
        assert longer["porosity_truth"].shape == longer["porosity_forecast"].shape
        eps = longer["porosity_forecast"].values
        assert (np.diff(eps, axis=1) < 0).all()


def test_what_a_run_stores_as_data_is_the_same_data_for_another_run(closure):
    """As far as training: what it sees is all that a run takes from its data.

    Noise is added to computed data only, so that without it both are the same.
    """
    own = settings(CLOSURE)[1::2]
    exactly = [*own, "observations.noise=0"]
    model = [one for one in own if not one.startswith(("refine=", "substeps="))]
    from_file = [*model, f"data.path={closure / 'data.nc'}"]
    seen = []
    for overrides in (exactly, from_file):
        experiment = prepared(CLOSURE, overrides)
        data, grid = experiment.data, experiment.settings.grid
        assert (data.training, data.test) == ([0], [1])
        assert grid.cells == (8,)
        assert grid.upper == pytest.approx((1.0,))
        seen.append((data.dataset, experiment.loss().values))
    (reference, exact), (stored, values) = seen
    for name in ("phi2", "porosity"):
        assert stored[name].to_numpy() == pytest.approx(reference[name].to_numpy())
    assert values == pytest.approx(exact)


def test_a_file_without_a_variable_is_refused_in_one_line(closure, tmp_path):
    with xr.open_dataset(closure / "data.nc", engine="h5netcdf") as data:
        data.drop_vars("gas").to_netcdf(tmp_path / "bad.nc", engine="h5netcdf")
    own = ("--set", f"data.path={tmp_path / 'bad.nc'}")
    done = impindiff("run", CLOSURE, *own, "--out", tmp_path / "run", check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "bad.nc: has no variable 'gas'" in done.stderr
    assert not (tmp_path / "run").exists()


FORWARD = (
    *("--set", "physics.phi2=1", "--set", "physics.eps0=0.6"),
    *("--set", "physics.percolation=[0.037,0.661]"),
)


def test_a_forward_run_of_a_slab(tmp_path):
    out = tmp_path / "F.nc"
    said = impindiff(
        "data", CLOSURE, *FORWARD, "--set", "grid.cells=[16]", "--set", "time.end=0.2",
        "--set", "time.step=0.05", "--out", out,
    ).stdout  # fmt: skip
    assert "an explicit method would need" in said
    with xr.open_dataset(out, engine="h5netcdf") as data:
        assert set(data.data_vars) == {"porosity", "gas", "growth"}
        assert data["porosity"].dims == ("time", "x")
        assert data["time"].values == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
        assert data["x"].values == pytest.approx((np.arange(16) + 0.5) / 16)
        eps, gas, growth = (data[name].values for name in ("porosity", "gas", "growth"))
    # gas comes from the surface at x = 1, so the pores close there first
    assert (np.diff(gas, axis=1) > 0).all()
    assert (np.diff(eps[1:], axis=1) < 0).all()
    assert gas[:, -1] == pytest.approx(1, abs=0.1)
    assert growth[0] == pytest.approx(1)
    assert eps == pytest.approx(0.6 ** (growth**2))


@pytest.mark.parametrize(
    ("cells", "more", "variables"),
    [
        ("[4,6]", ["--set", "physics.heat.heater=1473"], {"temperature"}),
        ("[4,5,6]", [], set()),
    ],
)
def test_as_many_cell_counts_as_dimensions(cells, more, variables, tmp_path):
    out = tmp_path / "F.nc"
    impindiff(
        "data", CLOSURE, *FORWARD, "--set", f"grid.cells={cells}", "--set", "time.end=0.1",
        "--set", "time.step=0.1", "--set", "stepper.name=backward_euler", *more, "--out", out,
    )  # fmt: skip
    with xr.open_dataset(out, engine="h5netcdf") as data:
        assert set(data.data_vars) == {"porosity", "gas", "growth"} | variables
        shape = (2, *json.loads(cells))
        for of in data.data_vars.values():
            assert of.dims == ("time", "x", "y", "z")[: len(shape)]
            assert of.shape == shape
        for theta in (data[name].values for name in variables):
            # the heater holds x = 0 at 1473 K, T0 is that of the surroundings
            assert theta.max() < 1473 / 1273
            assert theta.min() > 1
            assert (np.diff(theta, axis=1) < 0).all()


def test_impossible_input_ends_with_exit_code_2_and_one_line(tmp_path):
    out = tmp_path / "F.nc"
    done = impindiff("data", CLOSURE, "--set", "physics.eps0=1.2", "--out", out, check=False)
    assert done.returncode == 2
    assert len(done.stderr.strip().splitlines()) == 1
    assert "physics.eps0" in done.stderr
    assert not out.exists()
