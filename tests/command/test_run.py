"""The command from end to end on a small problem: files, metrics, resume, forecast."""

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from PIL import Image
from running import CASE, impindiff, settings

from impindiff import InputError
from impindiff.command import cli
from impindiff.experiment import Experiment, Run, forecast
from impindiff.experiment import _pipeline as pipeline
from impindiff.problems import get_problem


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    """An uninterrupted run."""
    folder = tmp_path_factory.mktemp("runs") / "run"
    whole = settings(stepper__name="crank_nicolson", forecast__bands="true")
    impindiff("run", CASE, *whole, "--out", folder)
    return folder


def test_the_run_directory_is_whole(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "config.yaml", "data.nc", "figures", "forecast.nc", "history.jsonl",
        "inputs.json", "metrics.json", "model.eqx", "posterior.npz", "training_state",
    }  # fmt: skip
    figures = {p.name for p in (finished / "figures").iterdir()}
    assert figures == {
        "error_vs_time.png", "forecast_test.png", "forecast_train.png", "history.png",
        "velocity.png",
    }  # fmt: skip


def test_metrics_have_the_agreed_keys(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    assert set(metrics["forecast"]["relative_l1_percent"]) == {"test", "train"}
    assert set(metrics["latent"]["relative_l1_percent"]) == {"velocity_x", "velocity_y"}
    assert set(metrics["train"]) == {
        "seconds", "steps", "final_loss", "compile_seconds", "seconds_per_step", "temporary_mb",
        "parameters", "observations", "validation_loss", "best_step", "stopped_early",
        "converged", "restarts", "ensemble", "prior",
    }  # fmt: skip
    # 2 training samples at one time, on 24 x 12 cells
    assert metrics["train"]["observations"] == 2 * 24 * 12
    assert metrics["train"]["steps"] == 40
    assert metrics["solver"]["failed_solves"] == 0
    assert metrics["solver"]["iterations_mean"] == 1.0
    assert 0 < metrics["solver"]["max_residual"] < 1e-6
    assert 0 < metrics["gradient"]["max_residual"] <= 1e-8
    assert metrics["memory"]["peak_rss_mb"] > 100
    assert metrics["seconds_total"] > metrics["train"]["seconds"]
    assert metrics["precision"] == "float64"
    times, percents = np.array(metrics["forecast"]["error_vs_time"]).T
    assert times == pytest.approx([0, 0.05, 0.1, 0.15, 0.2])
    assert percents[0] == 0
    assert percents[-1] == pytest.approx(metrics["forecast"]["relative_l1_percent"]["test"])


def test_error_in_the_metrics_is_that_of_the_stored_forecast(finished):
    metrics = json.loads((finished / "metrics.json").read_text())
    with xr.open_dataset(finished / "forecast.nc", engine="h5netcdf") as stored:
        last = stored.isel(time=-1, sample=stored["test"].to_numpy())
        error = abs(last["phi_forecast"] - last["phi_truth"]).sum(("x", "y"))
        percent = 100 * (error / abs(last["phi_truth"]).sum(("x", "y"))).mean()
        assert dict(stored["phi_forecast"].attrs)["scaling"] == "dimensionless"
    assert float(percent) == pytest.approx(metrics["forecast"]["relative_l1_percent"]["test"])


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_weights(finished, tmp_path):
    folder = tmp_path / "run"
    command = [
        sys.executable,
        "-m",
        "impindiff",
        "run",
        CASE,
        *settings(stepper__name="crank_nicolson"),
        "--out",
        str(folder),
    ]
    history = folder / "history.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            if history.exists() and len(history.read_text().splitlines()) > 3:
                break
            time.sleep(0.005)
        assert process.poll() is None, "the run ended before it could be killed"
        process.send_signal(signal.SIGKILL)
    assert not (folder / "model.eqx").exists()
    refused = impindiff("forecast", folder, "--until", "1", "--out", tmp_path / "f.nc", check=False)
    assert refused.returncode == 2
    assert "--resume" in refused.stderr

    impindiff("run", CASE, "--out", folder, "--resume")
    assert (folder / "model.eqx").read_bytes() == (finished / "model.eqx").read_bytes()
    losses = [
        [(r["step"], r["loss"]) for r in map(json.loads, path.read_text().splitlines())]
        for path in (history, finished / "history.jsonl")
    ]
    assert losses[0] == losses[1]


def test_a_forecast_is_not_written_as_a_table(finished, tmp_path):
    for out, words in (("f.csv", "fields are not written as .csv"), ("f", "the suffix '' is not")):
        refused = impindiff(
            "forecast", finished, "--until", "1", "--out", tmp_path / out, check=False
        )
        assert refused.returncode == 2
        assert words in refused.stderr


def test_a_longer_forecast(finished, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(finished, folder)
    film = folder / "longer.gif"
    done = impindiff("forecast", folder, "--until", "0.4", "--animate", film)
    assert done.stderr == ""  # the velocity is steady: beyond the last observation, but no warning
    out = folder / "forecast_until_0.4.nc"
    with (
        xr.open_dataset(out, engine="h5netcdf") as longer,
        xr.open_dataset(finished / "forecast.nc", engine="h5netcdf") as first,
    ):
        assert longer["time"].to_numpy()[-1] == pytest.approx(0.4)
        shared = longer["phi_forecast"].isel(time=slice(0, 5)).to_numpy()
        np.testing.assert_allclose(shared, first["phi_forecast"].to_numpy(), atol=1e-7)
        assert np.isfinite(longer["phi_truth"].to_numpy()).all()
        last = longer.isel(time=-1, sample=longer["test"].to_numpy())
        error = abs(last["phi_forecast"] - last["phi_truth"]).sum(("x", "y"))
        percent = 100 * float((error / abs(last["phi_truth"]).sum(("x", "y"))).mean())
        with Image.open(film) as frames:
            assert getattr(frames, "n_frames", 1) == longer.sizes["time"]
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{out}: 4 samples, 9 times to 0.4; ")
    assert lines[0].endswith(f"relative L1 error at t = 0.4, test set: {percent:.3f} %")
    assert lines[1:] == [f"{film}: animation"]


def test_a_forecast_that_ends_before_the_observations(finished, tmp_path):
    out = tmp_path / "shorter.nc"
    impindiff("forecast", finished, "--until", "0.03", "--no-bands", "--out", out)
    with xr.open_dataset(out, engine="h5netcdf") as shorter:
        assert shorter["time"].to_numpy() == pytest.approx([0, 0.03])
        assert np.isfinite(shorter["phi_truth"].to_numpy()).all()


@pytest.mark.slow
def test_a_forecast_warns_of_extrapolation_in_time(finished, tmp_path, monkeypatch, capsys):
    """Of a steady field: pretend, with the run's own forecast and no ffmpeg."""
    stored = xr.load_dataset(finished / "forecast.nc", engine="h5netcdf")
    data = Run(finished).data.dataset
    monkeypatch.setattr(pipeline, "depends_on_time", lambda model, t: True)
    monkeypatch.setattr(type(get_problem(CASE)), "reference", lambda *_: data)
    monkeypatch.setattr(Experiment, "states", lambda *_: ([], None))
    monkeypatch.setattr(pipeline, "_forecast", lambda *_, **__: stored)
    monkeypatch.setenv("PATH", "")
    out, film = tmp_path / "f.nc", tmp_path / "f.mp4"
    arguments = ["--until", "0.2", "--out", out, "--animate", film, "--sample", "0"]
    command = ["impindiff", "forecast", finished, "--no-bands", *arguments]
    monkeypatch.setattr(sys, "argv", list(map(str, command)))
    cli.main()
    printed = capsys.readouterr()
    (warning,) = printed.err.splitlines()
    assert warning.startswith("impindiff: warning: the velocity depends on time")
    assert "until t = 0.05, forecast until t = 0.2" in warning
    metrics = json.loads((finished / "metrics.json").read_text())
    percent = metrics["forecast"]["relative_l1_percent"]["test"]
    assert printed.out.splitlines() == [
        f"{out}: 4 samples, 5 times to 0.2; relative L1 error at t = 0.2, test set: "
        f"{percent:.3f} %",
        f"{tmp_path / 'f.gif'}: animation (no ffmpeg on the PATH for {film})",
    ]
    assert {p.name for p in tmp_path.iterdir()} == {"f.nc", "f.gif"}


def test_what_cannot_be_forecast_is_refused_before_anything_is_computed(
    finished, tmp_path, monkeypatch
):
    monkeypatch.setattr(Experiment, "states", None)
    out, film = tmp_path / "f.nc", tmp_path / "f.gif"
    for arguments, message in (
        ({"sample": 4}, r"--sample: there is no sample 4; they go from 0 to 3"),
        ({"sample": -1}, r"no sample -1"),
        ({"animate": tmp_path / "f.avi"}, r"f\.avi: an animation is an \.mp4 or a \.gif"),
        ({"animate": tmp_path / "absent" / "f.gif"}, r"there is no folder"),
        ({"out": tmp_path / "absent" / "f.nc"}, r"there is no folder"),
        ({"until": 0.0}, r"--until: 0 is not a time after the initial one, 0"),
        ({"until": np.inf}, r"--until: inf"),
    ):
        with pytest.raises(InputError, match=message):
            forecast(finished, **{"until": 0.4, "out": out, "animate": film, **arguments})
    assert not list(tmp_path.iterdir())
