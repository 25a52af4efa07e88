"""Trajectories: output times, checkpoint schedules, statistics, failures."""

from impindiff.rollout.adaptive import AdaptiveStep
from impindiff.rollout.checkpointing import (
    AbstractCheckpointing,
    Binomial,
    ForBudget,
    Segments,
    Sizes,
    StoreStates,
)
from impindiff.rollout.coefficients import depends_on_time
from impindiff.rollout.halving import can_be_halved
from impindiff.rollout.memory import MemoryEstimate, estimate_memory
from impindiff.rollout.result import Rollout, failure_of, leaf_names
from impindiff.rollout.rollout import declared_jumps, number_of_steps, rollout

__all__ = [
    "AbstractCheckpointing",
    "AdaptiveStep",
    "Binomial",
    "ForBudget",
    "MemoryEstimate",
    "Rollout",
    "Segments",
    "Sizes",
    "StoreStates",
    "can_be_halved",
    "declared_jumps",
    "depends_on_time",
    "estimate_memory",
    "failure_of",
    "leaf_names",
    "number_of_steps",
    "rollout",
]
