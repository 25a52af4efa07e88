"""Data are read once a run, however often they are looked at."""

import numpy as np
import pytest
import xarray as xr

from impindiff.data import write
from impindiff.experiment import forecast, prepare, run
from impindiff.pages._run import run_page
from impindiff.problem import _problem as problem
from impindiff.problem import load_problem
from impindiff.problems import get_problem
from impindiff.problems.fields_data import fields_data
from impindiff.settings import load_configuration

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


@pytest.mark.slow
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
    folder = tmp_path / "run"
    run(own, load_configuration(own.settings, [], changes), folder)
    assert len(reads) == 1
    forecast(folder, 0.5)
    assert len(reads) == 2
    (folder / "forecast.nc").unlink()  # no animation
    run_page(folder)
    assert len(reads) == 2


@pytest.fixture
def opened(monkeypatch):
    """The files that xarray opens, as it opens them."""
    files = []
    opening = xr.open_dataset
    monkeypatch.setattr(
        xr, "open_dataset", lambda file, **more: files.append(file) or opening(file, **more)
    )
    return files


@pytest.mark.parametrize("heated", [True, False])
def test_a_file_of_vapor_infiltration_is_opened_once(tmp_path, opened, heated):
    cells, times = (8, 4), np.array([0.0, 0.4, 0.8])
    field = np.linspace(0.6, 0.3, 3)[None, :, None, None] * np.ones((1, 3, *cells))
    fields = {"porosity": field, "gas": field} | ({"temperature": field} if heated else {})
    given = fields_data(
        fields,
        times,
        {axis: (np.arange(n) + 0.5) / n for axis, n in zip("xy", cells, strict=True)},
        conditions={"phi2": np.ones(1)} | ({"heater": np.ones(1)} if heated else {}),
    )
    path = tmp_path / "data.nc"
    write(given, path)
    chosen = get_problem(f"vapor_infiltration_{'thermal' if heated else 'closure'}")
    changes = [
        "observations.ct_times=[0.4, 0.8]",
        "observations.mass_times=2",
        "observations.mass_until=0.8",
        "observations.ct_block=2",
    ]
    experiment = prepare(
        chosen, load_configuration(chosen.settings, [], [*changes, f"data.path={path}"])
    )
    assert len(opened) == 1
    assert set(experiment.data.dataset.data_vars) == set(given.data_vars)
    changes += ["grid.cells=[8, 4]", "grid.size=[1, 1]"]
    again = prepare(chosen, load_configuration(chosen.settings, [], changes), stored=path)
    assert len(opened) == 2
    assert set(again.data.dataset.data_vars) == set(given.data_vars)
