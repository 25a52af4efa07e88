"""Training: loss, optimisers, training loop, history, training state."""

from impindiff.training.algorithm import Algorithm, Optimizer, algorithm_of
from impindiff.training.compiled_step import CompiledStep
from impindiff.training.curriculum import shortened
from impindiff.training.ensemble import Ensemble, ensemble_forecast, fit_ensemble
from impindiff.training.fit import (
    compile_training_step,
    fit,
    room_for_training,
    steps_within,
)
from impindiff.training.fitted import Fitted, Progress
from impindiff.training.folder_lock import LOCK, held, holder, is_leftover
from impindiff.training.history import History
from impindiff.training.identifiability import Identifiability, identifiability
from impindiff.training.levenberg_marquardt import (
    LevenbergMarquardt,
    covariance,
)
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.multiple_shooting import MultipleShooting, WithNodes, multiple_shooting
from impindiff.training.optimizers import adam, lbfgs, learning_rate_schedule, muon
from impindiff.training.options import Callbacks, FitOptions
from impindiff.training.parts import at_rates, partition
from impindiff.training.penalty import GaussianPrior, SlowChange
from impindiff.training.resources import StorageError, TrainingError, require_room
from impindiff.training.restarts import Restarts, fit_restarts
from impindiff.training.split import depends_on, split
from impindiff.training.state import Totals
from impindiff.training.store import TrainingStore
from impindiff.training.tensorboard import TensorBoard
from impindiff.training.uncertainty import FlatParameters, flat_parameters, standard_errors

__all__ = [
    "LOCK",
    "Algorithm",
    "Callbacks",
    "CompiledStep",
    "Ensemble",
    "FitOptions",
    "Fitted",
    "FlatParameters",
    "GaussianPrior",
    "History",
    "Identifiability",
    "LevenbergMarquardt",
    "MultipleShooting",
    "Optimizer",
    "Progress",
    "Restarts",
    "SlowChange",
    "StorageError",
    "TensorBoard",
    "Totals",
    "TrainingError",
    "TrainingStore",
    "TrajectoryLoss",
    "WithNodes",
    "adam",
    "algorithm_of",
    "at_rates",
    "compile_training_step",
    "covariance",
    "depends_on",
    "ensemble_forecast",
    "fit",
    "fit_ensemble",
    "fit_restarts",
    "flat_parameters",
    "held",
    "holder",
    "identifiability",
    "is_leftover",
    "lbfgs",
    "learning_rate_schedule",
    "multiple_shooting",
    "muon",
    "partition",
    "require_room",
    "room_for_training",
    "shortened",
    "split",
    "standard_errors",
    "steps_within",
]
