"""What a configuration can ask of training, from the command's end."""

import collections
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from matplotlib.image import imread
from running import CASE, impindiff, settings

import impindiff as ipd
from impindiff import experiment
from impindiff.errors import InputError
from impindiff.experiment import Experiment, Run
from impindiff.experiment import _pipeline as pipeline
from impindiff.experiment._metrics import identified_numbers
from impindiff.experiment._posterior import uncertainty
from impindiff.problem import as_data
from impindiff.problems import get_problem
from impindiff.results import RunMetrics
from impindiff.settings.configuration import load_settings, merged
from impindiff.training import Fitted, Totals, TrajectoryLoss, partition
from impindiff.training.history import read

SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "test_samples": 1},
    "field": {"width": 8, "depth": 2},
    "forecast": {"every": 0.05, "bands": False},
    "stepper": {"name": "rk4"},
    "training": {"steps": 4, "log_every": 1, "save_every": 1},
}


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(pipeline, "draw_figures", lambda *arguments: None)


def run(folder: Path, training: dict[str, Any], name: str = CASE, **options: Any) -> RunMetrics:
    return run_with({"training": training}, folder, name, **options)


def run_with(given: dict[str, Any], folder: Path, name: str = CASE, **options: Any) -> RunMetrics:
    problem = get_problem(name)
    settings = load_settings(problem.settings, merged(SMALL, given))
    return experiment.run(problem, settings, folder, **options)


def refusal(training: dict[str, Any]) -> str:
    with pytest.raises(InputError) as refused:
        load_settings(get_problem(CASE).settings, merged(SMALL, {"training": training}))
    return str(refused.value)


@pytest.mark.slow
def test_validation_is_told_everywhere(tmp_path):
    said, shown = [], []
    asked = {"validation": 0.2, "patience": 1, "learning_rate": 0.5, "steps": 12}
    train = run(tmp_path, asked, say=said.append, show=shown.append).train
    records = read(tmp_path / "history.jsonl")
    losses = [record["validation_loss"] for record in records]
    assert train.best_step is not None
    assert train.validation_loss == min(losses) == losses[train.best_step]
    assert train.stopped_early
    assert train.steps == train.best_step + 2 == len(losses) < 12
    assert [progress.validation for progress in shown] == losses
    assert any("ended early" in line for line in said)
    observed = 16 * 8 * 2 * len(get_problem(CASE).settings().observations.times)
    assert train.observations == observed - np.ceil(0.2 * observed)
    assert imread(tmp_path / "figures" / "history.png").shape[0] > 300


@pytest.mark.slow
def test_frozen_parts_come_back_as_they_started(tmp_path, without_figures):
    metrics = run(tmp_path, {"freeze": ["velocity.network.weights"], "rates": {"velocity": 0.5}})
    assert metrics.train.parameters == 8 + 8 + 2
    found = Run(tmp_path)
    fresh: Any = found.problem.model(found.settings, jax.random.key(0))
    for old, new in zip(
        fresh.velocity.network.weights, found.model.velocity.network.weights, strict=True
    ):
        np.testing.assert_array_equal(old, new)
    assert (found.model.velocity.network.biases[0] != fresh.velocity.network.biases[0]).any()


def test_a_part_that_there_is_not_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(InputError, match=r"training\.freeze: .*'diffusivity'; it has velocity\."):
        run(tmp_path / "run", {"freeze": ["diffusivity"]})
    with pytest.raises(InputError, match=r"training\.rates: .*'diffusivity'; it has velocity\."):
        run(tmp_path / "run", {"rates": {"diffusivity": 2.0}})
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "option",
    [{"clip": 1.0}, {"warmup": 2}, {"rates": {"velocity": 0.5}}, {"horizon": [[2, 0.5]]}],
)
@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt"])
def test_what_a_second_order_method_cannot_use_is_refused(option, optimizer):
    line = refusal({"optimizer": optimizer, **option})
    assert line.startswith(f"training.{next(iter(option))}")
    assert f"does nothing with training.optimizer={optimizer}; it works with adam or muon" in line


def test_numbers_out_of_range_are_refused():
    assert "warmup of 4 steps must be shorter than all 4" in refusal({"warmup": 4})
    assert refusal({"validation": 1.0}).startswith("training.validation: ")
    assert refusal({"patience": 0}).startswith("training.patience: ")
    assert refusal({"rates": {"velocity": 0.0}}).startswith("training.rates.velocity: ")


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"restarts": 2, "ensemble": 2, "restart_steps": 2}, "restarts and ensemble do not go"),
        ({"horizon": [[2, 0.5]], "shooting": {}}, "shooting and horizon do not go together"),
        ({"horizon": [[4, 0.5]]}, "horizon of 4 steps must be shorter than all 4"),
        ({"restarts": 2}, "restart_steps of 50 must be fewer than all 4"),
        ({"horizon": [[2, 1.5]]}, "training.horizon.0.1: "),
        ({"shooting": {"segments": 1}}, "training.shooting.segments: "),
    ],
)
def test_what_does_not_go_together_is_refused(options, line):
    assert line in refusal(options)


def test_a_black_box_is_not_cut_into_segments():
    given = {"training": {"shooting": {}}, "method": {"name": "fno"}}
    with pytest.raises(InputError, match=r"training\.shooting: .* method\.name is fno"):
        load_settings(get_problem(CASE).settings, merged(SMALL, given))


@pytest.mark.slow
def test_an_ensemble_is_the_runs_of_its_seeds_with_their_spread(tmp_path):
    """From training to the longer forecast of the folder read back."""
    metrics = run(tmp_path / "all", {"ensemble": 2})
    found = Run(tmp_path / "all")
    ends = []
    for seed, member in enumerate(found.model.members):
        alone = tmp_path / str(seed)
        run_with({"seed": seed}, alone)
        one = Run(alone).model
        pair = [jax.tree.leaves(partition(m)[0]) for m in (one, member)]
        for a, b in zip(*pair, strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-9)
        with xr.open_dataset(alone / "forecast.nc", engine="h5netcdf") as forecast:
            ends.append(forecast["phi_forecast"].to_numpy())
    with xr.open_dataset(tmp_path / "all" / "forecast.nc", engine="h5netcdf") as forecast:
        mean, spread = forecast["phi_forecast"].to_numpy(), forecast["phi_spread"].to_numpy()
    np.testing.assert_allclose(mean, np.mean(ends, axis=0), rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(spread, np.std(ends, axis=0, ddof=1), rtol=1e-4, atol=1e-9)
    assert spread.max() > 0
    trained = metrics.train.ensemble
    assert trained is not None
    assert trained.members == 2
    assert np.mean(np.array(trained.final_losses)) == pytest.approx(metrics.train.final_loss)
    assert "phi_spread" in experiment.forecast(tmp_path / "all", 0.3).dataset


def test_numbers_of_an_ensemble_are_mean_and_deviation_over_members():
    problem = get_problem("burgers_public")
    given = load_settings(problem.settings, {"training": {"ensemble": 3}})
    several = Experiment(problem, given, as_data(problem.data(given), None))
    ensemble = several.model(jax.random.key(0))
    scaled = jax.tree.map(lambda x: x * jnp.array([1.0, 1.1, 1.2]), ensemble)
    fitted = Fitted(
        model=scaled, steps=1, seconds=1.0, compile_seconds=1.0, seconds_per_step=1.0,
        temporary_mb=None, final_loss=1.0, totals=Totals.zero(),
    )  # fmt: skip
    each = [problem.identified(member) for member in scaled.members]
    nothing = TrajectoryLoss(jnp.zeros((1, 2)), (0.0, 1.0), jnp.zeros(2), jnp.ravel, ipd.RK4(), 1.0)
    found, warnings, told = identified_numbers(
        several, fitted, uncertainty(several, fitted, nothing)
    )
    assert told is None
    assert warnings == []
    for name in each[0]:
        values = [float(one[name]) for one in each]
        assert found[name].value == pytest.approx(np.mean(values))
        assert found[name].standard_error == pytest.approx(np.std(values, ddof=1))


@pytest.mark.slow
def test_the_best_of_several_starts_goes_on(tmp_path, without_figures):
    said = []
    metrics = run(tmp_path / "all", {"restarts": 3, "restart_steps": 2}, say=said.append)
    starts = metrics.train.restarts
    assert starts is not None
    assert starts.chosen == int(np.argmin(np.array(starts.losses)))
    alone = run_with({"seed": starts.chosen}, tmp_path / "one")
    assert metrics.train.final_loss == alone.train.final_loss
    models = [(tmp_path / of / "model.eqx").read_bytes() for of in ("all", "one")]
    assert models[0] == models[1]
    assert sum(line.startswith("start ") for line in said) == 3


@pytest.mark.slow
def test_a_horizon_and_segments_train_the_problem_s_own_model(tmp_path, without_figures):
    losses, counts = [], []
    for name, asked in {
        "plain": {},
        "horizon": {"horizon": [[2, 0.25]]},
        "shooting": {"shooting": {"segments": 3}, "freeze": ["velocity.network.weights[0]"]},
    }.items():
        given = {"optimizer": "adam"} | asked
        train = run(tmp_path / name, given, "advection_diffusion_dynamic").train
        assert len(read(tmp_path / name / "history.jsonl")) == 4
        model = Run(tmp_path / name).model
        assert type(model).__name__ == "AdvectionDiffusion"
        losses.append(train.final_loss)
        counts.append(train.parameters or 0)
    assert len(set(losses)) == 3
    assert counts[0] == counts[1] > counts[2]


@pytest.mark.slow
def test_event_files_are_written_where_asked_for(tmp_path, without_figures):
    run(tmp_path, {"tensorboard": True})
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_a_folder_without_room_is_left_without_a_run(tmp_path, monkeypatch):
    usage = collections.namedtuple("Usage", "total used free")(10**9, 0, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="the training states and results need"):
        run(tmp_path / "run", {})
    assert list((tmp_path / "run").iterdir()) == []


INTERRUPTED = settings(
    training__validation=0.2, training__steps=100, training__save_every=1000, training__clip=0.1
)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    folder = tmp_path_factory.mktemp("whole") / "run"
    impindiff("run", CASE, *INTERRUPTED, "--out", folder)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_saves_and_says_how_to_go_on(tmp_path, whole, number):
    """All of the state, with the best weights, so that the run ends as if it had not been hit."""
    folder = tmp_path / "cut"
    # tests that a shell runs in the background ignore Ctrl-C, and so would what they start
    heeding = (
        "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
        "from impindiff.command.cli import main; sys.exit(main())"
    )
    command = [sys.executable, "-c", heeding, "run", CASE, *INTERRUPTED, "--out", str(folder)]
    history = folder / "history.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            if history.exists() and len(history.read_text().splitlines()) > 2:
                break
            time.sleep(0.005)
        assert process.poll() is None, "the run ended before it could be interrupted"
        process.send_signal(number)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 128 + number, error.decode()
    assert error.decode().splitlines() == [
        "interrupted: this step is ended and the training state saved; once more ends it at once",
        f"interrupted; continue with: impindiff run {CASE} --out {folder} --resume",
    ]
    impindiff("run", CASE, "--out", folder, "--resume")
    assert (folder / "model.eqx").read_bytes() == (whole / "model.eqx").read_bytes()
    trained = [json.loads((of / "metrics.json").read_text())["train"] for of in (whole, folder)]
    for key in ("best_step", "validation_loss", "final_loss"):
        assert trained[0][key] == trained[1][key]
