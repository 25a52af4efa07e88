"""Training: loss, optimiser, loop, history, training state."""

from impindiff.training.fit import Fitted, Optimizer, Progress, Totals, TrainingError, fit
from impindiff.training.history import History
from impindiff.training.levenberg_marquardt import (
    LevenbergMarquardt,
    covariance,
)
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.optimizers import adam, lbfgs, learning_rate_schedule, muon
from impindiff.training.penalty import SlowChange
from impindiff.training.store import TrainingStore
from impindiff.training.uncertainty import standard_errors

__all__ = [
    "Fitted",
    "History",
    "LevenbergMarquardt",
    "Optimizer",
    "Progress",
    "SlowChange",
    "Totals",
    "TrainingError",
    "TrainingStore",
    "TrajectoryLoss",
    "adam",
    "covariance",
    "fit",
    "lbfgs",
    "learning_rate_schedule",
    "muon",
    "standard_errors",
]
