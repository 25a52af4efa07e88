"""The training loop."""

import contextlib
import dataclasses
import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Generic, NamedTuple, TypeVar

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from impindiff.rollout import can_be_halved
from impindiff.training.compiled_step import CompiledStep, compile_step, seconds_per_step
from impindiff.training.failure import require_success
from impindiff.training.history import History
from impindiff.training.levenberg_marquardt import LevenbergMarquardt
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.parts import partition
from impindiff.training.resources import require_memory, require_room, size_in_bytes
from impindiff.training.state import Job, Optimizer, StepReport, Totals, TrainingState
from impindiff.training.step import training_step
from impindiff.training.store import STATES_KEPT, TrainingStore


class Progress(NamedTuple):
    """What a progress display is told after each step."""

    step: int
    loss: float
    held_out: float | None
    validation: float | None = None


M = TypeVar("M", bound=eqx.Module)


@dataclasses.dataclass(frozen=True)
class Fitted(Generic[M]):
    """The trained model and what training cost.

    - `seconds`: in all, with compilation and evaluation.
    - `compile_seconds`, `temporary_mb`: see `CompiledStep`.
    - `seconds_per_step`: median over the steps of this session, without the logging between them;
      NaN if there was none.
    - `final_loss`: of the last step.
    - `linearization`: misfit and its Jacobian at the model's parameters, if the optimiser knows
      them.
    - `validation_loss`: of the model where the best weights are kept, else of the last step; None
      without validation.
    - `best_step`: how many updates the best weights had; None if they are not kept.
    - `stopped_early`: whether patience ended it.
    - `frozen`: the parts that were not trained.
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
    validation_loss: float | None = None
    best_step: int | None = None
    stopped_early: bool = False
    frozen: tuple[str, ...] = ()


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
    validation: TrajectoryLoss | None = None,
    patience: int | None = None,
    keep_best: bool | None = None,
    freeze: Sequence[str] = (),
    evaluate: Callable[[M], float | None] | None = None,
    identified: Callable[[M], dict[str, float]] | None = None,
    show: Callable[[Progress], object] = lambda progress: None,
    log: Callable[[dict[str, Any]], object] = lambda record: None,
    compiled: CompiledStep | None = None,
) -> Fitted[M]:
    """Minimise `loss` over the model's floating-point arrays, in at most `steps` steps.

    Writes `history.jsonl` (a line per `log_every` steps) and `training_state/` (every `save_every`
    steps, at the end, and when interrupted) into `folder`. With `resume` it continues from the last
    state saved, with the same result to the bit as if it had not been interrupted.

    - `optimizer`: an Optax transformation (one that searches along a line, such as `optax.lbfgs`,
      gets the loss to do so) or `LevenbergMarquardt`, which ends by itself once converged.
    - `validation`: the loss at observations held back (see `split`), from the same rollouts.
    - `patience`: end after so many steps without a smaller validation loss, or without a smaller
      training loss where nothing is held back.
    - `keep_best`: return the parameters of that smallest loss rather than the last; by default if
      there is a validation. Those after the last update are not among them, for their loss is not
      known.
    - `freeze`: paths of parts of the model that are not trained (see `partition`).
    - `identified`: named numbers of a model, for the log only.
    - `evaluate`: held-out error of a model in percent (None if not finite), for the log only.
    - `show`: called after each step.
    - `log`: called with each line of the history.
    - `compiled`: the training step, if it is compiled already for these arguments.

    A training step in which a solve fails is done again with failed rollout steps halved (see
    `rollout`), but for trials of Levenberg-Marquardt after the first, which are rejected. Raises
    `TrainingError`, naming the training step and, of the rollout, step, time, sample and field,
    when a solve fails or the loss or its gradient is not finite, for a step that needs more memory
    than the machine has, and for a disk that has become full; `InputError` for a folder that cannot
    be written to or has no room for the training states.
    """
    job, state = _start(model, loss, optimizer, freeze, validation, patience, keep_best)
    require_room(folder, _room(state), "training states")
    store = TrainingStore(folder / "training_state")
    with contextlib.closing(store):
        restored = store.restore(state) if resume else None
        state = state if restored is None else restored
        first = int(state.step)
        history = History(folder / "history.jsonl", after_step=first if resume else None)
        start = time.perf_counter() - float(state.seconds)
        if compiled is None:
            compiled = compile_step(training_step, state, job)
        require_memory(compiled.temporary_mb)
        with_halving = eqx.filter_jit(training_step)
        durations: list[float] = []
        held_out = None
        try:
            for step in range(first + 1, steps + 1):
                if bool(state.finished):
                    break
                begun = time.perf_counter()
                candidate, report = compiled.advance(state, job)
                # a failed trial is rejected anyway; the first has no point to go back to
                rejected = isinstance(optimizer, LevenbergMarquardt) and step > 1
                if bool(jnp.any(can_be_halved(report.rollout.stats))) and not rejected:
                    halving = dataclasses.replace(loss, halving=True)
                    candidate, report = with_halving(state, dataclasses.replace(job, loss=halving))
                durations.append(time.perf_counter() - begun)
                if bool(report.taken) or not np.isfinite(float(candidate.loss)):
                    require_success(step, candidate, report)
                seconds = time.perf_counter() - start
                state = eqx.tree_at(
                    lambda s: s.seconds, candidate, jnp.asarray(seconds, state.seconds.dtype)
                )
                if step % log_every == 0 or step in (1, steps) or bool(state.finished):
                    current = job.model(state.parameters)
                    if evaluate is not None:
                        held_out = evaluate(current)
                    record = _record(state, report) | {"held_out_percent": held_out}
                    if identified is not None:
                        record["identified"] = identified(current)
                    history.append(record)
                    log(record)
                if step % save_every == 0:
                    store.save(step, state)
                show(Progress(step, float(state.loss), held_out, _number(state.validation)))
        finally:
            if int(state.step) > first:
                store.save(int(state.step), state)
    return _fitted(job, state, compiled, durations, freeze)


def steps_within(
    seconds: float,
    model: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    most: int,
    **options: Any,
) -> tuple[int, CompiledStep]:
    """How many training steps take so many seconds here, at most `most` and at least one.

    Compilation is not counted. Measured on steps from the initial state, which are dropped; with
    them comes the compiled step. `options` are those of `fit` that the step depends on: `freeze`,
    `validation`, `patience`, `keep_best`. Raises `TrainingError` for a step that needs too much
    memory.
    """
    job, state = _start(model, loss, optimizer, **options)
    compiled = compile_step(training_step, state, job)
    require_memory(compiled.temporary_mb)
    pace = seconds_per_step(compiled, state, job)
    return max(1, min(most, int(seconds / pace))), compiled


def compile_training_step(
    model: eqx.Module, loss: TrajectoryLoss, optimizer: Optimizer, **options: Any
) -> CompiledStep:
    """The training step, compiled for what `fit` would be given (see `steps_within`); not run."""
    job, state = _start(model, loss, optimizer, **options)
    return compile_step(training_step, state, job)


def room_for_training(
    model: eqx.Module, loss: TrajectoryLoss, optimizer: Optimizer, **options: Any
) -> int:
    """Bytes on disk that the training states need, for what `fit` would be given."""
    return _room(_start(model, loss, optimizer, **options)[1])


def _room(state: TrainingState) -> int:
    # the next state is written before the oldest goes
    return (STATES_KEPT + 1) * size_in_bytes(state)


def _start(
    model: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    freeze: Sequence[str] = (),
    validation: TrajectoryLoss | None = None,
    patience: int | None = None,
    keep_best: bool | None = None,
) -> tuple[Job, TrainingState]:
    """What every step needs, and the state before the first."""
    parameters, static = partition(model, freeze)
    keep_best = validation is not None if keep_best is None else keep_best
    job = Job(static, loss, optimizer, validation, patience, keep_best)
    return job, job.start(parameters)


def _record(state: TrainingState, report: StepReport) -> dict[str, Any]:
    """A line of the history."""
    validation = {} if state.validation is None else {"validation_loss": _number(state.validation)}
    return {
        "step": int(state.step),
        "loss": float(state.loss),
        **validation,
        "gradient_norm": float(report.gradient_norm),
        "linear_iterations_mean": float(
            np.mean(np.asarray(report.rollout.stats.linear_iterations))
        ),
        "adjoint_residual_max": float(np.max(np.asarray(report.adjoint_residual))),
        "seconds": float(state.seconds),
    }


def _number(value: Array | None) -> float | None:
    """None for what is not there or not finite."""
    return float(value) if value is not None and np.isfinite(float(value)) else None


def _fitted(
    job: Job,
    state: TrainingState,
    compiled: CompiledStep,
    durations: list[float],
    freeze: Sequence[str],
) -> Fitted[Any]:
    best = state.best
    parameters, validation = state.parameters, _number(state.validation)
    best_step = None
    if best is not None and job.keep_best and bool(jnp.isfinite(best.loss)):
        parameters, best_step = best.parameters, int(best.step)
        validation = validation if validation is None else float(best.loss)
    linearization = None
    # known at the last point only
    if isinstance(job.optimizer, LevenbergMarquardt) and eqx.tree_equal(
        parameters, state.parameters
    ):
        point = state.optimizer
        counts = job.loss.residuals_that_count(len(point.misfit))
        linearization = (point.misfit[counts], point.jacobian[counts])
    return Fitted(
        model=job.model(parameters),
        steps=int(state.step),
        seconds=float(state.seconds),
        compile_seconds=compiled.compile_seconds,
        seconds_per_step=float(np.median(durations)) if durations else math.nan,
        temporary_mb=compiled.temporary_mb,
        final_loss=float(state.loss),
        totals=state.totals,
        linearization=linearization,
        validation_loss=validation,
        best_step=best_step,
        stopped_early=best is not None and bool(best.stalled),
        frozen=tuple(freeze),
    )
