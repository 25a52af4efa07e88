"""Training by a configuration."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax

from impindiff.devices import Mesh, on_one_device
from impindiff.experiment import directory
from impindiff.experiment._metrics import as_floats
from impindiff.experiment.experiment import Experiment
from impindiff.training import (
    Callbacks,
    Ensemble,
    FitOptions,
    Fitted,
    Optimizer,
    Progress,
    TensorBoard,
    TrajectoryLoss,
    WithNodes,
    algorithm_of,
    fit,
    fit_restarts,
    multiple_shooting,
    partition,
    require_room,
    room_for_training,
    split,
    steps_within,
)


class Plan(NamedTuple):
    """Models, loss and options of a training.

    - `models`: models to train, from successive seeds: one, or several starts.
    - `rolled_out`: the loss without the validation set, of one rollout of the model.
    - `loss`: the objective; over segments for multiple shooting, else `rolled_out`.
    - `members`: number of models stacked in each of `models`; None: one.
    - `present`: converts a trained model to the experiment's model.
    """

    models: list[Any]
    rolled_out: TrajectoryLoss
    loss: TrajectoryLoss
    optimizer: Optimizer
    options: FitOptions
    members: int | None
    present: Callable[[Any], Any]


class Trained(NamedTuple):
    """The result of training.

    - `settings`: with the number of steps that fitted into the time limit.
    - `loss`: without the validation set, of one rollout.
    - `choices`: for the metrics, from several starts or an ensemble.
    """

    settings: Any
    loss: TrajectoryLoss
    fitted: Fitted
    choices: dict[str, Any]


def plan_training(experiment: Experiment) -> Plan:
    """Plan the training by the settings.

    **Raises:** `InputError` for settings that do not fit model or observations.
    """
    settings = experiment.settings
    training = settings.training
    seeds = range(settings.seed, settings.seed + training.restarts)
    models = [experiment.model(jax.random.key(seed)) for seed in seeds]
    loss, validation = experiment.loss(), None
    example = models[0].members[0] if isinstance(models[0], Ensemble) else models[0]
    if training.validation:
        part, by = training.validation, training.validation_by
        loss, validation = split(loss, example, part, seed=settings.seed, by=by)
    minimised, freeze, members, present = loss, training.freeze, None, _itself
    if training.ensemble > 1:
        members = training.ensemble
        models = [model.stacked for model in models]
        present = _as_ensemble(members)
    if training.shooting is not None:
        segments, weight = training.shooting.segments, training.shooting.weight
        pairs = [multiple_shooting(loss, m, segments, continuity=weight) for m in models]
        minimised, models, present = pairs[0][0], [nodes for _, nodes in pairs], _without_nodes
        freeze = tuple(f"model.{path}" for path in training.freeze)
    options = FitOptions(
        steps=training.steps,
        log_every=training.log_every,
        save_every=training.save_every,
        validation=validation,
        patience=training.patience,
        keep_best=training.keep_best,
        freeze=freeze,
        horizon=training.stages,
    )
    optimizer = training.build()
    algorithm_of(optimizer).check(partition(models[0], freeze)[0])
    return Plan(models, loss, minimised, optimizer, options, members, present)


def train(
    experiment: Experiment,
    folder: Path,
    *,
    results_size: int,
    store: Callable[[Path], None],
    resume: bool,
    mesh: Mesh | None,
    say: Callable[[str], None],
    show: Callable[[Progress], None],
) -> Trained:
    """Train the model on the data, in `folder`, and store the configuration there.

    **Arguments:**

    - `results_size`: bytes that the run will write besides training states.
    - `store`: writes further inputs into the folder, before training starts.
    - `mesh`: devices to train on; None: one.

    **Raises:** `InputError` before anything is written if settings do not fit the model, and for a
    folder that cannot be written to or has too little room.
    """
    settings, evaluate = experiment.settings, experiment.test_error()
    training = settings.training
    plan = plan_training(experiment)
    optimizer, options, members, compiled = plan.optimizer, plan.options, plan.members, None
    with contextlib.ExitStack() as stack:
        if mesh is not None:
            stack.enter_context(mesh)
        log = stack.enter_context(TensorBoard(folder)) if training.tensorboard else _nothing
        room = room_for_training(plan.models[0], plan.loss, optimizer, options, members=members)
        # each start has its own states
        room *= 1 if training.restarts == 1 else 1 + training.restarts
        require_room(folder, room + results_size, "training states and results")
        if training.seconds is not None:
            say(f"measuring how many training steps fit into {training.seconds:g} s")
            steps, compiled = steps_within(
                training.seconds, plan.models[0], plan.loss, optimizer, options, members=members
            )
            settings = settings.with_steps(steps)
            options = dataclasses.replace(options, steps=steps)
            if steps < training.steps:  # the learning rate's schedule changes
                optimizer, compiled = settings.training.build(), None

        automatic = experiment.method.automatic_choice
        if automatic is not None:
            say(f"preconditioner: {automatic}")
        store(folder)
        directory.write_configuration(folder, settings)
        identifies = bool(experiment.identified(plan.present(plan.models[0])))
        callbacks = Callbacks(
            evaluate=None if evaluate is None else lambda m: evaluate(plan.present(m)),
            identified=(lambda m: as_floats(experiment.identified(plan.present(m))))
            if identifies
            else None,
            show=show,
            log=log,
            say=say,
        )
        choices: dict[str, Any] = {}
        if training.restarts > 1:
            fitted, starts = fit_restarts(
                plan.models,
                plan.loss,
                optimizer,
                folder,
                options,
                restart_steps=training.restart_steps,
                callbacks=callbacks,
                resume=resume,
            )
            choices["restarts"] = {"losses": list(starts.losses), "chosen": starts.chosen}
        else:
            fitted = fit(
                plan.models[0],
                plan.loss,
                optimizer,
                folder,
                options,
                callbacks=callbacks,
                resume=resume,
                members=members,
                compiled=compiled,
            )
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
        # multiple shooting adds columns for the nodes
        linearization=fitted.linearization if plan.loss is plan.rolled_out else None,
    )
    return Trained(settings, plan.rolled_out, fitted, choices)


def _itself(model: Any) -> Any:
    return model


def _as_ensemble(size: int) -> Callable[[Any], Ensemble]:
    return lambda stacked: Ensemble(stacked, size)


def _without_nodes(trained: WithNodes) -> Any:
    return trained.model


def _nothing(record: dict[str, Any]) -> None:
    del record
