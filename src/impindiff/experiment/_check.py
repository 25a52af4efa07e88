"""The Taylor test of a problem's training loss."""

from typing import Any

import equinox as eqx
import jax

from impindiff.checks import GradientCheck, check_gradient
from impindiff.experiment._pipeline import prepare
from impindiff.experiment.training import plan_training
from impindiff.problem import Problem, located
from impindiff.training import partition


@located()
def check_problem(problem: Problem, settings: Any) -> GradientCheck:
    """Apply `check_gradient` to the loss of `impindiff run`, at initial parameters, in float64.

    For an ensemble or several starts the first model is used; `training.freeze` applies.

    **Raises:** `InputError` as `run` does before it writes anything.
    """
    training = settings.training.model_copy(update={"ensemble": 1, "restarts": 1})
    settings = settings.model_copy(update={"precision": "float64", "training": training})
    plan = plan_training(prepare(problem, settings))
    moving, fixed = partition(plan.models[0], settings.training.freeze)

    def loss(moving: Any) -> jax.Array:
        model = eqx.combine(moving, fixed)
        return plan.loss(model, plan.loss.probe(model))[0]

    return check_gradient(loss, moving)
