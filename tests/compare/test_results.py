"""The table of a comparison, from the folders of its runs."""

import numpy as np
import pytest
from rich.console import Console

from impindiff.compare._figures import draw
from impindiff.compare._request import Request, folder_of, rows_of
from impindiff.compare._results import collect, write_results
from impindiff.compare.command import comparison_table, unconverged_runs
from impindiff.experiment import directory
from impindiff.problems import get_problem
from impindiff.results import FAILURE, METRICS, RESULTS, ComparisonResults, RunMetrics
from impindiff.settings.configuration import dump_yaml, load_settings
from result_files import run_metrics

CASE = "advection_diffusion_steady"
TIMES = (0.05, 0.1, 0.2, 0.4)


def metrics(errors, seconds=0.1, **train):
    pairs = [[0.0, 0.0], *([t, e] for t, e in zip(TIMES, errors, strict=True))]
    return run_metrics(pairs, seconds_per_step=seconds, steps=50, temporary_mb=5.0, **train)


def printed_lines(results):
    console = Console(width=200)
    with console.capture() as printed:
        console.print(comparison_table(results))
    return [" ".join(line.split()) for line in printed.get().splitlines()]


def store(out, request, name, seed, found=None, steps=50):
    """What such a run leaves; a failure as it is, None for what is measured without training."""
    row = next(row for row in rows_of(request) if row.name == name)
    folder = folder_of(row, seed, out)
    folder.mkdir(parents=True)
    settings = load_settings(get_problem(CASE).settings, {"stepper": {"dt": 0.01}}).with_steps(
        steps
    )
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
    found = printed_lines(write_results(*three))
    assert found[1].startswith(
        "method trained to 0.05 twice that 0.1 horizon 0.2 twice that 0.4 runs failed solves"
    )
    assert found[2:] == [
        "implicit 2 +- 1 3 +- 1 4 +- 1 5 +- 1 2 of 2 0 0.2 5 50",
        # of its two runs one is left at the end
        "rk4 1 +- 0 2 +- 0 3 +- 0 4 1 of 2 blew up 0 0.1 5 50",
        "fno failed failed failed failed 1 of 1 blew up - - - -",
    ]
    infiltration = Request(problem="vapor_infiltration_closure", methods=("rk4", "implicit"))
    found = printed_lines(collect(infiltration, three[1] / "nothing"))
    assert found[-2] == "rk4 not run"
    assert found[-1] == "implicit - - 0 of 0 - - - -"


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


@pytest.mark.parametrize(
    ("train", "status"),
    [
        ({"converged": False}, "not converged"),
        ({"converged": True}, "ok"),
        # an optimiser without a criterion
        ({"converged": None}, "ok"),
        # ended by patience, as it was asked to
        ({"converged": False, "stopped_early": True}, "ok"),
    ],
)
def test_a_run_whose_optimiser_had_not_converged_is_not_ok(train, status, tmp_path):
    request = Request(problem=CASE, methods=("rk4",))
    stored = metrics((1.0, 2.0, 3.0, 4.0), **train)
    stored = stored.model_copy(
        update={"solver": stored.solver.model_copy(update={"failed_solves": 1193})}
    )
    store(tmp_path, request, "rk4", 0, stored)
    results = collect(request, tmp_path)
    (row,) = results.methods
    assert row.runs[0].status == status
    assert row.failures == (status != "ok")
    # its error is shown, with what it is worth
    assert row.error("horizon") == 3.0
    assert row.mean.failed_solves == 1193
    lines = printed_lines(results)
    fate = "" if status == "ok" else " did not converge"
    assert lines[-1] == f"rk4 1 2 3 4 1 of 1{fate} 1193 0.1 5 50"
    told = [
        "rk4, seed 0: the optimiser had not converged when training ended, after 50 steps, in "
        "which 1193 solves failed; try more training.steps, or a larger --budget if set, or a "
        "shorter stepper.dt"
    ]
    assert unconverged_runs(results) == (told if fate else [])


@pytest.mark.parametrize(
    ("failed", "words"),
    [(0, ""), (7, ", in which 7 solves failed; try a shorter stepper.dt")],
)
def test_an_optimiser_that_gave_up_is_not_advised_to_take_more_steps(failed, words, tmp_path):
    request = Request(problem=CASE, methods=("rk4",))
    stored = metrics((1.0, 2.0, 3.0, 4.0), converged=False)
    solver = stored.solver.model_copy(update={"failed_solves": failed})
    stored = stored.model_copy(update={"solver": solver})
    store(tmp_path, request, "rk4", 0, stored, steps=200)
    results = collect(request, tmp_path)
    assert results.methods[0].runs[0].status == "not converged"
    told = f"rk4, seed 0: the optimiser gave up after 50 steps{words}"
    assert unconverged_runs(results) == [told]


def test_what_a_run_was_started_with_is_what_its_row_reports(tmp_path):
    request = Request(problem=CASE, methods=("rk4", "implicit"), overrides={"stepper": {"dt": 0.1}})
    for name, more in (("rk4", {"stepper": {"dt": 0.0317}}), ("implicit", None)):
        folder = store(tmp_path, request, name, 0, metrics((1.0, 2.0, 3.0, 4.0)))
        row = next(row for row in rows_of(request) if row.name == name)
        more = (more or {}) | {"data": {"path": "seed-0.nc"}, "training": {"seconds": 30.0}}
        settings = load_settings(get_problem(CASE).settings, row.overrides(0, request, more))
        directory.write_text(folder.with_name("seed-0.yaml"), dump_yaml(settings))
    found = rows(request, tmp_path)
    assert found["rk4"].overrides["stepper"] == {"dt": 0.0317, "name": "rk4"}
    assert found["implicit"].overrides["stepper"] == {"dt": 0.1}
    for row in found.values():
        assert row.overrides["training"]["seconds"] == 30.0
        assert "data" not in row.overrides


@pytest.mark.parametrize(
    ("sets", "label"),
    [
        (("train", "test"), "relative rms misfit to the measurements of the test set (%)"),
        (("train",), "relative rms misfit to the measurements of the training set (%)"),
    ],
)
def test_errors_of_data_at_points_are_named_as_the_misfits_they_are(sets, label, tmp_path):
    request = Request(problem=CASE, methods=("implicit",))
    percents = {"train": 5.0, "test": 7.0}
    misfit = {
        name: {
            "phi": {
                "rms": 1.0,
                "relative_percent": percents[name],
                "in_standard_deviations": 1.0,
                "values": 9,
            }
        }
        for name in sets
    }
    stored = RunMetrics.model_validate(
        run_metrics().model_dump() | {"misfit": misfit, "trained_until": 0.05}
    )
    store(tmp_path, request, "implicit", 0, stored)
    results = collect(request, tmp_path)
    assert results.error_label == label
    assert results.methods[0].error("horizon") == percents[sets[-1]]
    assert label in printed_lines(results)[0]


def test_errors_against_a_truth_are_named_by_their_norm_and_set(three):
    assert collect(*three).error_label == "relative L1 error of the test set (%)"


def test_no_folder_of_figures_is_made_without_a_figure(tmp_path):
    request = Request(problem=CASE, methods=("implicit",))
    store(tmp_path, request, "implicit", 0, run_metrics())
    draw(collect(request, tmp_path), tmp_path)
    assert not (tmp_path / "figures").exists()
