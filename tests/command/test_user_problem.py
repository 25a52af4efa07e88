"""A user's file with instruments, conditions of samples and a prior: all that the command does.

validation/user_problems.py does the same for three files, and every method and study.
"""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from running import impindiff

pytestmark = pytest.mark.slow  # whole runs of the command

DRYING = Path(__file__).parents[2] / "examples" / "instruments" / "drying.py"
FEW = ["--set", "training.steps=2", "--set", "training.optimizer=levenberg_marquardt"]
BARE = ["--set", "forecast.bands=false"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    here = tmp_path_factory.mktemp("drying")
    shutil.copy(DRYING, here)
    impindiff("run", "drying.py", *FEW, "--set", "truth.diffusivity=0.3", "--out", "run", cwd=here)
    return here


def test_samples_are_judged_and_the_number_is_found(folder):
    metrics = json.loads((folder / "run" / "metrics.json").read_text())
    assert metrics["infers"].startswith("how fast moisture moves")
    assert set(metrics["forecast"]["relative_l1_percent"]) == {"train", "test"}
    assert metrics["identified"]["diffusivity"]["value"] == pytest.approx(0.3, rel=0.2)
    assert metrics["identified"]["diffusivity"]["truth"] == 0.3
    assert metrics["model_check"]["verdict"] == "the model explains these data"
    figures = {path.stem for path in (folder / "run" / "figures").iterdir()}
    assert {"profiles_train", "profiles_test", "error_vs_time", "identified"} <= figures
    with xr.open_dataset(folder / "run" / "data.nc", engine="h5netcdf") as data:
        assert data["test"].to_numpy().tolist() == [0, 0, 0, 1]
        assert data["thickness"].to_numpy().tolist() == [0.5, 1.0, 1.5, 0.8]


def test_a_forecast_goes_on_beside_the_truth_and_moves(folder):
    words = ["forecast", "run", "--until", "1.5", "--animate", "film.gif"]
    done = impindiff(*words, cwd=folder)
    assert "relative L1 error at t = 1.5, test set" in done.stdout
    assert (folder / "film.gif").read_bytes()[:3] == b"GIF"
    with xr.open_dataset(folder / "run" / "forecast_until_1.5.nc", engine="h5netcdf") as forecast:
        assert np.isfinite(forecast["moisture_truth"].to_numpy()).all()


def test_its_data_are_written_and_taken_from_a_file(folder):
    impindiff("data", "drying.py", "--out", "again.nc", cwd=folder)
    own = ["--set", "data.path=again.nc", "--set", "data.test=[0, 3]"]
    impindiff("run", "drying.py", *FEW, *BARE, *own, "--out", "from_file", cwd=folder)
    with xr.open_dataset(folder / "from_file" / "forecast.nc", engine="h5netcdf") as forecast:
        assert forecast["test"].to_numpy().tolist() == [True, False, False, True]


def test_methods_are_compared_on_it(folder):
    asked = ["--methods", "implicit,rk4,diffrax_tsit5", "--out", "compared"]
    impindiff("compare", "drying.py", *FEW, *BARE, *asked, cwd=folder)
    results = json.loads((folder / "compared" / "results.json").read_text())
    assert results["problem"] == "drying"
    implicit, explicit, _ = results["methods"]
    # in so few steps Levenberg-Marquardt cannot have converged
    runs = [run for row in results["methods"] for run in row["runs"]]
    assert {run["status"] for run in runs} == {"not converged"}
    assert explicit["mean"]["step"] < implicit["mean"]["step"]
    assert implicit["mean"]["error_percent"]["horizon"] < 20
    impindiff("report", "compared", cwd=folder)


def test_an_ensemble_of_it_has_a_spread(folder):
    few = ["--set", "training.steps=2", "--set", "training.ensemble=2"]
    impindiff("run", "drying.py", *few, "--out", "ensemble", cwd=folder)
    with xr.open_dataset(folder / "ensemble" / "forecast.nc", engine="h5netcdf") as forecast:
        assert "moisture_spread" in forecast
