"""Training: loss, optimiser, loop, history, training state."""

from impindiff.training.fit import Fitted, Progress, Totals, TrainingError, fit
from impindiff.training.history import History
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.optimizers import adam, learning_rate_schedule
from impindiff.training.store import TrainingStore

__all__ = [
    "Fitted",
    "History",
    "Progress",
    "Totals",
    "TrainingError",
    "TrainingStore",
    "TrajectoryLoss",
    "adam",
    "fit",
    "learning_rate_schedule",
]
