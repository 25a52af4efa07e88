"""Training as a configuration asks for it."""

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Float

from impindiff import run_directory
from impindiff.cases import Case, Data
from impindiff.cases.settings import CaseSettings
from impindiff.errors import InputError
from impindiff.observations import Trajectories, relative_l1_percent
from impindiff.run_metrics import as_floats
from impindiff.training import (
    Fitted,
    LevenbergMarquardt,
    Progress,
    TensorBoard,
    TrajectoryLoss,
    fit,
    partition,
    require_room,
    room_for_training,
    split,
    steps_within,
)


class Trained(NamedTuple):
    """What training leaves.

    - `settings`: with the steps that there was time for.
    - `loss`: what was minimised, without the observations held back.
    """

    settings: Any
    loss: TrajectoryLoss
    fitted: Fitted


def train(
    case: Case,
    settings: CaseSettings,
    data: Data,
    folder: Path,
    *,
    resume: bool,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
) -> Trained:
    """Train the case's model on its data, in `folder`, which then holds configuration and data.

    Raises `InputError` before anything is written if settings do not fit the model, and for a
    folder that cannot be written to or has too little room.
    """
    training = settings.training
    model = case.model(settings, jax.random.key(settings.seed))
    loss, options = training_options(settings, model, case.loss(settings, data))
    optimizer = training.build()
    if isinstance(optimizer, LevenbergMarquardt):
        optimizer.check(partition(model, training.freeze)[0])
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(TensorBoard(folder)) if training.tensorboard else _nothing
        room = room_for_training(model, loss, optimizer, **options)
        require_room(folder, room + _results_size(data), "training states and results")
        compiled = None
        if training.seconds is not None:
            say(f"measuring how many training steps fit into {training.seconds:g} s")
            steps, compiled = steps_within(
                training.seconds, model, loss, optimizer, training.steps, **options
            )
            settings = settings.with_steps(steps)
            if steps < training.steps:  # the learning rate's schedule is another
                optimizer, compiled = settings.training.build(), None

        run_directory.write_configuration(folder, settings)
        if settings.data.path is None:
            data.trajectories.to_netcdf(folder / run_directory.DATA)
        numbers = case.identified(model)
        fitted = fit(
            model,
            loss,
            optimizer,
            folder,
            steps=settings.training.steps,
            log_every=training.log_every,
            save_every=training.save_every,
            resume=resume,
            **options,
            evaluate=_held_out_error(case, settings, data) if data.held_out else None,
            identified=(lambda m: as_floats(case.identified(m))) if numbers else None,
            show=show,
            log=log,
            compiled=compiled,
        )
    if fitted.stopped_early:
        say(f"training ended early, after {fitted.steps} steps: {training.patience} without gain")
    return Trained(settings, loss, fitted)


def training_options(
    settings: CaseSettings, model: Any, loss: TrajectoryLoss
) -> tuple[TrajectoryLoss, dict[str, Any]]:
    """The loss to minimise, and what else `fit` needs to know for its training step."""
    training = settings.training
    validation = None
    if training.validation:
        loss, validation = split(
            loss,
            model,
            training.validation,
            seed=settings.seed,
            by=training.validation_by,
        )
    return loss, {
        "validation": validation,
        "patience": training.patience,
        "keep_best": training.keep_best,
        "freeze": training.freeze,
    }


def forecast_times(
    trajectories: Trajectories, settings: CaseSettings
) -> Float[np.ndarray, " times"]:
    """Those of the data until `forecast.until`.

    Raises `InputError` if that is outside the data.
    """
    until = settings.forecast.until
    times = trajectories.times
    if until is None:
        return times
    if not times[0] < until <= times[-1] * (1 + 1e-9):
        raise InputError(
            f"forecast.until: {until:g} is outside the data, which go from {times[0]:g} to "
            f"{times[-1]:g}; for a longer forecast use 'impindiff forecast' on the finished run"
        )
    return times[times <= until * (1 + 1e-9)]


def _nothing(record: dict[str, Any]) -> None:
    del record


def _results_size(data: Data) -> int:
    """About the bytes of data.nc and of forecast.nc, in which forecast and truth are."""
    latent = sum(field.nbytes for field in data.trajectories.latent.values())
    return 3 * data.trajectories.field.nbytes + latent


def _held_out_error(
    case: Case, settings: CaseSettings, data: Data
) -> Callable[[eqx.Module], float | None]:
    times = forecast_times(data.trajectories, settings)
    fields = data.trajectories.field[data.held_out]
    last = fields[:, len(times) - 1]

    def error(model: eqx.Module) -> float | None:
        ends = times[[0, -1]]
        found, _ = case.forecast(settings, model, data.trajectories, data.held_out, ends)
        percent = relative_l1_percent(found[-1], last, space_axes=last.ndim - 1).mean()
        return float(percent) if np.isfinite(percent) else None

    return error
