"""Experiments: run a problem, forecast with it, read results back, check its gradient."""

from impindiff.experiment._check import check_problem
from impindiff.experiment._pipeline import Forecast, forecast, prepare, run
from impindiff.experiment.experiment import Experiment
from impindiff.experiment.opened import Run, open_run

__all__ = [
    "Experiment",
    "Forecast",
    "Run",
    "check_problem",
    "forecast",
    "open_run",
    "prepare",
    "run",
]
