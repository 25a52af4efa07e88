"""Trajectories: times, saving, checkpoint schedules, statistics, failures."""

from impindiff.rollout.checkpointing import (
    AbstractCheckpointing,
    Binomial,
    ForBudget,
    Segments,
    StoreStates,
)
from impindiff.rollout.halving import can_be_halved
from impindiff.rollout.memory import MemoryEstimate, estimate_memory
from impindiff.rollout.result import Rollout, describe_failure, leaf_names
from impindiff.rollout.rollout import rollout
from impindiff.rollout.schedule import number_of_steps

__all__ = [
    "AbstractCheckpointing",
    "Binomial",
    "ForBudget",
    "MemoryEstimate",
    "Rollout",
    "Segments",
    "StoreStates",
    "can_be_halved",
    "describe_failure",
    "estimate_memory",
    "leaf_names",
    "number_of_steps",
    "rollout",
]
