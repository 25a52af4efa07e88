"""One training step: a pure function of the state, to be compiled."""

from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, PyTree

from impindiff.rollout import Rollout
from impindiff.training.levenberg_marquardt import LevenbergMarquardt
from impindiff.training.optimistix_method import OptimistixMethod, advance
from impindiff.training.state import Best, Job, StepReport, TrainingState, over_members


def training_step(state: TrainingState, job: Job) -> tuple[TrainingState, StepReport]:
    """The state after one step, and what there is to tell."""
    if isinstance(job.optimizer, LevenbergMarquardt):
        return _least_squares_step(state, job, job.optimizer)
    if isinstance(job.optimizer, OptimistixMethod):
        return _optimistix_step(state, job, job.optimizer)
    loss, optimizer = job.loss, job.optimizer

    def value(parameters, probe):
        return loss(job.model(parameters), probe)

    probe = loss.probe(job.model(state.parameters))
    differentiate = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
    (loss_value, result), (gradient, adjoint_residual) = differentiate(state.parameters, probe)
    # Optax's own arithmetic mixes integers and floats, which JAX's strict mode refuses
    with jax.numpy_dtype_promotion("standard"):
        updates, optimizer_state = optax.with_extra_args_support(optimizer).update(
            gradient,
            state.optimizer,
            state.parameters,
            value=loss_value,
            grad=gradient,
            value_fn=lambda parameters: value(parameters, probe)[0],
        )
    validation = _validation(job, result, state.parameters)
    best = _best(state, job, loss_value, validation, state.step, state.parameters)
    new = TrainingState(
        parameters=optax.apply_updates(state.parameters, updates),
        optimizer=optimizer_state,
        step=state.step + 1,
        seconds=state.seconds,
        loss=loss_value,
        finished=state.finished if best is None else state.finished | best.stalled,
        totals=state.totals.add(result, adjoint_residual),
        validation=validation,
        best=best,
    )
    norm = optax.tree.norm(gradient)
    return new, StepReport(result, adjoint_residual, norm, jnp.asarray(True))


def _validation(job: Job, result: Rollout, parameters: Any) -> Array | None:
    """The loss at observations held back, of the rollout of these parameters."""
    if job.validation is None:
        return None
    return job.validation.at(result, job.loss.prepared(job.model(parameters)))


def ensemble_step(state: TrainingState, job: Job) -> tuple[TrainingState, StepReport]:
    """`training_step` of each member, along the leading axis; one that has finished stays."""

    def step(state: TrainingState, job: Job) -> tuple[TrainingState, StepReport]:
        new, report = training_step(state, job)
        return jax.tree.map(lambda a, b: jnp.where(state.finished, a, b), state, new), report

    return over_members(step, state, job)


def _least_squares_step(
    state: TrainingState, job: Job, optimizer: LevenbergMarquardt
) -> tuple[TrainingState, StepReport]:
    trial = optimizer.advance(state.optimizer, job.fixed(), job.loss)
    # forward mode: there is no adjoint solve
    no_adjoint = jnp.zeros_like(trial.rollout.stats.residual)
    point = trial.point
    validation = _validation(job, trial.rollout, point.parameters)
    if validation is not None and state.validation is not None:
        validation = jnp.where(trial.taken, validation, state.validation)
    best = _best(state, job, point.loss, validation, state.step + 1, point.parameters)
    new = TrainingState(
        parameters=point.parameters,
        optimizer=point,
        step=state.step + 1,
        seconds=state.seconds,
        loss=point.loss,
        finished=trial.finished if best is None else trial.finished | best.stalled,
        totals=state.totals.add(trial.rollout, no_adjoint),
        validation=validation,
        best=best,
    )
    return new, StepReport(trial.rollout, no_adjoint, trial.gradient_norm, trial.taken)


def _optimistix_step(
    state: TrainingState, job: Job, method: OptimistixMethod
) -> tuple[TrainingState, StepReport]:
    after = advance(method, state.optimizer, state.parameters, job.loss, job.fixed())
    # once more at the point to go on from: methods differ in what they tell of it
    model = job.model(after.parameters)
    loss, result = job.loss(model, job.loss.probe(model))
    no_adjoint = jnp.zeros_like(result.stats.residual)
    validation = _validation(job, result, after.parameters)
    best = _best(state, job, loss, validation, state.step + 1, after.parameters)
    new = TrainingState(
        parameters=after.parameters,
        optimizer=after.arrays,
        step=state.step + 1,
        seconds=state.seconds,
        loss=loss,
        finished=after.finished if best is None else after.finished | best.stalled,
        totals=state.totals.add(result, no_adjoint),
        validation=validation,
        best=best,
    )
    return new, StepReport(result, no_adjoint, None, jnp.asarray(True), after.broken)


def _best(
    state: TrainingState,
    job: Job,
    loss: Array,
    validation: Array | None,
    updates: Array,
    parameters: PyTree,
) -> Best | None:
    """With the loss of the parameters after so many updates."""
    if state.best is None or not job.watching:
        return state.best
    watched = loss if validation is None else validation
    return state.best.updated(watched, updates, parameters, job.patience)
