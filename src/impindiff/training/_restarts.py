"""Training from several starts, of which the best continues."""

import dataclasses
import json
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

import equinox as eqx
import jax

from impindiff.errors import InputError
from impindiff.training._algorithm import Optimizer
from impindiff.training._fit import compile_training_step, fit
from impindiff.training._fitted import Fitted
from impindiff.training._folder_lock import held
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._options import Callbacks, FitOptions
from impindiff.training._resources import (
    RoomError,
    StorageError,
    TrainingError,
    require_room,
    storing,
)

FOLDER = "restarts"
RECORD = "restarts.json"
_STATE, _HISTORY = "training_state", "history.jsonl"
M = TypeVar("M", bound=eqx.Module)


class Restarts(NamedTuple):
    """Losses of all starts, and the chosen one.

    - `losses`: of each start after its steps, on the validation set if there is one; infinite for
      a failed start.
    - `chosen`: index of the smallest.
    """

    losses: tuple[float, ...]
    chosen: int


def fit_restarts(
    models: Sequence[M],
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    folder: Path,
    options: FitOptions,
    *,
    restart_steps: int,
    callbacks: Callbacks = Callbacks(),
    resume: bool = False,
) -> tuple[Fitted[M], Restarts]:
    """Train each of `models` for a few steps, and the best of them to the end, as `fit` does.

    The result is that of a `fit` of the chosen model alone, to the bit, its history included. Each
    start has a folder in `folder`/restarts.

    **Arguments:**

    - `options`: of the whole training, as in `fit`.
    - `restart_steps`: of each start; the learning rate's schedule is that of all `options.steps`.
    - `callbacks`: as in `fit`; `say` also receives the result of each start, and `log` the chosen
      model's steps after the choice only.
    - `resume`: finished starts are not repeated.

    **Raises:** `InputError` for `restart_steps` that are not below `options.steps`, and for a
    choice that cannot be read on resuming; `TrainingError` if every start fails, else as `fit`: a
    disk that becomes full ends it at once, whichever start it is.
    """
    if not 1 <= restart_steps < options.steps:
        raise InputError(
            f"training.restart_steps: {restart_steps} must be between 1 and the {options.steps} "
            "steps of the training"
        )
    say = callbacks.say
    # one for all starts, which may share a program
    loss, choice = loss.with_automatic_choice(models[0])
    if choice is not None:
        say(f"preconditioner: {choice}")
    of_starts = dataclasses.replace(options, steps=restart_steps)
    unlogged = dataclasses.replace(callbacks, log=Callbacks.log)
    require_room(folder, 0, "training states")
    compiled = None
    with held(folder) as still:
        if resume and (folder / _STATE).exists():
            chosen = _known(folder / RECORD, len(models))
        else:
            if not resume:
                shutil.rmtree(folder / _STATE, ignore_errors=True)
            # the step of the whole horizon, shared by all starts, unless stages come before it
            if not options.horizon:
                compiled = compile_training_step(models[0], loss, optimizer, options)
            losses = []
            for i, model in enumerate(models):
                still()
                try:
                    fitted = fit(
                        model,
                        loss,
                        optimizer,
                        folder / FOLDER / str(i),
                        of_starts,
                        callbacks=unlogged,
                        resume=resume,
                        compiled=compiled if _same_program(model, models[0]) else None,
                    )
                except StorageError:  # not the fault of this start
                    raise
                except RoomError as error:
                    raise error if i == 0 else StorageError(str(error), code=error.code) from None
                except TrainingError as error:
                    say(f"start {i + 1} of {len(models)} failed: {error}")
                    losses.append(math.inf)
                    continue
                losses.append(
                    fitted.final_loss if fitted.validation_loss is None else fitted.validation_loss
                )
                say(f"start {i + 1} of {len(models)}: loss {losses[-1]:.3e}")
            if all(math.isinf(value) for value in losses):
                raise TrainingError(f"training.restarts: all {len(models)} starts failed")
            chosen = Restarts(tuple(losses), losses.index(min(losses)))
            _go_on_from(folder / FOLDER / str(chosen.chosen), folder, chosen)
        say(f"going on with start {chosen.chosen + 1} of {len(models)}")
        model = models[chosen.chosen]
        fitted = fit(
            model,
            loss,
            optimizer,
            folder,
            options,
            callbacks=callbacks,
            resume=True,
            compiled=compiled if _same_program(model, models[0]) else None,
        )
        return fitted, chosen


def _known(record: Path, starts: int) -> Restarts:
    """The stored choice. Raises `InputError` for a record that cannot be read."""
    try:
        told = json.loads(record.read_text())
        losses = tuple(math.inf if value is None else float(value) for value in told["losses"])
        chosen = told["chosen"]
        if len(losses) == starts and type(chosen) is int and 0 <= chosen < starts:
            return Restarts(losses, chosen)
        reason = f"it should be of {starts} starts"
    except (OSError, ValueError, TypeError, LookupError, RecursionError) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    raise InputError(
        f"{record}: cannot be read as the record of a choice between starts ({reason}); remove "
        f"{record.with_name(_STATE)} to choose again with --resume"
    )


def _go_on_from(start: Path, folder: Path, chosen: Restarts) -> None:
    """Copy the files needed to resume; the training state last, as the mark of completeness."""
    record = {
        "losses": [value if math.isfinite(value) else None for value in chosen.losses],
        "chosen": chosen.chosen,
    }
    partial = folder / f".{_STATE}.partial"
    with storing(folder / _STATE):
        try:
            (folder / RECORD).write_text(json.dumps(record) + "\n")
            shutil.copyfile(start / _HISTORY, folder / _HISTORY)
            shutil.rmtree(partial, ignore_errors=True)
            shutil.copytree(start / _STATE, partial)
            os.replace(partial, folder / _STATE)
        finally:
            shutil.rmtree(partial, ignore_errors=True)


def _same_program(model: eqx.Module, other: eqx.Module) -> bool:
    """True if models differ in the numbers of their arrays only."""
    first, second = (
        jax.tree.map(lambda x: (x.shape, str(x.dtype)) if eqx.is_array(x) else x, one)
        for one in (model, other)
    )
    return bool(eqx.tree_equal(first, second))
