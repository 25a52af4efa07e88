"""What comparisons ask of a run: a budget in seconds, and a failed forecast that is kept."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from running import CASE

from impindiff import experiment
from impindiff.errors import SolverError
from impindiff.experiment import Run, directory, training
from impindiff.experiment import _pipeline as pipeline
from impindiff.problems import get_problem
from impindiff.results import RunMetrics
from impindiff.settings.configuration import load_settings, merged

SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "test_samples": 1},
    "field": {"width": 8, "depth": 2},
    "forecast": {"every": 0.05},
    "training": {"steps": 4, "log_every": 1, "save_every": 1},
}


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr(pipeline, "draw_figures", lambda *arguments: None)


def run(folder: Path, given: dict[str, Any], **options: Any) -> RunMetrics:
    problem = get_problem(CASE)
    settings = load_settings(problem.settings, merged(SMALL, given))
    return experiment.run(problem, settings, folder, **options)


def planned(folder: Path) -> Any:
    return Run(folder).settings.training


@pytest.mark.slow
def test_a_budget_becomes_a_number_of_steps_which_a_resumed_run_keeps(tmp_path, monkeypatch):
    """The learning rate's schedule is that of the planned steps, as if they had been asked for."""
    asked = {"training": {"steps": 50, "seconds": 1.0, "schedule": "cosine"}}
    measure = training.steps_within
    monkeypatch.setattr(training, "steps_within", lambda *given, **o: (4, measure(*given, **o)[1]))

    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", asked, show=interrupt)
    assert (planned(tmp_path / "cut").steps, planned(tmp_path / "cut").seconds) == (4, None)
    cut = Run(tmp_path / "cut")
    experiment.run(cut.problem, cut.settings, tmp_path / "cut", resume=True)

    run(tmp_path / "whole", {"training": {"schedule": "cosine"}})
    cut, whole = (tmp_path / name / directory.MODEL for name in ("cut", "whole"))
    assert cut.read_bytes() == whole.read_bytes()


@pytest.mark.slow
def test_a_budget_that_holds_all_steps_cuts_none_and_the_smallest_leaves_one(tmp_path):
    asked = {"training": {"steps": 2, "seconds": 1e9}}
    assert run(tmp_path / "all", asked).train.steps == 2
    assert (planned(tmp_path / "all").steps, planned(tmp_path / "all").seconds) == (2, None)
    assert run(tmp_path / "one", {"training": {"seconds": 1e-9}}).train.steps == 1
    assert planned(tmp_path / "one").steps == 1


@pytest.mark.slow
def test_a_forecast_that_fails_ends_the_run_unless_it_is_to_be_kept(tmp_path):
    # enough steps for the training interval, too few for the forecast, eight times as long
    method = {"name": "diffrax", "solver": "tsit5", "rtol": 1e-10, "atol": 1e-12, "max_steps": 16}
    given = {"method": method, "training": {"steps": 1}, "forecast": {"until": 0.4}}
    with pytest.raises(SolverError, match=r"\(t = 0\.[^0].*try a larger max_steps"):
        run(tmp_path / "ends", given)
    metrics = run(tmp_path / "kept", merged(given, {"forecast": {"keep_failed": True}}))
    assert metrics == Run(tmp_path / "kept").metrics
    assert metrics.forecast is not None
    errors = [percent for _, percent in metrics.forecast.error_vs_time]
    assert errors[0] == 0
    assert errors[-1] is None
    with xr.open_dataset(tmp_path / "kept" / "forecast.nc", engine="h5netcdf") as forecast:
        assert not np.isfinite(forecast["phi_forecast"].isel(time=-1).to_numpy()).all()
