"""Studies that train nothing: memory against iterations, stable steps against the grid."""

import itertools

import pytest

from impindiff.compare._figures import draw
from impindiff.compare._measures import temporary_memory
from impindiff.compare._request import Request
from impindiff.compare._results import write_results
from impindiff.compare._runner import run_comparison
from impindiff.problems import get_problem
from impindiff.settings.configuration import load_settings, merged

CASE = "advection_diffusion_steady"
SMALL = {
    "grid": {"cells": [16, 8]},
    "truth": {"dt": 5e-3, "training_samples": 2, "test_samples": 1},
    "field": {"width": 8, "depth": 2},
}


def memory(adjoint, iterations):
    solver = {"max_iterations": 1, "max_krylov_iterations": iterations}
    given = merged(SMALL, {"adjoint": {"name": adjoint}, "solver": solver})
    case = get_problem(CASE)
    found = temporary_memory(case, load_settings(case.settings, given)).temporary_mb
    assert found is not None
    return found


@pytest.mark.slow
def test_memory_grows_with_the_iterations_of_the_naive_gradient_only():
    assert memory("implicit_adjoint", 4) == memory("implicit_adjoint", 16)
    state = 2 * 16 * 8 * 8 / 1e6
    # 5 steps of 12 more iterations, each of which keeps several states
    assert memory("unrolled", 16) - memory("unrolled", 4) > 5 * 12 * state


@pytest.mark.slow
def test_a_study_of_stability_needs_no_training(tmp_path):
    request = Request(
        problem=CASE, study="stability", methods=("forward_euler_same_step",), overrides=SMALL
    )
    run_comparison(request, tmp_path)
    results = write_results(request, tmp_path)
    found = results.methods
    steps = [row.mean.largest_step or 0.0 for row in found]
    assert [row.x for row in found] == [32, 64, 128, 256]
    # transport halves the step when cells are halved, diffusion takes a quarter
    assert all(1.5 < coarse / fine < 4.5 for coarse, fine in itertools.pairwise(steps))
    draw(results, tmp_path)
    assert (tmp_path / "figures" / "stability.png").is_file()


def test_a_row_that_is_not_done_has_no_runs(tmp_path):
    request = Request(problem=CASE, study="memory_steps", methods=("implicit",))
    assert all(row.runs == [] for row in write_results(request, tmp_path).methods)
