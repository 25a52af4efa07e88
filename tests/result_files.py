"""Metrics such as a run leaves, small and made up."""

from collections.abc import Sequence
from typing import Any

from impindiff.results import RunMetrics


def run_metrics(errors: Sequence[Sequence[float | None]] = (), **train: Any) -> RunMetrics:
    """Of a run with these errors over time, if any; `train` replaces numbers of training."""
    training = {
        "seconds": 1.0,
        "steps": 7,
        "final_loss": 1.0,
        "compile_seconds": 1.0,
        "seconds_per_step": 0.1,
        "temporary_mb": 1.0,
        "parameters": 1,
        "observations": 1,
    }
    content = {
        "problem": "advection_diffusion_steady",
        "train": training | train,
        "solver": {
            "iterations_mean": 1.0,
            "linear_iterations_mean": 6.4,
            "max_residual": 1e-9,
            "failed_solves": 0,
        },
        "gradient": {"max_residual": 1e-9},
        "precision": "float64",
        "seed": 0,
        "memory": {"peak_rss_mb": 500.0},
        "seconds_total": 2.0,
    }
    if errors:
        content["forecast"] = {"relative_l1_percent": {}, "error_vs_time": errors}
    return RunMetrics.model_validate(content)
