"""A problem whose data are of steady states: all that the command does, or refuses."""

import json

import numpy as np
import pytest
import xarray as xr
from running import impindiff

pytestmark = pytest.mark.slow  # whole runs of the command

FIN = '''
"""A fin that loses heat: the rate of loss from its steady temperature."""
import jax.numpy as jnp
import numpy as np
import xarray as xr

import impindiff as ipd


class Fin(ipd.HybridModel):
    grid: ipd.Grid
    loss: ipd.Parameter
    base: ipd.PerSample | float = 1.0

    def latent(self, t):
        return self.base

    def tendency(self, t, u, latent):
        walls = ((ipd.Dirichlet(latent), ipd.Neumann()),)
        return {"T": ipd.diffusion(u["T"], 1.0, self.grid, boundary=walls) - self.loss() * u["T"]}


class Problem(ipd.Problem):
    settings = ipd.ProblemSettings.with_defaults(
        stepper={"name": "steady"},
        solver={"rtol": 1e-9},
        training={"optimizer": "levenberg_marquardt", "steps": 6},
        truth={"loss": 4.0},
    )

    def model(self, settings, key):
        edges = np.linspace(0.0, 1.0, 33) ** 1.3
        grid = ipd.Grid.from_edges((edges,), ((ipd.Dirichlet(1.0), ipd.Neumann()),))
        return Fin(grid, ipd.Parameter(1.0, lower=0.0))

    def for_samples(self, settings, model, data):
        base = jnp.asarray(ipd.conditions_of(data)["base"])
        return Fin(model.grid, model.loss, ipd.PerSample(base))

    def initial_state(self, settings, model, data):
        return {"T": jnp.ones(model.grid.cells)}  # a guess

    def reference(self, settings, until=None):
        x, base = self.model(settings, None).grid.axis_centers(0), np.array([1.0, 2.0, 0.5])
        one = np.cosh(2 * (1 - x)) / np.cosh(2)
        times = [0.0] if until is None else [0.0, until]
        one = np.stack([one] * len(times))
        fields = {
            "T": (("sample", "time", "x"), base[:, None, None] * one),
            "base": ("sample", base),
            "test": ("sample", [0, 1, 0]),
        }
        return xr.Dataset(fields, {"time": times, "x": x})
'''


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.mktemp("fin")
    (here / "fin.py").write_text(FIN)
    impindiff("run", "fin.py", "--out", "run", cwd=here)
    return here


def test_the_number_is_found_and_the_test_sample_predicted(folder):
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["identified"]["loss"]["value"] == pytest.approx(4.0, rel=5e-3)
    assert metrics["forecast"]["relative_l1_percent"]["test"] < 0.1
    assert metrics["solver"]["failed_solves"] == 0
    with xr.open_dataset(folder / "run" / "forecast.nc", engine="h5netcdf") as forecast:
        assert forecast["time"].to_numpy().tolist() == [0.0]
        truth = forecast["T_truth"].to_numpy()
        off = np.abs(forecast["T_forecast"].to_numpy() - truth)
        assert off.max() < 2e-3
        # cells differ in length, by which the error is weighted
        volumes = forecast["cell_volume"].to_numpy()
        edges = np.linspace(0.0, 1.0, 33) ** 1.3
        np.testing.assert_allclose(volumes, np.diff(edges) / np.diff(edges).max())
        percent = 100 * (volumes * off[1, 0]).sum() / (volumes * truth[1, 0]).sum()
        found = metrics["forecast"]["relative_l1_percent"]["test"]
        assert found == pytest.approx(percent)
        assert found != pytest.approx(100 * off[1, 0].sum() / truth[1, 0].sum(), rel=1e-3)
    assert "steady" in (folder / "run" / "config.yaml").read_text()


def test_a_trained_run_is_forecast_reported_and_continued(folder):
    done = impindiff("forecast", "run", "--until", "2", "--animate", "film.gif", cwd=folder)
    assert "2 times to 2" in done.stdout
    with xr.open_dataset(folder / "run" / "forecast_until_2.nc", engine="h5netcdf") as forecast:
        first, last = np.moveaxis(forecast["T_forecast"].to_numpy(), 1, 0)
        np.testing.assert_allclose(first, last, rtol=1e-6)
    impindiff("report", "run", cwd=folder)
    assert "steady" in (folder / "run" / "report.html").read_text()
    impindiff("run", "fin.py", "--out", "run", "--resume", cwd=folder)
    impindiff("data", "fin.py", "--out", "fin.nc", cwd=folder)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        (["run", "--set", "method.name=fno"], "method.name: fno advances a state in time"),
        (["run", "--set", "observations.start=0"], "observations.start: does nothing"),
        (["run", "--set", "stepper.dt=0.1"], "stepper.dt: does nothing with stepper.name=steady"),
        (
            ["run", "--set", "training.optimizer=adam", "--set", "training.shooting.segments=2"],
            "training.shooting: does nothing",
        ),
        (["compare"], "stepper.name: steady; a comparison is of methods that advance"),
    ],
)
def test_what_goes_through_time_is_refused_in_one_line(folder, command, told):
    done = impindiff(command[0], "fin.py", *command[1:], cwd=folder, check=False)
    assert done.returncode == 2
    assert f"impindiff: {told}" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_state_that_is_not_unique_ends_the_run_with_its_code(folder):
    closed = FIN.replace("ipd.Dirichlet(latent)", "ipd.Neumann()").replace("- self.loss()", "- 0")
    (folder / "closed.py").write_text(closed)
    done = impindiff("run", "closed.py", "--out", "closed", cwd=folder, check=False)
    assert done.returncode == 1
    assert "level or a total undetermined" in done.stderr
    assert json.loads((folder / "closed" / "failure.json").read_text())["code"] == "not_unique"
