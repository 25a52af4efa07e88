"""Training as a configuration asks for it."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff import run_directory
from impindiff.cases import Case, Data
from impindiff.cases.settings import CaseSettings, RunSettings
from impindiff.devices import Mesh, on_one_device
from impindiff.errors import InputError
from impindiff.observations import Trajectories, relative_l1_percent
from impindiff.observations.checks import up_to
from impindiff.run_metrics import as_floats
from impindiff.training import (
    Ensemble,
    Fitted,
    LevenbergMarquardt,
    Optimizer,
    Progress,
    TensorBoard,
    TrajectoryLoss,
    WithNodes,
    fit,
    fit_restarts,
    multiple_shooting,
    partition,
    require_room,
    room_for_training,
    split,
    steps_within,
)

_FIGURES = 2_000_000


class Trainable(Protocol):
    """What training needs of a case, or of a problem of one's own."""

    def model(self, settings: Any, key: PRNGKeyArray) -> Any:
        """What is trained, with fresh unknown parts."""
        ...

    def loss(self, settings: Any, data: Any) -> TrajectoryLoss:
        """The misfit to what training may see of the data."""
        ...

    def identified(self, model: Any) -> dict[str, Float[Array, ""]]:
        """The unknown numbers of a model, by name."""
        ...


class Plan(NamedTuple):
    """What is to be trained, and how.

    - `models`: what is trained, from successive seeds: one, or several starts.
    - `rolled_out`: the loss without the observations held back, of one rollout of the case's model.
    - `loss`: what is minimised; over segments for multiple shooting, else `rolled_out`.
    - `options`: of `fit`, those that the training step depends on.
    - `present`: takes what is trained to the case's model.
    """

    models: list[Any]
    rolled_out: TrajectoryLoss
    loss: TrajectoryLoss
    optimizer: Optimizer
    options: dict[str, Any]
    present: Callable[[Any], Any]


class Trained(NamedTuple):
    """What training leaves.

    - `settings`: with the steps that there was time for.
    - `loss`: without the observations held back, of one rollout.
    - `choices`: for the metrics, of several starts or of an ensemble.
    """

    settings: Any
    loss: TrajectoryLoss
    fitted: Fitted
    choices: dict[str, Any]


def plan_training(case: Trainable, settings: RunSettings, data: Any) -> Plan:
    """The plan that the settings ask for.

    Raises `InputError` for settings that do not fit model or observations.
    """
    training = settings.training
    seeds = range(settings.seed, settings.seed + training.restarts)
    models = [case.model(settings, jax.random.key(seed)) for seed in seeds]
    loss, validation = case.loss(settings, data), None
    example = models[0].members[0] if isinstance(models[0], Ensemble) else models[0]
    if training.validation:
        part, by = training.validation, training.validation_by
        loss, validation = split(loss, example, part, seed=settings.seed, by=by)
    options = {
        "validation": validation,
        "patience": training.patience,
        "keep_best": training.keep_best,
        "freeze": training.freeze,
    }
    minimised, present = loss, _itself
    if training.ensemble > 1:
        options["members"] = training.ensemble
        models = [model.stacked for model in models]
        present = _as_ensemble(training.ensemble)
    if training.shooting is not None:
        segments, weight = training.shooting.segments, training.shooting.weight
        pairs = [multiple_shooting(loss, m, segments, continuity=weight) for m in models]
        minimised, models, present = pairs[0][0], [nodes for _, nodes in pairs], _without_nodes
        options["freeze"] = tuple(f"model.{path}" for path in training.freeze)
    optimizer = training.build()
    if isinstance(optimizer, LevenbergMarquardt):
        optimizer.check(partition(models[0], options["freeze"])[0])
    return Plan(models, loss, minimised, optimizer, options, present)


def train(
    case: Trainable,
    settings: RunSettings,
    data: Any,
    folder: Path,
    *,
    results_size: int,
    store: Callable[[Path], None],
    evaluate: Callable[[Any], float | None] | None,
    resume: bool,
    mesh: Mesh | None,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
) -> Trained:
    """Train the case's model on its data, in `folder`, which then holds the configuration.

    - `results_size`: bytes that the run will write beside training states.
    - `store`: writes into the folder what else there is to keep, before training starts.
    - `evaluate`: the held-out error of a model in percent, for the log.
    - `mesh`: the devices to train on; None: one.

    Raises `InputError` before anything is written if settings do not fit the model, and for a
    folder that cannot be written to or has too little room.
    """
    training = settings.training
    plan = plan_training(case, settings, data)
    optimizer, compiled = plan.optimizer, None
    with contextlib.ExitStack() as stack:
        if mesh is not None:
            stack.enter_context(mesh)
        log = stack.enter_context(TensorBoard(folder)) if training.tensorboard else _nothing
        room = room_for_training(plan.models[0], plan.loss, optimizer, **plan.options)
        # each start has its states
        room *= 1 if training.restarts == 1 else 1 + training.restarts
        require_room(folder, room + results_size, "training states and results")
        if training.seconds is not None:
            say(f"measuring how many training steps fit into {training.seconds:g} s")
            steps, compiled = steps_within(
                training.seconds,
                plan.models[0],
                plan.loss,
                optimizer,
                training.steps,
                **plan.options,
            )
            settings = settings.with_steps(steps)
            if steps < training.steps:  # the learning rate's schedule is another
                optimizer, compiled = settings.training.build(), None

        store(folder)
        run_directory.write_configuration(folder, settings)
        options: dict[str, Any] = plan.options | {
            "steps": settings.training.steps,
            "log_every": training.log_every,
            "save_every": training.save_every,
            "resume": resume,
            "horizon": training.stages,
            "show": show,
            "log": log,
            "say": say,
            "compiled": compiled,
        }
        if evaluate is not None:
            options["evaluate"] = lambda trained: evaluate(plan.present(trained))
        if case.identified(plan.present(plan.models[0])):
            options["identified"] = lambda m: as_floats(case.identified(plan.present(m)))
        choices: dict[str, Any] = {}
        if training.restarts > 1:
            fitted, starts = fit_restarts(
                plan.models,
                plan.loss,
                optimizer,
                folder,
                restart_steps=training.restart_steps,
                **options,
            )
            choices["restarts"] = {"losses": list(starts.losses), "chosen": starts.chosen}
        else:
            fitted = fit(plan.models[0], plan.loss, optimizer, folder, **options)
    if mesh is not None:
        fitted = dataclasses.replace(
            fitted,
            model=on_one_device(fitted.model),
            linearization=on_one_device(fitted.linearization),
        )
    if fitted.stopped_early:
        say(f"training ended early, after {fitted.steps} steps: {training.patience} without gain")
    if fitted.member_losses is not None:
        losses = list(fitted.member_losses)
        choices["ensemble"] = {"members": len(losses), "final_losses": losses}
    fitted = dataclasses.replace(
        fitted,
        model=plan.present(fitted.model),
        frozen=training.freeze,
        # with multiple shooting it has columns for the nodes
        linearization=fitted.linearization if plan.loss is plan.rolled_out else None,
    )
    return Trained(settings, plan.rolled_out, fitted, choices)


def _itself(model: Any) -> Any:
    return model


def _as_ensemble(size: int) -> Callable[[Any], Ensemble]:
    return lambda stacked: Ensemble(stacked, size)


def _without_nodes(trained: WithNodes) -> Any:
    return trained.model


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
    there = up_to(times, until)
    if not times[0] < until or not up_to(np.append(times, until), times[-1])[-1]:
        raise InputError(
            f"forecast.until: {until:g} is outside the data, which go from {times[0]:g} to "
            f"{times[-1]:g}; for a longer forecast use 'impindiff forecast' on the finished run"
        )
    return times[there]


def _nothing(record: dict[str, Any]) -> None:
    del record


def results_size(data: Data) -> int:
    """About the bytes of data.nc, forecast.nc (forecast, truth, spread) and figures."""
    latent = sum(field.nbytes for field in data.trajectories.latent.values())
    return 4 * data.trajectories.field.nbytes + latent + _FIGURES


def held_out_error(
    case: Case, settings: CaseSettings, data: Data
) -> Callable[[eqx.Module], float | None]:
    """The error at the end of the forecast of held-out samples, in percent; None if not finite."""
    times = forecast_times(data.trajectories, settings)
    fields = data.trajectories.field[data.held_out]
    last = fields[:, len(times) - 1]

    def error(model: eqx.Module) -> float | None:
        ends = times[[0, -1]]
        found, _ = case.forecast(settings, model, data.trajectories, data.held_out, ends)
        percent = relative_l1_percent(found[-1], last, space_axes=last.ndim - 1).mean()
        return float(percent) if np.isfinite(percent) else None

    return error
