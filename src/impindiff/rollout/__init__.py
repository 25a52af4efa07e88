"""Trajectories: output times, checkpoint schedules, statistics, failures."""

from impindiff.rollout._adaptive import AdaptiveStep
from impindiff.rollout._automatic import with_automatic_choice
from impindiff.rollout._checkpointing import (
    AbstractCheckpointing,
    Binomial,
    ForBudget,
    Segments,
    Sizes,
    StoreStates,
)
from impindiff.rollout._coefficients import depends_on_time
from impindiff.rollout._halving import can_be_halved
from impindiff.rollout._memory import MemoryEstimate, estimate_memory
from impindiff.rollout._result import Rollout, failure_of, leaf_names
from impindiff.rollout._rollout import declared_jumps, number_of_steps, rollout
from impindiff.rollout._steady import Steady, steady

__all__ = [
    "AbstractCheckpointing",
    "AdaptiveStep",
    "Binomial",
    "ForBudget",
    "MemoryEstimate",
    "Rollout",
    "Segments",
    "Sizes",
    "Steady",
    "StoreStates",
    "can_be_halved",
    "declared_jumps",
    "depends_on_time",
    "estimate_memory",
    "failure_of",
    "leaf_names",
    "number_of_steps",
    "rollout",
    "steady",
    "with_automatic_choice",
]
