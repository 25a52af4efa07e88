"""Data are read once a run, however often they are looked at."""

import numpy as np
import pytest
import xarray as xr

from impindiff.cases import get_case, load_configuration
from impindiff.observations import Trajectories
from impindiff.pages.run import run_page
from impindiff.problem import load_problem, problem
from impindiff.problem_workflow import forecast_problem, run_problem
from impindiff.workflow import prepare

DECAY = """
import impindiff as ipd


class Decay(ipd.HybridModel):
    grid: ipd.Grid
    rate: ipd.Parameter

    def tendency(self, t, u, latent):
        return {"c": -self.rate() * u["c"]}


class Problem(ipd.Problem):
    def model(self, settings, key):
        return Decay(ipd.Grid((0.0,), (1.0,), (2,)), ipd.Parameter(1.0, lower=0.0))
"""
CHANGES = ["training.steps=2", "stepper.dt=0.1", "observations.until=0.2"]


def test_a_problem_reads_its_file_once_a_run_and_once_a_forecast(tmp_path, monkeypatch):
    times = np.array([0.0, 0.1, 0.2, 0.3])
    values = np.exp(-2 * times)[:, None] * np.ones(2)
    dataset = xr.Dataset({"c": (("time", "x"), values)}, {"time": times, "x": [0.25, 0.75]})
    dataset.to_netcdf(tmp_path / "c.nc", engine="h5netcdf")
    (tmp_path / "decay.py").write_text(DECAY)
    reads = []
    read = problem.read
    monkeypatch.setattr(problem, "read", lambda *a, **more: reads.append(a) or read(*a, **more))
    changes = [*CHANGES, f"data.path={tmp_path / 'c.nc'}", f"problem={tmp_path / 'decay.py'}"]
    own = load_problem(tmp_path / "decay.py")
    run = tmp_path / "run"
    run_problem(own, load_configuration(own.settings, [], changes), run)
    assert len(reads) == 1
    forecast_problem(run, 0.5)
    assert len(reads) == 2
    (run / "forecast.nc").unlink()  # no animation
    run_page(run)
    assert len(reads) == 2


@pytest.fixture
def opened(monkeypatch):
    """The paths of the files that xarray opens, as it opens them."""
    paths = []
    opening = xr.open_dataset
    monkeypatch.setattr(
        xr, "open_dataset", lambda path, **more: paths.append(path) or opening(path, **more)
    )
    return paths


@pytest.mark.parametrize("heated", [True, False])
def test_a_file_of_vapor_infiltration_is_opened_once(tmp_path, opened, heated):
    cells, times = (4, 2), np.array([0.0, 0.5, 1.0])
    field = np.linspace(0.6, 0.3, 3)[None, :, None, None] * np.ones((1, 3, *cells))
    given = Trajectories(
        field=field,
        times=times,
        coordinates={axis: (np.arange(n) + 0.5) / n for axis, n in zip("xy", cells, strict=True)},
        variable="porosity",
        others={"gas": field} | ({"temperature": field} if heated else {}),
        conditions={"phi2": np.ones(1)} | ({"heater": np.ones(1)} if heated else {}),
    )
    path = tmp_path / "data.nc"
    given.to_netcdf(path)
    case = get_case(f"vapor_infiltration_{'thermal' if heated else 'closure'}")
    prepare(case, load_configuration(case.settings, [], [f"data.path={path}"]))
    assert opened == [path]
    assert set(case.read_back(path).others) == set(given.others)
    assert opened == [path, path]
