"""The training loop."""

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from impindiff.devices import Mesh, active_mesh
from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.preconditioners import AutomaticChoice
from impindiff.rollout import can_be_halved
from impindiff.training._algorithm import Optimizer, algorithm_of
from impindiff.training._compiled_step import CompiledStep, compile_step, seconds_per_step
from impindiff.training._curriculum import stages
from impindiff.training._failure import require_success
from impindiff.training._fitted import Fitted, Progress, fitted, number, record
from impindiff.training._folder_lock import held
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._options import Callbacks, FitOptions
from impindiff.training._parts import partition
from impindiff.training._resources import require_room, require_step_fits, size_in_bytes
from impindiff.training._state import Job, StepReport, TrainingState, member
from impindiff.training._step import ensemble_step, training_step
from impindiff.training._store import STATES_KEPT, TrainingStore
from impindiff.training.history import History

M = TypeVar("M", bound=eqx.Module)
# bytes of the small files that Orbax writes with a state
_AROUND_A_STATE = 100_000


def fit(
    model: M,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    folder: Path,
    options: FitOptions,
    *,
    callbacks: Callbacks = Callbacks(),
    resume: bool = False,
    members: int | None = None,
    compiled: CompiledStep | None = None,
) -> Fitted[M]:
    """Minimise `loss` over the model's floating-point arrays, in at most `options.steps` steps.

    Writes `history.jsonl` and `training_state/` into `folder`, the latter also at the end and when
    interrupted. Several processes (see `distributed`) all call it, with a shared folder, inside a
    `Mesh`: the first writes the history, and an interruption saves nothing, since it may affect one
    process alone. A training step in which a solve fails is repeated with failed rollout steps
    halved (see `rollout`), except for trials of Levenberg-Marquardt after the first, which are
    rejected. A preconditioner "auto" is chosen once, for the model that training starts from.

    **Arguments:**

    - `optimizer`: an Optax transformation (a line search, as in `optax.lbfgs`, receives the loss);
      `LevenbergMarquardt`, which stops once converged; or a minimiser or least-squares solver of
      Optimistix, which stops by its own `rtol` and `atol`, with one of its trials per step.
    - `folder`: locked by one process at a time.
    - `options`, `callbacks`: see `FitOptions` and `Callbacks`.
    - `resume`: continue from the last complete state saved, with bit-identical results to an
      uninterrupted training; otherwise existing states are deleted.
    - `members`: number of models stacked in `model` (see `fit_ensemble`); None: one.
    - `compiled`: the training step, if already compiled for these arguments.

    **Raises:** `TrainingError`, naming the training step and, of the rollout, step, time, sample
    and field, when a solve fails or the loss or its gradient is not finite, for a step that needs
    more memory than the machine has, and, a `StorageError`, for a disk that has become full and a
    folder that is moved; `InputError` for a folder that another process holds, that cannot be
    written to, has no room for the training states, or holds none that can be read.
    """
    loss, choice = _with_automatic_choice(loss, model, members)
    if choice is not None:
        callbacks.say(f"preconditioner: {choice}")
    job, state = _start(model, loss, optimizer, options, members)
    example = job.model(state.parameters)
    curriculum = stages(job, example if members is None else member(example, 0), options.horizon)
    plan = [*curriculum, (options.steps, job)]
    require_room(folder, _room(state), "training states")
    with contextlib.ExitStack() as stack:
        stack.enter_context(held(folder))
        store = TrainingStore(folder / "training_state", fresh=not resume)
        stack.enter_context(contextlib.closing(store))
        restored = store.restore(state, callbacks.say) if resume else None
        state = state if restored is None else restored
        first = int(np.max(state.step))
        history = History(folder / "history.jsonl", after_step=first if resume else None)
        start = time.perf_counter() - float(np.max(state.seconds))
        programs = [None] * len(curriculum) + [compiled]
        with_halving = eqx.filter_jit(_step(members))
        durations: list[float] = []
        mesh = active_mesh()
        has_rate = job.algorithm.has_rate(state.optimizer)
        try:
            for step in range(first + 1, options.steps + 1):
                if bool(np.all(state.finished)):
                    break
                stage = next(i for i, (last, _) in enumerate(plan) if step <= last)
                job = plan[stage][1]
                program = programs[stage]
                if program is None:
                    program = programs[stage] = compile_step(_step(members), state, job)
                    require_step_fits(program.temporary_mb)
                begun = time.perf_counter()
                candidate, report = _known_to_all(mesh, *program.advance(state, job))
                # a failed trial is rejected anyway; the first has no previous point
                rejected = job.algorithm.rejects_failures and step > 1
                if bool(jnp.any(can_be_halved(report.rollout.stats))) and not rejected:
                    halving = dataclasses.replace(job.loss, halving=True)
                    again = with_halving(state, dataclasses.replace(job, loss=halving))
                    candidate, report = _known_to_all(mesh, *again)
                durations.append(time.perf_counter() - begun)
                require_success(step, candidate, report, members, has_rate=has_rate)
                seconds = time.perf_counter() - start
                filled = np.full(state.seconds.shape, seconds, state.seconds.dtype)
                timed = jnp.asarray(filled) if mesh is None else mesh.each(filled)
                after = eqx.tree_at(lambda s: s.seconds, candidate, timed)
                test = None
                ends = step == options.steps or bool(np.all(after.finished))
                if step % options.log_every == 0 or step == 1 or ends:
                    evaluated = time.perf_counter()
                    current = job.model(after.parameters)
                    if callbacks.evaluate is not None:
                        test = callbacks.evaluate(current)
                    line = record(after, report) | {"test_percent": test}
                    if callbacks.identified is not None:
                        line["identified"] = callbacks.identified(current)
                    # the time of training does not include its evaluation
                    start += time.perf_counter() - evaluated
                    history.append(line)
                    callbacks.log(line)
                # only now: a saved state must not be ahead of the history
                state = after
                saved = step % options.save_every == 0 or ends
                if saved:
                    store.save(step, state)
                mean = float(np.mean(state.loss))
                callbacks.show(Progress(step, mean, test, number(state.validation), saved))
        except BaseException:
            # one of several processes may fail alone: the others would not save with it
            reached = int(np.max(state.step))
            if jax.process_count() == 1 and reached > first:
                store.save(reached, state)
            raise
    used = [program for program in programs if program is not None]
    return fitted(plan[-1][1], state, used, durations, options.freeze, members)


def steps_within(
    seconds: float,
    model: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    options: FitOptions,
    *,
    members: int | None = None,
) -> tuple[int, CompiledStep]:
    """Measure how many training steps fit into `seconds`; compilation does not count.

    Measured on steps from the initial state, which are dropped.

    **Returns:** a number from one to `options.steps`, and the compiled step.

    **Raises:** `TrainingError` for a step that needs too much memory.
    """
    job, state = _start(model, loss, optimizer, options, members)
    compiled = compile_step(_step(members), state, job)
    require_step_fits(compiled.temporary_mb)
    pace = seconds_per_step(compiled, state, job)
    return max(1, min(options.steps, int(seconds / pace))), compiled


def compile_training_step(
    model: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    options: FitOptions,
    *,
    members: int | None = None,
) -> CompiledStep:
    """Compile the training step for the arguments of `fit`, without running it."""
    job, state = _start(model, loss, optimizer, options, members)
    return compile_step(_step(members), state, job)


def room_for_training(
    model: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    options: FitOptions,
    *,
    members: int | None = None,
) -> int:
    """Bytes on disk that the training states need, for the arguments of `fit`."""
    return _room(_start(model, loss, optimizer, options, members)[1])


def _known_to_all(
    mesh: Mesh | None, state: TrainingState, report: StepReport
) -> tuple[TrainingState, StepReport]:
    """Replicate values for decisions on all processes of a mesh; the trajectory stays in place."""
    if mesh is None:
        return state, report
    trajectory = report.rollout.u
    without = report._replace(rollout=dataclasses.replace(report.rollout, u=None))
    state, report = mesh.replicate((state, without))
    return state, report._replace(rollout=dataclasses.replace(report.rollout, u=trajectory))


def _room(state: TrainingState) -> int:
    # the next state is written before the oldest is deleted
    return (STATES_KEPT + 1) * (size_in_bytes(state) + _AROUND_A_STATE)


def _step(members: int | None) -> Callable[[TrainingState, Job], tuple[TrainingState, StepReport]]:
    return training_step if members is None else ensemble_step


def _with_automatic_choice(
    loss: TrajectoryLoss, model: Any, members: int | None
) -> tuple[TrajectoryLoss, AutomaticChoice | None]:
    """The loss with one preconditioner for the whole training, that for the first member."""
    return loss.with_automatic_choice(model if members is None else member(model, 0))


def _start(
    model: eqx.Module,
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    options: FitOptions,
    members: int | None = None,
) -> tuple[Job, TrainingState]:
    """The job of every step, and the state before the first."""
    loss, _ = _with_automatic_choice(loss, model, members)
    parameters, static = partition(model, options.freeze)
    validation, keep_best = options.validation, options.keep_best
    keep_best = validation is not None if keep_best is None else keep_best
    # frozen parts may differ between members
    own, static = (None, static) if members is None else eqx.partition(static, eqx.is_inexact_array)
    algorithm = algorithm_of(optimizer)
    if algorithm.is_forward:
        loss = loss.forwards()
    job = Job(static, loss, algorithm, validation, options.patience, keep_best, own=own)
    state = job.start(parameters) if members is None else job.start_all(parameters)
    mesh = active_mesh()
    if mesh is None:
        return job, state
    grid = getattr(model, "grid", None)
    if not isinstance(grid, Grid) or members is not None:
        raise InputError(
            "fit: only a single model with a field `grid` is spread over devices; leave out "
            "ensembles and multiple shooting, or train without a mesh (--devices)"
        )
    return mesh.place(job, grid), mesh.replicate(state)
