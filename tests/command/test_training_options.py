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
import numpy as np
import pytest
from matplotlib.image import imread
from running import CASE, impindiff, settings

from impindiff import run_directory, workflow
from impindiff.cases import get_case
from impindiff.cases.configuration import load_settings, merged
from impindiff.errors import InputError
from impindiff.training.history import read
from impindiff.workflow import run_case

SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "held_out_samples": 1},
    "field": {"width": 8, "depth": 2},
    "forecast": {"every": 0.05},
    "training": {"steps": 4, "log_every": 1, "save_every": 1},
}


@pytest.fixture
def without_figures(monkeypatch):
    monkeypatch.setattr(workflow, "draw_figures", lambda *arguments: None)


def run(folder: Path, training: dict[str, Any], name: str = CASE, **options: Any) -> dict[str, Any]:
    case = get_case(name)
    given = merged(SMALL, {"training": training})
    return run_case(case, load_settings(case.settings, given), folder, **options)


def refusal(training: dict[str, Any]) -> str:
    with pytest.raises(InputError) as refused:
        load_settings(get_case(CASE).settings, merged(SMALL, {"training": training}))
    return str(refused.value)


def test_validation_is_told_everywhere(tmp_path):
    said, shown = [], []
    asked = {"validation": 0.2, "patience": 1, "learning_rate": 0.5, "steps": 12}
    train = run(tmp_path, asked, say=said.append, show=shown.append)["train"]
    records = read(tmp_path / "history.jsonl")
    losses = [record["validation_loss"] for record in records]
    assert train["validation_loss"] == min(losses) == losses[train["best_step"]]
    assert train["stopped_early"]
    assert train["steps"] == train["best_step"] + 2 == len(losses) < 12
    assert [progress.validation for progress in shown] == losses
    assert any("ended early" in line for line in said)
    observed = 16 * 8 * 2 * len(get_case(CASE).observed_times(get_case(CASE).settings()))
    assert train["observations"] == observed - np.ceil(0.2 * observed)
    assert imread(tmp_path / "figures" / "history.png").shape[0] > 300


def test_frozen_parts_come_back_as_they_started(tmp_path, without_figures):
    case = get_case(CASE)
    metrics = run(tmp_path, {"freeze": ["velocity.network.weights"], "rates": {"velocity": 0.5}})
    assert metrics["train"]["parameters"] == 8 + 8 + 2
    found = run_directory.read(tmp_path)
    fresh = case.model(found.settings, jax.random.key(0))
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


@pytest.mark.parametrize("option", [{"clip": 1.0}, {"warmup": 2}, {"rates": {"velocity": 0.5}}])
@pytest.mark.parametrize("optimizer", ["lbfgs", "levenberg_marquardt"])
def test_what_a_second_order_method_cannot_use_is_refused(option, optimizer):
    line = refusal({"optimizer": optimizer, **option})
    assert line.startswith(f"training: {next(iter(option))} is of adam and muon; {optimizer}")


def test_numbers_out_of_range_are_refused():
    assert "warmup of 4 steps must be shorter than all 4" in refusal({"warmup": 4})
    assert refusal({"validation": 1.0}).startswith("training.validation: ")
    assert refusal({"patience": 0}).startswith("training.patience: ")
    assert refusal({"rates": {"velocity": 0.0}}).startswith("training.rates.velocity: ")


def test_event_files_are_written_where_asked_for(tmp_path, without_figures):
    run(tmp_path, {"tensorboard": True})
    assert len(list((tmp_path / "tensorboard").iterdir())) == 1


def test_a_folder_without_room_is_left_without_a_run(tmp_path, monkeypatch):
    usage = collections.namedtuple("Usage", "total used free")(10**9, 0, 1000)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(InputError, match="the training states and results need"):
        run(tmp_path / "run", {})
    assert list((tmp_path / "run").iterdir()) == []


def test_ctrl_c_saves_and_says_how_to_go_on(tmp_path):
    """All of the state, with the best weights, so that the run ends as if it had not been hit."""
    options = settings(
        training__validation=0.2, training__steps=60, training__save_every=1000, training__clip=0.1
    )
    whole, folder = tmp_path / "whole", tmp_path / "cut"
    impindiff("run", CASE, *options, "--out", whole)
    command = [sys.executable, "-m", "impindiff", "run", CASE, *options, "--out", str(folder)]
    history = folder / "history.jsonl"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 240
        while time.monotonic() < deadline and process.poll() is None:
            if history.exists() and len(history.read_text().splitlines()) > 2:
                break
            time.sleep(0.005)
        assert process.poll() is None, "the run ended before it could be interrupted"
        process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=120)
    assert process.returncode == 130
    assert error.decode().strip() == (
        f"interrupted; continue with: impindiff run {CASE} --out {folder} --resume"
    )
    impindiff("run", CASE, "--out", folder, "--resume")
    assert (folder / "model.eqx").read_bytes() == (whole / "model.eqx").read_bytes()
    trained = [json.loads((of / "metrics.json").read_text())["train"] for of in (whole, folder)]
    for key in ("best_step", "validation_loss", "final_loss"):
        assert trained[0][key] == trained[1][key]
