"""The table of a comparison, from the folders of its runs."""

import numpy as np
import pytest
from rich.console import Console

from impindiff.compare.command import comparison_table
from impindiff.compare.figures import draw
from impindiff.compare.request import Request, folder_of, rows_of
from impindiff.compare.results import collect, write_results
from impindiff.experiment import directory
from impindiff.problems import get_problem
from impindiff.results import FAILURE, METRICS, RESULTS, ComparisonResults, RunMetrics
from impindiff.settings.configuration import load_settings
from result_files import run_metrics

CASE = "advection_diffusion_steady"
TIMES = (0.05, 0.1, 0.2, 0.4)


def metrics(errors, seconds=0.1):
    pairs = [[0.0, 0.0], *([t, e] for t, e in zip(TIMES, errors, strict=True))]
    return run_metrics(pairs, seconds_per_step=seconds, steps=50, temporary_mb=5.0)


def store(out, request, name, seed, found=None):
    """What such a run leaves; a failure as it is, None for what is measured without training."""
    row = next(row for row in rows_of(request) if row.name == name)
    folder = folder_of(row, seed, out)
    folder.mkdir(parents=True)
    settings = load_settings(get_problem(CASE).settings, {"stepper": {"dt": 0.01}})
    directory.write_configuration(folder, settings)
    if isinstance(found, RunMetrics):
        found.write(folder / METRICS)
    elif found is not None:
        directory.write_json(folder / FAILURE, found)
    return folder


@pytest.fixture
def three(tmp_path):
    """A method with two runs, one that blows up in one run of two, one that fails in training."""
    request = Request(problem=CASE, methods=("implicit", "rk4", "fno"), seeds=2)
    store(tmp_path, request, "implicit", 0, metrics((1.0, 2.0, 3.0, 4.0), 0.1))
    store(tmp_path, request, "implicit", 1, metrics((3.0, 4.0, 5.0, 6.0), 0.3))
    store(tmp_path, request, "rk4", 0, metrics((1.0, 2.0, 3.0, None)))
    store(tmp_path, request, "rk4", 1, metrics((1.0, 2.0, 3.0, 4.0)))
    message = "training step 3: the residual is NaN or infinite"
    store(tmp_path, request, "fno", 0, {"code": "not_finite", "message": message})
    return request, tmp_path


def rows(request, out):
    return {row.name: row for row in collect(request, out).methods}


def test_mean_and_spread_are_over_seeds(three):
    row = rows(*three)["implicit"]
    assert row.mean.error_percent == {
        "training_end": 2.0,
        "twice_training": 3.0,
        "horizon": 4.0,
        "twice_horizon": 5.0,
    }
    assert row.spread.error_percent["horizon"] == pytest.approx(np.sqrt(2))
    assert row.mean.seconds_per_step == pytest.approx(0.2)
    assert row.failures == 0


def test_one_that_blows_up_is_counted_and_leaves_the_other(three):
    row = rows(*three)["rk4"]
    assert row.failures == 1
    assert [run.status for run in row.runs] == ["blow-up", "ok"]
    assert "t = 0.4" in str(row.runs[0].message)
    assert row.mean.error_percent["twice_horizon"] == 4.0
    assert row.spread.error_percent["twice_horizon"] is None


def test_a_failure_in_training_keeps_its_reason_and_a_run_to_come_is_none(three):
    row = rows(*three)["fno"]
    assert row.failures == 1
    assert len(row.runs) == 1
    assert row.runs[0].status == "blow-up"
    assert row.mean.error_percent["horizon"] is None


def test_what_has_not_run_has_no_spread_and_one_run_has_none_either(tmp_path):
    request = Request(problem=CASE, methods=("implicit", "fno"), seeds=2)
    store(tmp_path, request, "implicit", 0, metrics((1.0, 2.0, 3.0, 4.0)))
    found = rows(request, tmp_path)
    assert found["implicit"].mean.error_percent["horizon"] == 3.0
    assert set(found["implicit"].spread.error_percent.values()) == {None}
    assert found["implicit"].spread.seconds_per_step is None
    assert (found["fno"].runs, found["fno"].failures) == ([], 0)
    assert found["fno"].mean.seconds_per_step is None


def test_a_run_that_ended_in_a_measurement_has_that_and_no_error(tmp_path):
    request = Request(problem=CASE, methods=("unrolled",), study="memory_iterations")
    name = "unrolled/iterations=10"
    folder = store(tmp_path, request, name, 0)
    (folder / "measured.json").write_text('{"temporary_mb": 12.5, "compile_seconds": 2.0}')
    row = rows(request, tmp_path)[name]
    assert (row.x, row.failures, row.runs[0].status) == (10, 0, "ok")
    assert (row.mean.temporary_mb, row.mean.steps) == (12.5, None)
    assert row.mean.error_percent["horizon"] is None


def test_the_table_tells_apart_failed_not_run_and_to_come(three):
    def lines(results):
        console = Console(width=200)
        with console.capture() as printed:
            console.print(comparison_table(results))
        return [" ".join(line.split()) for line in printed.get().splitlines()]

    found = lines(write_results(*three))
    assert found[1].startswith(
        "method trained to 0.05 twice that 0.1 horizon 0.2 twice that 0.4 failed"
    )
    assert found[2:] == [
        "implicit 2 +- 1 3 +- 1 4 +- 1 5 +- 1 - 0.2 5 50",
        # of its two runs one is left at the end
        "rk4 1 +- 0 2 +- 0 3 +- 0 4 1 of 2 0.1 5 50",
        "fno failed failed failed failed 1 of 1 - - -",
    ]
    infiltration = Request(problem="vapor_infiltration_closure", methods=("rk4", "implicit"))
    found = lines(collect(infiltration, three[1] / "nothing"))
    assert found[-2] == "rk4 not run"
    assert found[-1] == "implicit - - - - - -"


def test_table_and_figures_come_of_the_results(three):
    request, out = three
    results = write_results(request, out)
    assert ComparisonResults.read(out / RESULTS) == results
    draw(results, out)
    assert [path.name for path in (out / "figures").iterdir()] == ["error_vs_time.png"]
    table = comparison_table(results)
    assert table.row_count == 3


def test_a_forecast_that_is_finite_but_far_off_has_blown_up(tmp_path):
    request = Request(problem=CASE, methods=("implicit",))
    store(tmp_path, request, "implicit", 0, metrics((1.0, 2.0, 3.0, 4000.0)))
    row = rows(request, tmp_path)["implicit"]
    assert row.failures == 1
    assert row.mean.error_percent["horizon"] == 3.0
    assert row.mean.error_percent["twice_horizon"] is None
