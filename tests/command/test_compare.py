"""`impindiff compare` from end to end on a small problem: runs, failures, resume, table."""

import itertools
import json
import shutil
import sys
from pathlib import Path

import pytest
from running import CASE, impindiff

from impindiff.command import cli
from impindiff.settings.yaml_text import parse_yaml

pytestmark = pytest.mark.slow  # whole runs of the command

SMALL = {
    "grid.cells": "[24, 12]",
    "truth.training_samples": "2",
    "truth.test_samples": "2",
    "truth.dt": "0.0025",
    "field.width": "8",
    "field.depth": "2",
    "training.steps": "6",
    "forecast.bands": "false",
    # so stiff that explicit steps of 0.05 blow up
    "physics.diffusivity": "1.0",
    "stepper.dt": "0.05",
}
SETTINGS = [part for item in SMALL.items() for part in ("--set", "=".join(item))]
METHODS = "implicit,forward_euler_same_step"


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> tuple[Path, str]:
    folder = tmp_path_factory.mktemp("comparison") / "out"
    options = ["--methods", METHODS, "--seeds", "2", "--budget", "60", *SETTINGS]
    done = impindiff("compare", CASE, *options, "--out", folder)
    return folder, done.stdout


def results(folder: Path) -> dict:
    stored = json.loads((folder / "results.json").read_text())
    return {row["name"]: row for row in stored["methods"]} | {"": stored}


def test_every_run_is_a_run_of_its_own_with_shared_data(compared):
    folder, _ = compared
    for seed, method in itertools.product((0, 1), METHODS.split(",")):
        run = folder / "runs" / method / f"seed-{seed}"
        assert (run / "metrics.json").is_file()
        config = parse_yaml((run / "config.yaml").read_text())
        assert config["data"]["path"] == str(folder / "data" / f"seed-{seed}.nc")
        assert config["seed"] == seed
        # planned for the first seed: all of them fit into the budget
        assert config["training"]["steps"] == 6
        assert config["training"]["seconds"] is None


def test_what_blows_up_is_recorded_and_the_others_go_on(compared):
    folder, printed = compared
    found = results(folder)
    assert found["implicit"]["failures"] == 0
    assert found["forward_euler_same_step"]["failures"] == 2
    assert {run["status"] for run in found["forward_euler_same_step"]["runs"]} == {"blow-up"}
    assert found[""]["times"] == {
        "training_end": 0.05,
        "twice_training": 0.1,
        "horizon": 0.2,
        "twice_horizon": 0.4,
    }
    assert found["implicit"]["mean"]["observations"] == 2 * 24 * 12
    assert found["implicit"]["spread"]["error_percent"]["horizon"] > 0
    assert "2 of 2" in printed
    assert [path.name for path in (folder / "figures").iterdir()] == ["error_vs_time.png"]


def test_resume_does_what_is_missing_and_nothing_else(compared, tmp_path):
    folder = tmp_path / "again"
    shutil.copytree(compared[0], folder)
    missing, kept = (folder / "runs" / "implicit" / f"seed-{seed}" for seed in (1, 0))
    before = results(folder)["implicit"]["runs"]
    shutil.rmtree(missing)
    stamp = (kept / "metrics.json").stat().st_mtime_ns
    done = impindiff("compare", CASE, "--resume", "--out", folder)
    assert (kept / "metrics.json").stat().st_mtime_ns == stamp
    assert done.stdout.count("seed 1: done") == 1
    assert "seed 0: done" not in done.stdout
    again = results(folder)["implicit"]["runs"]
    assert again[1]["error_percent"] == before[1]["error_percent"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("advektion",), "there is no problem 'advektion'"),
        (("absent.py",), "absent.py: there is no such file"),
        ((CASE, "--methods", "fnoo"), "no method 'fnoo'"),
        ((CASE, "--study", "colour"), "no study 'colour'"),
        ((CASE, "--set", "training.stepz=1"), "training.stepz"),
        ((CASE, "--resume"), "holds no comparison"),
        ((CASE, "--resume", "--budget", "9"), "leave out --methods, --budget"),
    ],
)
def test_what_cannot_be_compared_is_refused_before_anything_is_written(
    arguments, said, tmp_path, monkeypatch, capsys
):
    out = tmp_path / "out"
    assert said in refusal(monkeypatch, capsys, *arguments, "--out", out)
    assert not out.exists()


def test_a_folder_in_use_is_refused(compared, monkeypatch, capsys):
    assert "--resume" in refusal(monkeypatch, capsys, CASE, "--out", compared[0])


def refusal(monkeypatch, capsys, *arguments) -> str:
    """The one line with which the command, in this process, refuses."""
    monkeypatch.setattr(sys, "argv", ["impindiff", "compare", *map(str, arguments)])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert stop.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    return line
