"""The Taylor test of a problem's training loss."""

from typing import Any

import equinox as eqx
import jax

from impindiff import run_directory
from impindiff.cases import Case
from impindiff.checks import GradientCheck, check_gradient
from impindiff.problem import Problem, located
from impindiff.problem_workflow import prepare_problem
from impindiff.run_training import plan_training
from impindiff.sizes import require_case_fits
from impindiff.training import partition
from impindiff.workflow import as_configured, prepare


@located()
def check_problem(owner: Problem | Case, settings: Any) -> GradientCheck:
    """`check_gradient` of what `impindiff run` minimises, at its first parameters, in float64.

    Of an ensemble or several starts the first model is taken; `training.freeze` holds.
    Raises `InputError` as `run_problem` and `run_case` do before they write anything.
    """
    training = settings.training.model_copy(update={"ensemble": 1, "restarts": 1})
    settings = settings.model_copy(update={"precision": "float64", "training": training})
    if isinstance(owner, Problem):
        ready = prepare_problem(owner, settings)
        plan = plan_training(ready.problem, ready.settings, ready.found)
    else:
        run_directory.set_precision(settings)
        require_case_fits(owner, settings)
        case = as_configured(owner, settings)
        data, settings = prepare(case, settings)
        plan = plan_training(case, settings, data)
    moving, fixed = partition(plan.models[0], settings.training.freeze)

    def loss(moving: Any) -> jax.Array:
        model = eqx.combine(moving, fixed)
        return plan.loss(model, plan.loss.probe(model))[0]

    return check_gradient(loss, moving)
