"""What the figures of a comparison are drawn from."""

from typing import Any

import numpy as np
import pytest

from impindiff import report
from impindiff.compare._figures import draw
from impindiff.report import Points
from impindiff.results import (
    METRICS,
    ComparisonResults,
    MethodResults,
    MethodRun,
    Numbers,
    Times,
)
from result_files import run_metrics

TIMES = {"training_end": 0.1, "twice_training": 0.2, "horizon": 0.4, "twice_horizon": None}


@pytest.fixture
def drawn(monkeypatch) -> dict[str, Any]:
    """What was passed to the plots, by file name."""
    found = {}

    def save(figure, path):
        found[path.name] = figure

    monkeypatch.setattr(report, "method_errors_figure", lambda *shown: shown)
    monkeypatch.setattr(report, "study_figure", lambda *shown: shown)
    monkeypatch.setattr(report, "save", save)
    return found


def run(folder="", horizon=None, **numbers):
    errors: dict[str, Any] = dict.fromkeys(TIMES) | {"horizon": horizon}
    return MethodRun(seed=0, folder=folder, error_percent=errors, **numbers)


def row(method, title, runs, x=None, mean=None):
    mean = Numbers.model_validate((mean or run()).model_dump())
    return MethodResults(name=title, title=title, method=method, kind="", x=x, runs=runs, mean=mean)


def results(rows, study=None):
    return ComparisonResults(
        problem="", command="", study=study, seeds=[0], times=Times(**TIMES), methods=rows
    )


@pytest.mark.parametrize(("judged_on", "named"), [("test", "test"), ("train", "training")])
def test_the_axis_of_errors_names_the_set_that_they_are_of(judged_on, named, drawn, tmp_path):
    (tmp_path / "a").mkdir()
    run_metrics([[0.0, 0.0], [0.4, 5.0]]).write(tmp_path / "a" / METRICS)
    found = results([row("one", "one method", [run("a")])])
    draw(found.model_copy(update={"judged_on": judged_on}), tmp_path)
    *_, y_label = drawn["error_vs_time.png"]
    assert y_label == f"relative L1 error of the {named} set (%)"


def test_errors_along_time_end_where_they_blow_up_and_need_a_run_that_ended_well(drawn, tmp_path):
    stored = {
        "a": [[0.0, 0.0], [0.2, 5.0], [0.4, 2000.0]],
        "b": [[0.0, 0.0], [0.2, 7.0], [0.4, 9.0]],
    }
    for name, pairs in stored.items():
        (tmp_path / name).mkdir()
        run_metrics(pairs).write(tmp_path / name / METRICS)
    rows = [
        row("one", "one method", [run("a"), run("b")]),
        row("two", "failed", [run("c")]),
        row("three", "not run", []),
    ]
    draw(results(rows), tmp_path)
    (points,), marks, _ = drawn["error_vs_time.png"]
    assert points.title == "one method"
    # without the initial time, where every error is zero
    np.testing.assert_array_equal(points.x, [0.2, 0.4])
    np.testing.assert_array_equal(points.y, [[5, np.nan], [7, 9]])
    assert marks == {"end of training": 0.1, "twice that": 0.2, "horizon": 0.4}


def test_error_against_cost_is_cheapest_first_and_leaves_out_what_has_none(drawn, tmp_path):
    means = [
        run(horizon=3.0, training_seconds=20.0),
        run(horizon=4.0, training_seconds=10.0),
        run(training_seconds=5.0),
    ]
    rows = [
        row("fno", f"neural operator, kept whole, dt = {i}", [run()], float(i), mean)
        for i, mean in enumerate(means)
    ]
    draw(results(rows, "pareto"), tmp_path)
    (points,), x_label, _ = drawn["pareto.png"]
    assert points.title == "neural operator, kept whole"
    assert x_label == "seconds of training"
    np.testing.assert_array_equal(points.x, [10, 20])
    np.testing.assert_array_equal(points.y, [[4, 3]])


def test_a_study_is_along_its_quantity_a_line_for_each_seed(drawn, tmp_path):
    rows = [
        row("fno", "operator, 512 sensors", [run(horizon=2.0), run(horizon=3.0)], 512),
        row("fno", "operator, 32 sensors", [run(horizon=5000.0), run()], 32),
        row("implicit", "hybrid, 32 sensors", [run(horizon=1.0), run(horizon=1.5)], 32),
    ]
    draw(results(rows, "sensors"), tmp_path)
    (fno, hybrid), x_label, y_label = drawn["sensors.png"]
    assert isinstance(fno, Points)
    assert (fno.title, hybrid.title) == ("operator", "hybrid")
    np.testing.assert_array_equal(fno.x, [32, 512])
    # what has blown up is no error, however finite, and nor is what failed
    np.testing.assert_array_equal(fno.y, [[np.nan, 2], [np.nan, 3]])
    np.testing.assert_array_equal(hybrid.y, [[1], [1.5]])
    assert x_label == "sensors"
    assert y_label == "relative L1 error of the test set (%) at the horizon"


def test_a_measured_study_shows_what_was_measured_however_large(drawn, tmp_path):
    rows = [row("unrolled", "naive, 5 iterations", [run(temporary_mb=4000.0)], 5)]
    draw(results(rows, "memory_iterations"), tmp_path)
    (points,), _, y_label = drawn["memory_iterations.png"]
    np.testing.assert_array_equal(points.y, [[4000]])
    assert "memory" in y_label
