"""The table that ends a run."""

import io
from typing import Any

import pytest
from rich.console import Console

from impindiff.command.run_table import run_table
from impindiff.results import RunMetrics

METRICS: dict[str, Any] = {
    "problem": "own",
    "train": {"seconds": 1.0, "steps": 3, "final_loss": 1e-6},
    "solver": {
        "iterations_mean": 1.0,
        "linear_iterations_mean": 6.0,
        "max_residual": 1e-9,
        "failed_solves": 0,
    },
    "gradient": {"max_residual": 1e-9},
    "precision": "float64",
    "seed": 0,
    "versions": {},
    "memory": {"peak_rss_mb": 900.0},
    "seconds_total": 2.0,
}


@pytest.mark.parametrize(
    ("value", "error", "truth", "expected"),
    [
        (1.60123e-5, 2e-8, 1.6e-5, "(1.6012 +- 0.0020)e-5  (true value 1.6e-05)"),
        (0.503123, 0.0119, 0.5, "0.503 +- 0.012  (true value 0.5)"),
        (0.503123, 0.0, None, "0.503123 +- 0"),
        (0.5031234, 1e-13, None, "0.503123 +- 1e-13"),
        (0.5031234, None, 0.5, "0.503123  (true value 0.5)"),
        (None, 0.1, 0.5, "not finite  (true value 0.5)"),
    ],
)
def test_estimates_are_printed_in_ascii(value, error, truth, expected):
    found = {"k": {"value": value, "standard_error": error, "truth": truth}}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(run_table(RunMetrics.model_validate(METRICS | {"identified": found})))
    printed = console.export_text()
    assert printed.isascii()
    (row,) = (line for line in printed.splitlines() if line.startswith("k "))
    assert row.removeprefix("k ").strip() == expected


@pytest.mark.parametrize(
    ("converged", "shown"),
    [(False, "3 steps, not converged"), (True, "3 steps, converged"), (None, "3 steps")],
)
def test_training_that_did_not_converge_says_so(converged, shown):
    train = {**METRICS["train"], "converged": converged}
    console = Console(width=80, record=True, file=io.StringIO())
    console.print(run_table(RunMetrics.model_validate(METRICS | {"train": train})))
    (row,) = (line for line in console.export_text().splitlines() if line.startswith("training"))
    assert row.removeprefix("training").strip() == shown
