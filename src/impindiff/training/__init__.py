"""Training: loss, optimisers, training loop, history, training state."""

from impindiff.training._algorithm import Algorithm, Optimizer, algorithm_of
from impindiff.training._compiled_step import CompiledStep
from impindiff.training._curriculum import shortened
from impindiff.training._empirical_bayes import EmpiricalBayes
from impindiff.training._ensemble import Ensemble, ensemble_forecast, fit_ensemble
from impindiff.training._fit import (
    compile_training_step,
    fit,
    room_for_training,
    steps_within,
)
from impindiff.training._fitted import Fitted, Progress
from impindiff.training._folder_lock import LOCK, held, holder, is_leftover
from impindiff.training._levenberg_marquardt import LevenbergMarquardt, value_and_jacobian
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._multiple_shooting import MultipleShooting, WithNodes, multiple_shooting
from impindiff.training._optimizers import WithNumbers, adam, lbfgs, learning_rate_schedule, muon
from impindiff.training._options import Callbacks, FitOptions
from impindiff.training._parts import at_rates, partition, path_text
from impindiff.training._penalty import SlowChange
from impindiff.training._priors import (
    AbstractPrior,
    GaussianPrior,
    MaternPrior,
    Priors,
    SmoothnessPrior,
)
from impindiff.training._resources import StorageError, TrainingError, require_room
from impindiff.training._restarts import Restarts, fit_restarts
from impindiff.training._split import depends_on, split
from impindiff.training._state import Totals
from impindiff.training._store import TrainingStore
from impindiff.training._tensorboard import TensorBoard
from impindiff.training.history import History

__all__ = [
    "LOCK",
    "AbstractPrior",
    "Algorithm",
    "Callbacks",
    "CompiledStep",
    "EmpiricalBayes",
    "Ensemble",
    "FitOptions",
    "Fitted",
    "GaussianPrior",
    "History",
    "LevenbergMarquardt",
    "MaternPrior",
    "MultipleShooting",
    "Optimizer",
    "Priors",
    "Progress",
    "Restarts",
    "SlowChange",
    "SmoothnessPrior",
    "StorageError",
    "TensorBoard",
    "Totals",
    "TrainingError",
    "TrainingStore",
    "TrajectoryLoss",
    "WithNodes",
    "WithNumbers",
    "adam",
    "algorithm_of",
    "at_rates",
    "compile_training_step",
    "depends_on",
    "ensemble_forecast",
    "fit",
    "fit_ensemble",
    "fit_restarts",
    "held",
    "holder",
    "is_leftover",
    "lbfgs",
    "learning_rate_schedule",
    "multiple_shooting",
    "muon",
    "partition",
    "path_text",
    "require_room",
    "room_for_training",
    "shortened",
    "split",
    "steps_within",
    "value_and_jacobian",
]
