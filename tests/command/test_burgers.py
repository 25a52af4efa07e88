"""The Burgers problems from end to end, small."""

import json
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from running import impindiff, settings

from impindiff.problems.cole_hopf import cole_hopf_sine

pytestmark = pytest.mark.slow  # whole runs of the command

NU, SPEED = 0.02, 0.8
SMALL = [
    part
    for key, value in {
        "grid.cells": 256,
        "stepper.dt": 0.05,
        "observations.points": 300,
        "forecast.every": 0.05,
    }.items()
    for part in ("--set", f"{key}={value}")
]


@pytest.fixture
def path(tmp_path) -> Path:
    """A solution with x and t as the benchmark has them."""
    x, t = np.linspace(-1, 1, 64), np.linspace(0, 0.9, 19)
    u = cole_hopf_sine(x, t, NU, SPEED)
    arrays = {"x": x[:, None], "t": t[:, None], "usol": u.T, "nu": NU}
    scipy.io.savemat(tmp_path / "u.mat", arrays)
    return tmp_path / "u.mat"


def test_coefficients_of_a_file_are_identified(path, tmp_path):
    command = ["run", "burgers_public", *SMALL, "--set", f"data.path={path}"]
    out = impindiff(*command, "--out", tmp_path / "run").stdout
    metrics = json.loads((tmp_path / "run" / "metrics.json").read_text())
    found = metrics["identified"]
    assert found["nu"]["value"] == pytest.approx(NU, rel=0.01)
    assert found["lambda"]["value"] == pytest.approx(SPEED, rel=2e-3)
    assert 0 < found["nu"]["standard_error"] < 0.01 * NU
    assert found["nu"]["truth"] == NU
    # the file does not say, and the benchmark's values are not those of another file
    assert found["lambda"]["truth"] is None
    assert "+-" in out
    figures = {p.name for p in (tmp_path / "run" / "figures").iterdir()}
    assert figures == {
        "error_vs_time.png", "forecast_train.png", "history.png", "identifiability.png",
        "identified.png", "profiles_train.png",
    }  # fmt: skip


def test_a_file_that_does_not_fit_is_refused_before_anything_is_written(tmp_path):
    scipy.io.savemat(tmp_path / "bad.mat", {"x": np.zeros(3), "usol": np.zeros((3, 2))})
    done = impindiff(
        "run", "burgers_public", "--set", f"data.path={tmp_path / 'bad.mat'}",
        "--out", tmp_path / "run", check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "bad.mat" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "run").exists()


def test_levenberg_marquardt_is_refused_for_a_network_before_anything_is_written(tmp_path):
    chosen = settings(
        stepper__name="crank_nicolson",
        training__optimizer="levenberg_marquardt",
        field__width="20",
        forecast__until="0.4",
    )
    done = impindiff("run", "burgers", *chosen, "--out", tmp_path / "run", check=False)
    assert done.returncode == 2
    assert "training.optimizer: levenberg_marquardt is for at most 200" in done.stderr
    assert not (tmp_path / "run").exists()
