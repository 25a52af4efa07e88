"""Training: loss, optimiser, loop, history, training state."""

from impindiff.training.compiled_step import CompiledStep
from impindiff.training.fit import (
    Fitted,
    Optimizer,
    Progress,
    Totals,
    TrainingError,
    compile_training_step,
    fit,
    steps_within,
)
from impindiff.training.history import History
from impindiff.training.identifiability import Identifiability, identifiability
from impindiff.training.levenberg_marquardt import (
    LevenbergMarquardt,
    covariance,
)
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.optimizers import adam, lbfgs, learning_rate_schedule, muon
from impindiff.training.penalty import GaussianPrior, SlowChange
from impindiff.training.store import TrainingStore
from impindiff.training.uncertainty import FlatParameters, flat_parameters, standard_errors

__all__ = [
    "CompiledStep",
    "Fitted",
    "FlatParameters",
    "GaussianPrior",
    "History",
    "Identifiability",
    "LevenbergMarquardt",
    "Optimizer",
    "Progress",
    "SlowChange",
    "Totals",
    "TrainingError",
    "TrainingStore",
    "TrajectoryLoss",
    "adam",
    "compile_training_step",
    "covariance",
    "fit",
    "flat_parameters",
    "identifiability",
    "lbfgs",
    "learning_rate_schedule",
    "muon",
    "standard_errors",
    "steps_within",
]
