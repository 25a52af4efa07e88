"""The Taylor test of a problem's training loss."""

from typing import Any

import equinox as eqx
import jax

from impindiff import run_directory
from impindiff.cases import Case
from impindiff.checks import GradientCheck, check_gradient
from impindiff.problem import Problem
from impindiff.run_training import plan_training
from impindiff.training import partition
from impindiff.workflow import as_configured, prepare


def check_problem(owner: Problem | Case, settings: Any) -> GradientCheck:
    """`check_gradient` of what `impindiff run` minimises, at its first parameters, in float64.

    Of an ensemble or several starts the first model is taken; `training.freeze` holds.
    Raises `InputError` for settings or data that are wrong.
    """
    training = settings.training.model_copy(update={"ensemble": 1, "restarts": 1})
    settings = settings.model_copy(update={"precision": "float64", "training": training})
    run_directory.set_precision(settings)
    if isinstance(owner, Problem):
        found = owner.measured(settings, owner.model(settings, jax.random.key(settings.seed)))
        plan = plan_training(owner, settings, found)
    else:
        case = as_configured(owner, settings)
        data, settings = prepare(case, settings)
        plan = plan_training(case, settings, data)
    moving, fixed = partition(plan.models[0], settings.training.freeze)

    def loss(moving: Any) -> jax.Array:
        return plan.loss(eqx.combine(moving, fixed), plan.loss.probe())[0]

    return check_gradient(loss, moving)
