"""Measurements of a method that need no training: memory, and the largest possible step."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from impindiff.compare._step_search import Truth, largest_stable_step
from impindiff.experiment import prepare
from impindiff.experiment.experiment import Experiment
from impindiff.experiment.training import plan_training
from impindiff.problem import Problem
from impindiff.results import Numbers
from impindiff.training import compile_training_step


def temporary_memory(problem: Problem, settings: Any) -> Numbers:
    """Temporary memory of a training step, by XLA's analysis of the compiled program; not run."""
    plan = plan_training(prepare(problem, settings))
    step = compile_training_step(
        plan.models[0], plan.loss, plan.optimizer, plan.options, members=plan.members
    )
    return Numbers(temporary_mb=step.temporary_mb, compile_seconds=step.compile_seconds)


def largest_step(experiment: Experiment, model: Any) -> Numbers:
    """The largest stable step of the settings' stepper with the coefficients of a model."""
    truth = solution(experiment, model, range(experiment.data.samples))
    stepper = experiment.problem.stepper(experiment.settings)
    return Numbers(largest_step=largest_stable_step(truth, stepper))


def solution(experiment: Experiment, model: Any, samples: Sequence[int]) -> Truth:
    """A model, the initial states of these samples, and their true fields."""
    problem, settings = experiment.problem, experiment.settings
    dataset = experiment.data.of(samples)
    u0 = problem.start(settings, model, dataset, len(samples))
    times = dataset["time"].to_numpy().astype(float)
    fields = {
        name: np.moveaxis(field[list(samples)], 0, 1) for name, field in experiment.truth.items()
    }
    own = problem.for_samples(settings, model, dataset)
    return Truth(own, u0, times, fields, problem.quantities, experiment.volumes)
