"""The training loop."""

import dataclasses
import math
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, PyTree

from impindiff.errors import ImpindiffError
from impindiff.rollout import Rollout, can_be_halved, describe_failure, leaf_names
from impindiff.training.compiled_step import CompiledStep, compile_step, seconds_per_step
from impindiff.training.history import History
from impindiff.training.levenberg_marquardt import LevenbergMarquardt
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.store import TrainingStore


class TrainingError(ImpindiffError, RuntimeError):
    """Training cannot go on: a loss or gradient is not finite, or a solve failed."""


class Totals(eqx.Module):
    """Solver statistics accumulated over all training steps."""

    solves: Float[Array, ""]
    iterations: Float[Array, ""]
    linear_iterations: Float[Array, ""]
    failed_solves: Float[Array, ""]
    max_residual: Float[Array, ""]
    max_adjoint_residual: Float[Array, ""]

    @classmethod
    def zero(cls) -> "Totals":
        """Before the first step."""
        return cls(*(jnp.zeros(()) for _ in range(6)))

    def add(self, result: Rollout, adjoint_residual: Float[Array, "steps samples"]) -> "Totals":
        """With one more rollout and its backward pass."""
        stats = result.stats
        return Totals(
            self.solves + stats.converged.size,
            self.iterations + jnp.sum(stats.iterations),
            self.linear_iterations + jnp.sum(stats.linear_iterations),
            self.failed_solves + jnp.sum(~stats.converged),
            jnp.maximum(self.max_residual, jnp.max(stats.residual)),
            jnp.maximum(self.max_adjoint_residual, jnp.max(adjoint_residual)),
        )


class TrainingState(eqx.Module):
    """All that the next step depends on, and what the run's metrics need; arrays only."""

    parameters: PyTree[Any]
    optimizer: PyTree[Any]
    step: Array
    seconds: Array
    loss: Array
    finished: Array
    totals: Totals


Optimizer = optax.GradientTransformation | LevenbergMarquardt


class StepReport(NamedTuple):
    """What a training step tells beside the next state.

    `taken` is false for a trial of Levenberg-Marquardt that was rejected.
    """

    rollout: Rollout
    adjoint_residual: Array
    gradient_norm: Array
    taken: Array


class Progress(NamedTuple):
    """What a progress display is told after each step."""

    step: int
    loss: float
    held_out: float | None


M = TypeVar("M", bound=eqx.Module)


@dataclasses.dataclass(frozen=True)
class Fitted(Generic[M]):
    """The trained model and what training cost.

    - `seconds`: in all, with compilation and evaluation.
    - `compile_seconds`, `temporary_mb`: see `CompiledStep`.
    - `seconds_per_step`: median over the steps of this session, without the logging between them;
      NaN if there was none.
    - `linearization`: misfit and its Jacobian at the model's parameters, if the optimiser knows
      them.
    """

    model: M
    steps: int
    seconds: float
    compile_seconds: float
    seconds_per_step: float
    temporary_mb: float | None
    final_loss: float
    totals: Totals
    linearization: tuple[Array, Array] | None = None


def fit(
    model: M,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    folder: Path,
    *,
    steps: int,
    log_every: int,
    save_every: int,
    resume: bool = False,
    evaluate: Callable[[M], float | None] | None = None,
    identified: Callable[[M], dict[str, float]] | None = None,
    show: Callable[[Progress], object] = lambda progress: None,
    compiled: CompiledStep | None = None,
) -> Fitted[M]:
    """Minimise `loss` over the model's floating-point arrays, in at most `steps` steps.

    Writes `history.jsonl` (a line per `log_every` steps) and `training_state/` (every `save_every`
    steps, at the end, and when interrupted) into `folder`. With `resume` it continues from the last
    state saved, with the same result to the bit as if it had not been interrupted.

    - `optimizer`: an Optax transformation (one that searches along a line, such as `optax.lbfgs`,
      gets the loss to do so) or `LevenbergMarquardt`, which ends by itself once converged.
    - `identified`: named numbers of a model, for the log only.
    - `evaluate`: held-out error of a model in percent (None if not finite), for the log only.
    - `show`: called after each step.
    - `compiled`: the training step, if it is compiled already for this model, loss and optimiser.

    A training step in which a solve fails is done again with failed rollout steps halved (see
    `rollout`), but for trials of Levenberg-Marquardt after the first, which are rejected. Raises
    `TrainingError`, naming the training step and, of the rollout, step, time, sample and field,
    when a solve fails or the loss or its gradient is not finite, and for a step that needs more
    memory than the machine has.
    """
    state, static = _start(model, loss, optimizer)
    store = TrainingStore(folder / "training_state")
    try:
        restored = store.restore(state) if resume else None
        state = state if restored is None else restored
        first = int(state.step)
        history = History(folder / "history.jsonl", after_step=first if resume else None)
        start = time.perf_counter() - float(state.seconds)
        if compiled is None:
            compiled = compile_step(training_step, state, static, loss, optimizer)
        require_memory(compiled.temporary_mb)
        with_halving = eqx.filter_jit(training_step)
        durations: list[float] = []
        held_out = None
        try:
            for step in range(first + 1, steps + 1):
                if bool(state.finished):
                    break
                begun = time.perf_counter()
                candidate, report = compiled.advance(state, static, loss, optimizer)
                # a failed trial is rejected anyway; the first has no point to go back to
                rejected = isinstance(optimizer, LevenbergMarquardt) and step > 1
                if bool(jnp.any(can_be_halved(report.rollout.stats))) and not rejected:
                    halving = dataclasses.replace(loss, halving=True)
                    candidate, report = with_halving(state, static, halving, optimizer)
                durations.append(time.perf_counter() - begun)
                if bool(report.taken) or not np.isfinite(float(candidate.loss)):
                    _require_success(step, candidate, report)
                seconds = time.perf_counter() - start
                state = eqx.tree_at(
                    lambda s: s.seconds, candidate, jnp.asarray(seconds, state.seconds.dtype)
                )
                if step % log_every == 0 or step in (1, steps) or bool(state.finished):
                    current = eqx.combine(state.parameters, static)
                    if evaluate is not None:
                        held_out = evaluate(current)
                    record = _record(state, report) | {"held_out_percent": held_out}
                    if identified is not None:
                        record["identified"] = identified(current)
                    history.append(record)
                if step % save_every == 0:
                    store.save(step, state)
                show(Progress(step, float(state.loss), held_out))
        finally:
            if int(state.step) > first:
                store.save(int(state.step), state)
    finally:
        store.close()
    return Fitted(
        model=eqx.combine(state.parameters, static),
        steps=int(state.step),
        seconds=float(state.seconds),
        compile_seconds=compiled.compile_seconds,
        seconds_per_step=float(np.median(durations)) if durations else math.nan,
        temporary_mb=compiled.temporary_mb,
        final_loss=float(state.loss),
        totals=state.totals,
        linearization=(
            (state.optimizer.misfit, state.optimizer.jacobian)
            if isinstance(optimizer, LevenbergMarquardt)
            else None
        ),
    )


def steps_within(
    seconds: float, model: eqx.Module, loss: TrajectoryLoss, optimizer: Optimizer, most: int
) -> tuple[int, CompiledStep]:
    """How many training steps take so many seconds here, at most `most` and at least one.

    Compilation is not counted. Measured on steps from the initial state, which are dropped; with
    them comes the compiled step. Raises `TrainingError` for a step that needs too much memory.
    """
    state, static = _start(model, loss, optimizer)
    compiled = compile_step(training_step, state, static, loss, optimizer)
    require_memory(compiled.temporary_mb)
    pace = seconds_per_step(compiled, state, static, loss, optimizer)
    return max(1, min(most, int(seconds / pace))), compiled


def compile_training_step(
    model: eqx.Module, loss: TrajectoryLoss, optimizer: Optimizer
) -> CompiledStep:
    """The training step, compiled for this model, loss and optimiser; it is not run."""
    return compile_step(training_step, *_start(model, loss, optimizer), loss, optimizer)


def require_memory(temporary_mb: float | None) -> None:
    """Raise `TrainingError` for a step whose temporary memory this machine does not have."""
    try:
        available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e6
    except (ValueError, OSError, AttributeError):  # not told on every system
        return
    if temporary_mb is not None and temporary_mb > available:
        raise TrainingError(
            f"a training step needs {temporary_mb / 1e3:.1f} GB of temporary memory, this machine "
            f"has {available / 1e3:.1f} GB; try gradient.name=implicit_adjoint, "
            "gradient.checkpointing=for_budget, fewer samples or a coarser grid"
        )


def _start(
    model: eqx.Module, loss: TrajectoryLoss, optimizer: Optimizer
) -> tuple["TrainingState", Any]:
    """The state before the first step, and what of the model does not change."""
    parameters, static = eqx.partition(model, eqx.is_inexact_array)
    return initial_state(parameters, optimizer, loss, static), static


def _record(state: TrainingState, report: StepReport) -> dict[str, Any]:
    """A line of the history."""
    return {
        "step": int(state.step),
        "loss": float(state.loss),
        "gradient_norm": float(report.gradient_norm),
        "linear_iterations_mean": float(
            np.mean(np.asarray(report.rollout.stats.linear_iterations))
        ),
        "adjoint_residual_max": float(np.max(np.asarray(report.adjoint_residual))),
        "seconds": float(state.seconds),
    }


def initial_state(
    parameters: PyTree[Any], optimizer: Optimizer, loss: TrajectoryLoss, static: eqx.Module
) -> TrainingState:
    """The state before the first step, of the types that a step returns.

    A weakly typed scalar (a Python number made an array) would have the second step compiled anew.
    """
    state = TrainingState(
        parameters=parameters,
        optimizer=optimizer.start(parameters, loss, static)
        if isinstance(optimizer, LevenbergMarquardt)
        else optimizer.init(parameters),
        step=jnp.zeros((), jnp.int32),
        seconds=jnp.zeros(()),
        loss=jnp.asarray(jnp.inf),
        finished=jnp.zeros((), bool),
        totals=Totals.zero(),
    )
    return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)


def training_step(
    state: TrainingState,
    static: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
) -> tuple[TrainingState, StepReport]:
    """The state after one step, and what there is to tell."""
    if isinstance(optimizer, LevenbergMarquardt):
        return _least_squares_step(state, static, loss, optimizer)

    def value(parameters, probe):
        return loss(eqx.combine(parameters, static), probe)

    differentiate = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
    (loss_value, result), (gradient, adjoint_residual) = differentiate(
        state.parameters, loss.probe()
    )
    updates, optimizer_state = optax.with_extra_args_support(optimizer).update(
        gradient,
        state.optimizer,
        state.parameters,
        value=loss_value,
        grad=gradient,
        value_fn=lambda parameters: value(parameters, loss.probe())[0],
    )
    new = TrainingState(
        parameters=optax.apply_updates(state.parameters, updates),
        optimizer=optimizer_state,
        step=state.step + 1,
        seconds=state.seconds,
        loss=loss_value,
        finished=state.finished,
        totals=state.totals.add(result, adjoint_residual),
    )
    norm = optax.tree.norm(gradient)
    return new, StepReport(result, adjoint_residual, norm, jnp.asarray(True))


def _least_squares_step(
    state: TrainingState,
    static: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: LevenbergMarquardt,
) -> tuple[TrainingState, StepReport]:
    trial = optimizer.advance(state.optimizer, static, loss)
    # forward mode: there is no adjoint solve
    no_adjoint = jnp.zeros_like(trial.rollout.stats.residual)
    new = TrainingState(
        parameters=trial.point.parameters,
        optimizer=trial.point,
        step=state.step + 1,
        seconds=state.seconds,
        loss=trial.point.loss,
        finished=trial.finished,
        totals=state.totals.add(trial.rollout, no_adjoint),
    )
    return new, StepReport(trial.rollout, no_adjoint, trial.gradient_norm, trial.taken)


def _require_success(step: int, state: TrainingState, report: StepReport) -> None:
    result = report.rollout
    failure = describe_failure(result.stats, result.step_times, leaf_names(result.u))
    if failure is not None:
        raise TrainingError(f"training step {step}: the rollout failed at {failure}")
    if not np.isfinite(float(state.loss)):
        raise TrainingError(
            f"training step {step}: the loss is {float(state.loss)} although every solve "
            "converged; look for a NaN in the observations"
        )
    if not np.isfinite(float(report.gradient_norm)):
        residual = np.asarray(report.adjoint_residual)
        rollout_step, sample = np.unravel_index(np.argmax(residual), residual.shape)
        raise TrainingError(
            f"training step {step}: the gradient is not finite; the adjoint solve of rollout step "
            f"{rollout_step + 1} of {residual.shape[0]}, sample {sample}, left a relative residual "
            f"of {residual.max():.3g}; try a larger gradient.max_iterations or gradient.rtol, or a "
            "smaller step"
        )
