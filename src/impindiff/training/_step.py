"""One training step: a pure function of the state, to be compiled."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from impindiff.rollout import Rollout
from impindiff.training._algorithm import Update
from impindiff.training._state import Best, Job, StepReport, TrainingState, over_members


def training_step(state: TrainingState, job: Job) -> tuple[TrainingState, StepReport]:
    """One training step: (next state, report)."""
    update = job.algorithm.advance(state, job)
    validation = _validation(job, update.rollout, update.seen)
    if validation is not None and state.validation is not None:
        validation = jnp.where(update.taken, validation, state.validation)
    best = _best(state, job, update, validation)
    new = TrainingState(
        parameters=update.parameters,
        optimizer=update.state,
        step=state.step + 1,
        seconds=state.seconds,
        loss=update.loss,
        finished=update.finished if best is None else update.finished | best.stalled,
        totals=state.totals.add(update.rollout, update.adjoint_residual),
        validation=validation,
        best=best,
    )
    report = StepReport(
        update.rollout, update.adjoint_residual, update.gradient_norm, update.taken, update.broken
    )
    return new, report


def _validation(job: Job, result: Rollout, parameters: Any) -> Array | None:
    """The validation loss, from the rollout of these parameters."""
    if job.validation is None:
        return None
    return job.validation.at(result, job.loss.prepared(job.model(parameters)))


def _best(state: TrainingState, job: Job, update: Update, validation: Array | None) -> Best | None:
    """Update the smallest loss by the parameters that the update has evaluated."""
    if state.best is None or not job.watching:
        return state.best
    watched = update.loss if validation is None else validation
    return state.best.updated(watched, state.step + update.ahead, update.seen, job.patience)


def ensemble_step(state: TrainingState, job: Job) -> tuple[TrainingState, StepReport]:
    """One `training_step` of each ensemble member (leading axis); finished ones are unchanged."""

    def step(state: TrainingState, job: Job) -> tuple[TrainingState, StepReport]:
        new, report = training_step(state, job)
        return jax.tree.map(lambda a, b: jnp.where(state.finished, a, b), state, new), report

    return over_members(step, state, job)
