"""Which runs a comparison starts and with what, and what it makes of how they end.

The runs themselves are stood in for: tests/command/test_compare.py has real ones.
"""

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import xarray as xr

from impindiff.compare import _runner as runner
from impindiff.compare._request import Request
from impindiff.compare._results import collect
from impindiff.compare._runner import run_comparison
from impindiff.compare.command import compare_problem
from impindiff.errors import FailureCode
from impindiff.experiment import directory
from impindiff.problems import get_problem
from impindiff.results import METRICS, Failure, Numbers
from impindiff.settings import load_configuration
from impindiff.training import StorageError
from result_files import run_metrics

CASE = "advection_diffusion_steady"
SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "test_samples": 1},
    "field": {"width": 8, "depth": 2},
    "training": {"steps": 50},
}
ERRORS = [[t, 1.0] for t in (0.05, 0.1, 0.2, 0.4)]


class Runs:
    """In place of `impindiff run`: notes what was asked for, plans 7 steps, ends as told.

    An end takes the log and the folder of the run, and returns an exit code.
    """

    def __init__(self):
        self.words: list[list[str]] = []
        self.environment: dict[str, str] = {}
        self.ends: dict[str, Callable[[Any, Path], int]] = {}

    def __call__(self, words, *, stdout, stderr, env, timeout):
        assert stderr == subprocess.STDOUT
        self.words.append(words)
        self.environment = env
        folder = Path(words[words.index("--out") + 1])
        if "--config" in words:
            asked = Path(words[words.index("--config") + 1])
            settings = load_configuration(get_problem(CASE).settings, [asked], [])
            steps = 7 if settings.training.seconds else settings.training.steps
            directory.write_configuration(folder, settings.with_steps(steps))
        method = folder.parent.name
        code = self.ends[method](stdout, folder) if method in self.ends else 0
        if code == 0:
            run_metrics(ERRORS).write(folder / METRICS)
        return SimpleNamespace(returncode=code)

    @property
    def folders(self) -> list[str]:
        """Method and seed of each, in order."""
        folders = [Path(words[words.index("--out") + 1]) for words in self.words]
        return [f"{folder.parent.name}/{folder.name}" for folder in folders]

    def asked(self, out: Path, folder: str) -> Any:
        """The configuration that a run was started with."""
        path = out / "runs" / f"{folder}.yaml"
        return load_configuration(get_problem(CASE).settings, [path], [])


@pytest.fixture
def runs(monkeypatch) -> Runs:
    stand_in = Runs()
    replaced = SimpleNamespace(
        run=stand_in, STDOUT=subprocess.STDOUT, TimeoutExpired=subprocess.TimeoutExpired
    )
    monkeypatch.setattr(runner, "subprocess", replaced)
    return stand_in


def request(*methods: str, **options: Any) -> Request:
    return Request(problem=CASE, methods=methods, **{"overrides": SMALL, **options})


def says(text: str, code: int = 1) -> Callable[[Any, Path], int]:
    def end(log: Any, folder: Path) -> int:
        del folder
        log.write(text)
        log.flush()
        return code

    return end


def stores(code: FailureCode, message: str) -> Callable[[Any, Path], int]:
    def end(log: Any, folder: Path) -> int:
        directory.write_failure(folder, code, message)
        return says(f"impindiff: {message}\n")(log, folder)

    return end


def test_the_first_seed_plans_the_steps_of_all(runs, tmp_path):
    run_comparison(request("implicit", "local_law", seeds=2, budget=30.0), tmp_path)
    assert runs.folders == [
        f"{method}/seed-{seed}" for method in ("implicit", "local_law") for seed in (0, 1)
    ]
    for method in ("implicit", "local_law"):
        first, second = (runs.asked(tmp_path, f"{method}/seed-{seed}").training for seed in (0, 1))
        assert (first.seconds, first.steps) == (30.0, 50)
        assert (second.seconds, second.steps) == (None, 7)


def test_without_a_budget_every_run_takes_the_steps_of_its_method(runs, tmp_path):
    run_comparison(request("implicit", "fno"), tmp_path)
    assert runs.asked(tmp_path, "implicit/seed-0").training.seconds is None
    assert runs.asked(tmp_path, "implicit/seed-0").training.steps == 50
    assert runs.asked(tmp_path, "fno/seed-0").training.steps == 4000


def test_methods_share_the_data_of_a_seed_which_go_to_twice_the_horizon(runs, tmp_path):
    asked = request("implicit", "fno", seeds=2, overrides={**SMALL, "forecast": {"until": 0.1}})
    run_comparison(asked, tmp_path)
    assert {path.name for path in (tmp_path / "data").iterdir()} == {"seed-0.nc", "seed-1.nc"}
    for seed in (0, 1):
        for method in ("implicit", "fno"):
            settings = runs.asked(tmp_path, f"{method}/seed-{seed}")
            assert settings.data.path == tmp_path / "data" / f"seed-{seed}.nc"
            assert settings.forecast.keep_failed
            # all of the data are forecast: else what was not would count as blown up
            assert settings.forecast.until is None
    fields = []
    for seed in (0, 1):
        with xr.open_dataset(tmp_path / "data" / f"seed-{seed}.nc", engine="h5netcdf") as data:
            assert data["time"].to_numpy()[-1] == pytest.approx(0.2)
            fields.append(data["phi"].to_numpy())
            assert data["test"].to_numpy().tolist() == [0, 0, 1]
    assert not np.allclose(*fields)


def test_it_says_at_once_what_will_run_and_what_it_is_doing(runs, tmp_path):
    said = []
    run_comparison(request("implicit", "fno"), tmp_path, say=said.append)
    assert said[:2] == ["implicit: implicit hybrid (Im-PiNDiff)", "fno: Fourier neural operator"]
    assert said[2].startswith("seed 0: computing the data")
    assert said[3].startswith("implicit hybrid (Im-PiNDiff), seed 0: running, log in ")
    assert said[4].startswith("Fourier neural operator, seed 0: running, log in ")


def test_resume_starts_what_has_not_ended_with_the_steps_of_what_has(runs, tmp_path):
    asked = request("implicit", seeds=3, budget=30.0)
    run_comparison(asked, tmp_path)
    folder = tmp_path / "runs" / "implicit"
    shutil.rmtree(folder / "seed-0")
    (folder / "seed-2" / "metrics.json").unlink()
    runs.words.clear()
    run_comparison(asked, tmp_path)
    assert runs.folders == ["implicit/seed-0", "implicit/seed-2"]
    anew, interrupted = runs.words
    assert "--config" in anew
    assert "--resume" not in anew
    training = runs.asked(tmp_path, "implicit/seed-0").training
    assert (training.seconds, training.steps) == (None, 7)
    assert "--resume" in interrupted
    assert "--config" not in interrupted


@pytest.mark.parametrize(
    ("end", "code", "reason", "status"),
    [
        (stores(FailureCode.not_finite, "step 3"), "not_finite", "step 3", "blow-up"),
        # the words decide nothing
        (
            stores(FailureCode.stagnated, "NaN or infinite"),
            "stagnated",
            "NaN or infinite",
            "failed",
        ),
        (
            says("first\nimpindiff: seed: is no number\n", 2),
            "wrong_input",
            "seed: is no number",
            "failed",
        ),
        (
            says("Traceback (most recent call last):\n", 1),
            "other",
            "the process ended with exit code 1; see seed-0.log.txt",
            "failed",
        ),
        (says("", -9), "killed", "the process was ended by signal 9, out of memory?", "failed"),
        (says("", -11), "killed", "the process was ended by signal 11", "failed"),
    ],
)
def test_a_run_that_fails_keeps_its_reason_and_the_others_go_on(
    runs, tmp_path, end, code, reason, status
):
    runs.ends["implicit"] = end
    outcomes = []
    asked = request("implicit", "fno")
    run_comparison(asked, tmp_path, show=outcomes.append)
    assert [o.failure for o in outcomes] == [Failure(code=FailureCode(code), message=reason), None]
    stored = json.loads((tmp_path / "runs" / "implicit" / "seed-0" / "failure.json").read_text())
    assert stored == {"code": code, "message": reason}
    failed, done = collect(asked, tmp_path).methods
    assert (failed.runs[0].status, failed.failures) == (status, 1)
    assert (done.runs[0].status, done.failures) == ("ok", 0)
    # it has ended: to resume is not to try again
    runs.words.clear()
    run_comparison(asked, tmp_path)
    assert runs.words == []


def test_a_run_that_does_not_end_is_given_up(runs, tmp_path):
    def end(log, folder):
        raise subprocess.TimeoutExpired("impindiff", 1)

    runs.ends["implicit"] = end
    outcomes = []
    run_comparison(request("implicit", budget=25.0), tmp_path, show=outcomes.append)
    assert outcomes[0].failure == Failure(
        code=FailureCode.timed_out, message="had not ended after 1000 s"
    )


def test_a_full_disk_ends_the_comparison_and_the_run_is_taken_up_again(runs, tmp_path):
    runs.ends["implicit"] = stores(FailureCode.full_disk, "the disk is full")
    asked = request("implicit", "fno")
    with pytest.raises(StorageError, match="the disk is full"):
        run_comparison(asked, tmp_path)
    runs.ends.clear()
    run_comparison(asked, tmp_path)
    assert runs.folders == ["implicit/seed-0", "implicit/seed-0", "fno/seed-0"]
    assert "--resume" in runs.words[1]


@pytest.mark.slow
def test_what_does_not_fit_into_memory_is_tried_with_one_seed(runs, tmp_path):
    message = "a training step needs 99.0 GB of temporary memory, this machine has 8.0 GB"
    runs.ends["implicit"] = stores(FailureCode.out_of_memory, message)
    asked = request("implicit", "fno", seeds=3)
    run_comparison(asked, tmp_path)
    assert [name for name in runs.folders if "implicit" in name] == ["implicit/seed-0"]
    row = collect(asked, tmp_path).methods[0]
    assert [run.message for run in row.runs] == [message] * 3
    assert row.failures == 3


def test_a_method_that_cannot_solve_the_case_is_named_and_not_run(runs, tmp_path):
    """Nor is its configuration looked at, which is not valid."""
    said = []
    results, _ = compare_problem(
        "vapor_infiltration_closure",
        methods="rk4,local_law",
        seeds=1,
        budget=None,
        quick=True,
        study=None,
        config=[],
        overrides=[],
        out=tmp_path / "out",
        resume=False,
        say=said.append,
    )
    assert runs.words == []
    assert said[0].startswith("comparison on vapor_infiltration_closure: reading")
    assert said[1].startswith("--quick: vapor_infiltration_closure has no coarser settings")
    assert said[2].startswith("rk4: not run: ")
    rk4, local_law = results.methods
    assert "mass 0" in str(rk4.not_run)
    assert "not observed" in str(local_law.not_run)
    assert (rk4.runs, rk4.failures) == ([], 0)


@pytest.mark.slow
@pytest.mark.parametrize(("largest", "accuracy_decides"), [(0.05, True), (1e-3, False)])
def test_explicit_steps_are_measured_once_and_given_to_the_runs(
    largest, accuracy_decides, runs, tmp_path, monkeypatch
):
    monkeypatch.setattr(runner, "largest_stable_step", lambda truth, stepper: largest)
    methods = ("implicit", "forward_euler", "forward_euler_equal_error")
    asked = request(*methods, overrides={**SMALL, "stepper": {"dt": 0.05}})
    run_comparison(asked, tmp_path)
    measured = json.loads((tmp_path / "steps.json").read_text())
    steps = {name: found["step"] for name, found in measured.items()}
    errors = {name: found["temporal_error_percent"] for name, found in measured.items()}
    assert set(steps) == set(methods)
    assert steps["implicit"] == 0.05
    assert steps["forward_euler"] == 0.9 * largest
    if accuracy_decides:
        assert steps["forward_euler_equal_error"] < 0.5 * steps["forward_euler"]
        assert 0.8 * errors["implicit"] < errors["forward_euler_equal_error"] <= errors["implicit"]
        assert errors["forward_euler"] > errors["implicit"]
    else:
        assert steps["forward_euler_equal_error"] == steps["forward_euler"]
    for name in methods:
        assert runs.asked(tmp_path, f"{name}/seed-0").stepper.dt == steps[name]
    row = collect(asked, tmp_path).methods[1]
    assert row.temporal_error_percent == errors["forward_euler"]

    monkeypatch.setattr(runner, "largest_stable_step", None)
    run_comparison(asked, tmp_path)
    assert json.loads((tmp_path / "steps.json").read_text()) == measured


def test_a_study_of_memory_measures_each_of_its_points_once(runs, tmp_path, monkeypatch):
    allowed = []

    def measured(case, settings):
        allowed.append((settings.adjoint.name, settings.solver.max_krylov_iterations))
        return Numbers(temporary_mb=float(len(allowed)), compile_seconds=1.0)

    monkeypatch.setattr(runner, "temporary_memory", measured)
    asked = request("implicit", "unrolled", study="memory_iterations", seeds=2)
    for _ in range(2):
        run_comparison(asked, tmp_path)
    points = (5, 10, 20, 50)
    assert allowed == [(g, n) for g in ("implicit_adjoint", "unrolled") for n in points]
    assert runs.words == []
    rows = collect(asked, tmp_path).methods
    assert [row.mean.temporary_mb for row in rows] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [row.x for row in rows] == [*points, *points]


def test_programs_are_compiled_once_for_all_runs_unless_told_where(runs, tmp_path, monkeypatch):
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    run_comparison(request("implicit"), tmp_path / "a")
    assert runs.environment["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "a" / ".compiled")
    monkeypatch.setenv("JAX_COMPILATION_CACHE_DIR", "elsewhere")
    run_comparison(request("implicit"), tmp_path / "b")
    assert runs.environment["JAX_COMPILATION_CACHE_DIR"] == "elsewhere"
