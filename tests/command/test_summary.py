"""The table that ends a run."""

from pathlib import Path

import pytest

from impindiff.command import cli
from impindiff.results import RunMetrics

METRICS = {
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
        (1.60123e-5, 2e-8, 1.6e-5, "1.6012e-05 +- 2.0e-08  (true value 1.6e-05)"),
        (0.503123, 0.0119, 0.5, "0.503 +- 0.012  (true value 0.5)"),
        (0.503123, 0.00996, None, "0.503 +- 0.010"),
        (0.503123, 0.0, None, "0.503123 +- 0"),
        (0.5031234, 1e-13, None, "0.503123 +- 1e-13"),
        (0.5031234, None, 0.5, "0.503123  (true value 0.5)"),
        (None, 0.1, 0.5, "not finite  (true value 0.5)"),
        (51234.0, 1234.0, None, "51200 +- 1200"),
        (-1.234e7, 2.5e4, None, "-1.2340e+07 +- 2.5e+04"),
        (-1e-6, 0.5, None, "0.00 +- 0.50"),
        (1e-7, 3e-6, None, "1e-07 +- 3.0e-06"),
        (0.0, 1e-9, None, "0 +- 1e-09"),
    ],
)
def test_estimates_have_the_digits_that_their_error_allows(capsys, value, error, truth, expected):
    found = {"k": {"value": value, "standard_error": error, "truth": truth}}
    cli._summary(RunMetrics.model_validate(METRICS | {"identified": found}), Path("run"))
    printed = capsys.readouterr().out
    assert printed.isascii()
    (row,) = (line for line in printed.splitlines() if line.startswith("k "))
    assert row.removeprefix("k ").strip() == expected
