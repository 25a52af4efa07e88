"""Experiments: run a problem, forecast with it, read results back, check its gradient."""

from impindiff.experiment.check import check_problem
from impindiff.experiment.experiment import Experiment
from impindiff.experiment.opened import Run, open_run
from impindiff.experiment.pipeline import Forecast, forecast, prepare, run

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
