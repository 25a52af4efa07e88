"""`solver.preconditioner: auto` in a run: its choice is in log, metrics and report."""

from pathlib import Path
from typing import Any

import pytest
from running import CASE

from impindiff import experiment
from impindiff.experiment import Run, directory
from impindiff.experiment import _pipeline as pipeline
from impindiff.pages import write_report
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


def run(folder: Path, solver: dict[str, Any], **options: Any) -> tuple[RunMetrics, list[str]]:
    problem = get_problem(CASE)
    settings = load_settings(problem.settings, merged(SMALL, {"solver": solver}))
    said = []
    return experiment.run(problem, settings, folder, say=said.append, **options), said


@pytest.mark.slow
def test_a_run_records_the_choice_and_takes_it_again_when_resumed(tmp_path):
    # fewer iterations than a solve without preconditioner needs
    few = {"max_krylov_iterations": 4}
    auto = {**few, "preconditioner": "auto"}
    metrics, said = run(tmp_path / "auto", auto)
    choice = metrics.solver.automatic_preconditioner
    assert choice is not None
    assert choice.startswith("Multigrid() (D dt/dx^2 at most ")
    assert said.count(f"preconditioner: {choice}") == 1
    assert "Multigrid() (D dt/dx^2 at most " in write_report(tmp_path / "auto").read_text()

    def interrupt(progress):
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "cut", auto, show=interrupt)
    cut = Run(tmp_path / "cut")
    again = experiment.run(cut.problem, cut.settings, tmp_path / "cut", resume=True)
    assert again.solver.automatic_preconditioner == choice

    given, _ = run(tmp_path / "given", {**few, "preconditioner": "multigrid"})
    assert given.solver.automatic_preconditioner is None
    models = [(tmp_path / name / directory.MODEL).read_bytes() for name in ("auto", "cut", "given")]
    assert models[0] == models[1] == models[2]


@pytest.mark.slow
def test_an_easy_step_needs_none(tmp_path):
    metrics, _ = run(tmp_path, {"preconditioner": "auto"})
    assert (metrics.solver.automatic_preconditioner or "").startswith("none (D dt/dx^2 at most ")
