"""What can be told of a method without training it: its memory, and how large its steps may be."""

import numpy as np

from impindiff import run_directory
from impindiff.cases import Case
from impindiff.cases.settings import CaseSettings
from impindiff.compare.step_search import Truth, largest_stable_step
from impindiff.ensembles import as_configured
from impindiff.errors import InputError
from impindiff.observations import Trajectories
from impindiff.results import Numbers
from impindiff.run_training import plan_training
from impindiff.training import compile_training_step
from impindiff.workflow import prepare


def temporary_memory(case: Case, settings: CaseSettings) -> Numbers:
    """Of a training step, as XLA tells it of the compiled program, which is not run."""
    run_directory.set_precision(settings)
    case = as_configured(case, settings)
    data, settings = prepare(case, settings)
    plan = plan_training(case, settings, data)
    step = compile_training_step(plan.models[0], plan.loss, plan.optimizer, **plan.options)
    return Numbers(temporary_mb=step.temporary_mb, compile_seconds=step.compile_seconds)


def largest_step(case: Case, settings: CaseSettings, reference: Trajectories) -> Numbers:
    """The largest stable step of the settings' stepper with the true coefficients."""
    truth = true_solution(case, settings, reference)
    return Numbers(largest_step=largest_stable_step(truth, case.stepper(settings)))


def true_solution(case: Case, settings: CaseSettings, reference: Trajectories) -> Truth:
    """The true model, and the held-out samples of the reference.

    Raises `InputError` for a case whose true model is not to be had.
    """
    model = case.true_model(settings)
    if model is None:
        raise InputError(f"compare: {case.name} has no true model to measure steps with")
    held_out = case.held_out(settings)
    return Truth(model, reference.times, np.moveaxis(reference.field[held_out], 0, 1))
