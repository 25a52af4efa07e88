"""Memory estimate of a run from its configuration alone, before anything is computed."""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np

from impindiff.experiment.experiment import Experiment
from impindiff.problem import Problem, Scale
from impindiff.rollout import AbstractCheckpointing, AdaptiveStep, Sizes
from impindiff.settings import load_configuration
from impindiff.settings.sections import ProblemSettings
from impindiff.support.memory import require_memory

# multiples of the parameters: themselves, gradient and two moments of an optimiser
_COPIES = 4
# multiples of the state: itself, residual, and Krylov vectors, in a step and its adjoint
_WORK = 6
# numbers per step of a rollout: start, length and output
_PER_STEP = 3
_REFERENCE_BYTES = 8


def require_problem_fits(
    problem: Problem, settings: ProblemSettings, until: float | None = None
) -> None:
    """Refuse a configuration that needs more memory than available, before computing anything.

    The estimate is a lower bound: reference data of known size (`Problem.scale`), training states
    by the checkpoint schedule, the model's parameters and one field of its grid, whose shapes JAX
    evaluates abstractly. A model that cannot be traced is ignored.

    **Arguments:**

    - `until`: end of a forecast, overriding the settings.

    **Raises:** `InputError`, one line with the sizes and the keys that set them.
    """
    scale = problem.scale(settings, until)
    if scale is not None and settings.data.path is None:
        usual = problem.scale(load_configuration(problem.settings, [], []))
        _require_reference_fits(scale, scale if usual is None else usual)
    if until is not None:
        return
    training = settings.training
    model = _shapes(problem.model, settings, jax.random.key(0))
    _require_parameters_fit(model, training.ensemble * training.restarts)
    cells = getattr(getattr(model, "grid", None), "cells", None)
    if cells is not None:
        advice = "make the model's grid coarser"
        # the coordinates of the cells, and a field
        needed = 8 * _times(*cells) * (len(cells) + 1)
        require_memory(f"the model's grid of {_shown(cells)} cells takes", needed, advice)
    if scale is not None and settings.data.path is None:
        values = _times(*scale.cells) * scale.fields * scale.training
        _require_training_fits(
            settings,
            values * training.ensemble,
            scale.observed,
            scale.last,
            problem.step(settings),
        )


def require_parameters_fit(experiment: Experiment) -> None:
    """Refuse trained parameters that do not fit into memory, for any method."""
    training = experiment.settings.training
    method = experiment.method
    _ = method.observations  # evaluate before tracing
    model = _shapes(method.model, jax.random.key(0))
    _require_parameters_fit(model, training.ensemble * training.restarts)


def require_rollout_fits(state: Any, outputs: float, start: float, until: float, step: Any) -> None:
    """Refuse a forecast that does not fit into memory.

    - `state`: the initial state, or its shapes; `outputs`: number of stored times.
    - `start`, `until`, `step`: of the rollout.
    """
    one = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    steps = step.max_steps if isinstance(step, AdaptiveStep) else _times(until - start, 1 / step)
    needed = _times(2 * one, outputs) + 8 * _PER_STEP * (steps + outputs)
    require_memory(
        f"a forecast from t = {start:g} to {until:g}, at {outputs:.3g} times in {steps:.3g} steps, "
        "takes",
        needed,
        "forecast less far, raise forecast.every or stepper.dt, or make the grid coarser",
    )


def _require_reference_fits(scale: Scale, usual: Scale) -> None:
    fine = _times(*scale.cells, *[scale.refine] * len(scale.cells))
    stored = _times(_REFERENCE_BYTES, fine, scale.times, scale.samples * scale.fields)
    needed = stored + _times(8 * _PER_STEP, scale.steps) + 64 * scale.modes
    refined = f", each divided by {scale.refine}" if scale.refine > 1 else ""
    require_memory(
        f"reference data of {scale.samples} samples at {scale.times:.3g} times, from "
        f"{scale.steps:.3g} steps, on {_shown(scale.cells)} cells{refined}, take",
        needed,
        _advice(scale, usual),
    )


def _advice(scale: Scale, usual: Scale) -> str:
    """Advice on the size that most exceeds its default."""
    advice = {"cells": "lower grid.cells"} | dict(scale.advice)

    def size(of: Scale, name: str) -> float:
        value = getattr(of, name)
        return _times(*value) if isinstance(value, tuple) else value

    return advice[max(advice, key=lambda n: size(scale, n) / max(size(usual, n), 1e-300))]


def _require_training_fits(
    settings: ProblemSettings, values: float, outputs: int, last: float, step: Any
) -> None:
    adaptive = isinstance(step, AdaptiveStep)
    steps = step.max_steps if adaptive else max(_times(last, 1 / step), outputs)
    state = values * np.dtype(settings.precision).itemsize
    schedule = settings.adjoint.build_checkpointing()
    needed = _stored(schedule, steps, state) + state * (outputs + _WORK) + 8 * _PER_STEP * steps
    key = "lower stepper.adaptive.max_steps" if adaptive else "take longer steps"
    require_memory(
        f"training on {values:.3g} values of a state, in {steps:.3g} steps, takes",
        needed,
        f"{key}, lower grid.cells or the number of samples, or set "
        "adjoint.checkpointing=for_budget",
    )


def _stored(schedule: AbstractCheckpointing, steps: float, state: float) -> float:
    if not (math.isfinite(steps) and math.isfinite(state)):
        return math.inf
    sizes = Sizes(max(1, math.ceil(steps)), math.ceil(state), math.ceil(state))
    return schedule.chosen(sizes).stored_bytes(sizes)


def _require_parameters_fit(model: Any, models: int) -> None:
    leaves = [leaf for leaf in jax.tree.leaves(model) if hasattr(leaf, "dtype")]
    one = sum(leaf.size * leaf.dtype.itemsize for leaf in leaves if leaf.dtype.kind == "f")
    several = f" of {models} models" if models > 1 else ""
    require_memory(
        f"the parameters{several} and what trains them take",
        float(one) * models * _COPIES,
        "make the network narrower or less deep (field.width, field.depth, or those of method), or "
        "training.ensemble and training.restarts smaller",
    )


def _shapes(make: Callable[..., Any], *arguments: Any) -> Any:
    """The result of `make` with shapes in place of arrays; None if it cannot be traced.

    Faults of a model are reported when it is built.
    """
    try:
        return eqx.filter_eval_shape(make, *arguments)
    except (Exception, SystemExit):
        return None


def _times(*factors: float) -> float:
    """The product, infinite on overflow."""
    product = 1.0
    for factor in factors:
        product *= float(factor)
    return product if math.isfinite(product) else math.inf


def _shown(cells: tuple[int, ...]) -> str:
    return " x ".join(map(str, cells))
