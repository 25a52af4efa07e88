"""The examples on measured data find the published numbers, as their pages state them.

Skipped, with the reason, where the data are absent; no test downloads them.
"""

import json
import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from forked_command import run_command
from impindiff.experiment import prepare
from impindiff.training import FitOptions, fit

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples" / "measured"


@pytest.fixture
def ran(public_data, tmp_path):
    """A function that runs an example, without bands, and returns its metrics."""

    def run(data, file, *options):
        public_data(data)
        options = ("forecast.bands=false", *options)
        sets = [part for option in options for part in ("--set", option)]
        done = run_command(["run", EXAMPLES / file, "--out", tmp_path / "run", *sets], tmp_path)
        assert done.returncode == 0, done.stderr + done.stdout
        return json.loads((tmp_path / "run" / "metrics.json").read_text())

    return run


def values(metrics, name):
    found = metrics["identified"]
    return [found[key]["value"] for key in found if key.partition(".")[0] == name]


def rms(metrics, *quantities):
    found = metrics["misfit"]["train"]
    return np.sqrt(np.mean([found[name]["rms"] ** 2 for name in quantities]))


def test_scratch_assay(ran, tmp_path):
    metrics = ran("scratch_assay", "scratch_assay.py")
    independent = [327, 270, 756, 596, 793, 1064], [0.0437, 0.0435, 0.0476, 0.0486, 0.0535, 0.0637]
    np.testing.assert_allclose(values(metrics, "diffusivity"), independent[0], rtol=0.03)
    np.testing.assert_allclose(values(metrics, "growth"), independent[1], rtol=0.03)
    assert metrics["train"]["converged"]
    assert (tmp_path / "run" / "figures" / "samples.png").is_file()


def test_one_pair_of_numbers_does_not_explain_six_assays(ran):
    metrics = ran("scratch_assay", "scratch_assay.py", "shared=true")
    assert metrics["model_check"]["explains"] is False
    assert rms(metrics, "density") > 1.3e-4


def test_scratch_laws(ran, tmp_path):
    metrics = ran("scratch_assay", "scratch_laws.py", "training.steps=6")
    assert rms(metrics, "density") < 1.1e-4  # after six steps of about thirty
    assert (tmp_path / "run" / "figures" / "closures.png").is_file()
    assert (tmp_path / "run" / "modules" / "scratch_assay.py").is_file()


def test_streambed_heat(ran):
    metrics = ran("streambed_heat", "streambed_heat.py")
    np.testing.assert_allclose(values(metrics, "diffusivity"), [0.761e-6], rtol=0.02)
    np.testing.assert_allclose(values(metrics, "velocity"), [0.69e-6], rtol=0.02)
    assert rms(metrics, "T20", "T30") <= 0.034


def test_thermometers_of_the_streambed_have_offsets(ran):
    metrics = ran("streambed_heat", "streambed_heat.py", "offsets=true")
    assert rms(metrics, "T20", "T30") < 0.015
    assert metrics["identified"]["offset.T30"]["value"] == pytest.approx(0.055, abs=0.003)
    # the seepage without offsets is theirs
    assert metrics["identified"]["velocity"]["value"] < 0


def test_the_flow_through_the_streambed_changes(ran, tmp_path):
    metrics = ran("streambed_heat", "streambed_flow.py")
    assert metrics["train"]["converged"]
    assert rms(metrics, "T20", "T30") < 0.0125
    assert metrics["train"]["prior"]["deviation"] == pytest.approx(0.30, rel=0.1)
    assert (tmp_path / "run" / "figures" / "instruments.png").is_file()


@pytest.mark.parametrize(
    ("sand", "dt", "velocity", "dispersion"),
    [
        ("saturated", 0.08, [2.451, 2.513, 2.506], [0.154, 0.126, 0.110]),
        ("unsaturated", 0.8, [0.258, 0.254, 0.250], [0.036, 0.039, 0.043]),
    ],
)
def test_column_tracer(ran, sand, dt, velocity, dispersion):
    coarse = (f"sand={sand}", f"stepper.dt={dt}", "solver.rtol=1e-6")
    metrics = ran("column_tracer", "column_tracer.py", *coarse)
    np.testing.assert_allclose(values(metrics, "velocity"), velocity, rtol=0.01)
    np.testing.assert_allclose(values(metrics, "dispersion"), dispersion, rtol=0.05)


def test_column_tritium(ran):
    one = ran("column_tracer", "column_tritium.py", "immobile=false")
    np.testing.assert_allclose(values(one, "dispersion"), [48], rtol=0.05)
    np.testing.assert_allclose(values(one, "capacity"), [0.99], rtol=0.01)
    assert rms(one, "c") == pytest.approx(0.028, abs=5e-4)


def test_column_tritium_with_immobile_water(ran):
    two = ran("column_tracer", "column_tritium.py", "stepper.dt=0.02")
    assert rms(two, "c") <= 0.015
    np.testing.assert_allclose(values(two, "dispersion"), [15.6], rtol=0.05)
    np.testing.assert_allclose(values(two, "capacity"), [0.82], rtol=0.02)


# K in m/d, Ss in 1/m, c in d, root mean square in m, as published
@pytest.mark.parametrize(
    ("site", "thickness", "published", "misfit"),
    [
        ("korendijk", 7.0, [66.086, 2.541e-5], 0.0501),
        ("sioux", 15.24, [282.8, 4.21e-3], 0.0040),
        ("dalem", 37.0, [45.33, 4.76e-5, 331.0], 0.0059),
    ],
)
def test_pumping_tests(ran, site, thickness, published, misfit):
    metrics = ran("pumping_tests", "pumping_tests.py", f"site={site}")
    names = ("transmissivity", "storage", "resistance")
    found = [x for name in names for x in values(metrics, name)]
    np.testing.assert_allclose(np.array(found[:2]) / thickness, published[:2], rtol=5e-3)
    np.testing.assert_allclose(found[2:], published[2:], rtol=5e-3)
    assert rms(metrics, "drawdown") == pytest.approx(misfit, abs=1e-4)


def test_rain_radar(public_data, tmp_path):
    """On cells of 16 km and in ten steps, on the way to the page's forecast."""
    public_data("radar_rain")
    problem = runpy.run_path(str(EXAMPLES / "radar_rain.py"))["Problem"]()
    settings = problem.settings.with_defaults(cell=16, solver={"rtol": 1e-4})()
    experiment = prepare(problem, settings)
    start = problem.model(settings, jax.random.key(0))
    optimizer = settings.with_steps(10).training.build()
    found = fit(start, experiment.loss(), optimizer, tmp_path, FitOptions(steps=10)).model
    measured = problem.data(settings)["echo"].to_numpy()[1]
    later = ipd.rollout(found, {"echo": measured[0]}, [0.0, 0.5], dt=settings.stepper.dt).u
    inside = np.s_[..., 4:-4, 4:-4]

    def error(later):
        return np.abs(later - measured[-1])[inside].mean()

    assert error(later["echo"][-1]) < 0.75 * error(measured[0])
    # more to the north than to the east, tens of km/h
    wind = found.latent(0.0)["wind"][inside].mean(axis=(1, 2))
    assert 10 < wind[0] < wind[1] < 60


def test_rain_is_carried_and_not_compressed():
    """A linear echo moves with a uniform wind; a uniform one stays so in any wind."""
    grid = ipd.Grid((0.0, 0.0), (640.0, 768.0), (10, 12), boundary=(ipd.Neumann(),) * 2)
    x, y = grid.centers
    rain = runpy.run_path(str(EXAMPLES / "radar_rain.py"))["Rain"]
    inside = np.s_[2:-2, 2:-2]

    def rate(echo, wind):
        model = rain(grid, lambda grid: jnp.stack(wind), lambda: 10.0)
        return model.tendency(0.0, {"echo": echo}, model.latent(0.0))["echo"][inside]

    ones = jnp.ones(grid.cells)
    np.testing.assert_allclose(rate(3 * x - 2 * y, (ones, 0.5 * ones)), -40 * (3 - 1), rtol=1e-10)
    np.testing.assert_allclose(rate(7 * ones, (jnp.sin(x / 90), x * y / 1e5)), 0.0, atol=1e-12)


def test_forecasts_of_rain_are_scored_as_they_should_be():
    found = runpy.run_path(str(ROOT / "validation" / "radar.py"))
    rain = np.random.default_rng(0).uniform(size=(40, 50))
    # three pixels to the east and one to the south in half an hour
    wind = np.stack([np.full(rain.shape, 6.0), np.full(rain.shape, -2.0)])
    moved = found["traced"](rain, wind, 0.5)
    np.testing.assert_allclose(moved[3:, :-1], rain[:-3, 1:], atol=1e-12)
    # a quarter of a turn
    x, y = np.indices((41, 41)) - 20.0
    turning = np.pi / 2 * np.stack([-y, x])
    blob = np.exp(-((x - 6) ** 2 + y**2) / 20)
    turned = found["traced"](blob, turning, 1.0, steps=50)
    np.testing.assert_allclose(turned, np.exp(-(x**2 + (y - 6) ** 2) / 20), atol=0.01)
    stored = json.loads((ROOT / "docs" / "results" / "radar.json").read_text())
    page = (ROOT / "docs" / "gallery" / "radar_rain.md").read_text()
    assert found["table"](stored) in page
    for scores in stored.values():
        error = {name: one["mae_dbz"] for name, one in scores.items()}
        assert error["model"] < error["translation, smooth"] < error["translation"]


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.py")), ids=lambda path: path.stem)
def test_an_example_fits_on_a_page(file):
    assert len(file.read_text().splitlines()) <= 80
