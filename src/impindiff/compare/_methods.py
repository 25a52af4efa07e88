"""The methods compared, and their tuning."""

from typing import Any, Literal, NamedTuple

import jax
import numpy as np

from impindiff.errors import InputError
from impindiff.problem import Problem
from impindiff.settings import load_settings
from impindiff.settings.configuration import merged
from impindiff.steppers.model import declared

Kind = Literal["hybrid, implicit", "hybrid, explicit", "hybrid, naive implicit", "black box"]


class Method(NamedTuple):
    """A way to solve a problem.

    - `name`: on the command line and in paths.
    - `title`, `kind`, `description`, `tuning`: for people; `tuning` describes the search.
    - `overrides`: changes to the problem's configuration.
    - `step`: the rule for its step length: the problem's own (None), the largest stable step, or
      the step with the temporal error of the problem's own stepper (see `step_search`).
    - `not_run`: the reason why it cannot solve this problem; None if it can.
    """

    name: str
    title: str
    kind: Kind
    description: str
    tuning: str
    overrides: dict[str, Any]
    step: Literal["stable", "equal_error"] | None = None
    not_run: str | None = None


_AS_SHIPPED = "the problem's own settings, the same for all hybrid methods"
IMPLICIT = Method(
    "implicit",
    "implicit hybrid (Im-PiNDiff)",
    "hybrid, implicit",
    "known physics with a neural field or closure, implicit steps, adjoint gradient",
    _AS_SHIPPED,
    {},
)
_FOR_FEW = ("levenberg_marquardt", "empirical_bayes")
BLACK_BOX = "black box"
UNROLLED, LOCAL_LAW = "unrolled", "local_law"
_NO_EXPLICIT = "some component has mass 0 (an algebraic one), which explicit steps cannot advance"
_NO_TRUTH = "the true unknowns are not known, of which the temporal error is a property"


def methods_of(problem: Problem, overrides: dict[str, Any]) -> dict[str, Method]:
    """All methods for the problem, by name.

    - `overrides`: changes to its configuration, for every method.
    """
    settings = load_settings(problem.settings, overrides)
    model = problem.model(settings, jax.random.key(0))
    masses = jax.tree.leaves(declared(model, "mass"))
    algebraic = any((np.asarray(mass) == 0).any() for mass in masses)
    knows_truth = problem.true_model(settings) is not None
    methods = []
    for method in (*_hybrids(), *_BLACK_BOXES):
        tuned = problem.tuned.get(method.name, {})
        reason = tuned if isinstance(tuned, str) else method.not_run
        if algebraic and method.kind == "hybrid, explicit":
            reason = _NO_EXPLICIT
        elif method.step == "equal_error" and not knows_truth:
            reason = _NO_TRUTH
        own = {} if isinstance(tuned, str) else tuned
        changed = merged(method.overrides, own)
        if method.name == "fno":
            # no more modes than the problem's grid can hold
            cells = getattr(getattr(model, "grid", None), "cells", ())
            modes = min((changed["method"]["modes"], *(n // 2 for n in cells)))
            changed = merged(changed, {"method": {"modes": max(modes, 1)}})
        if method.name == LOCAL_LAW and settings.training.optimizer in _FOR_FEW:
            # a law's network has many parameters
            changed = merged(changed, {"training": {"optimizer": "adam", "steps": 1000}})
        methods.append(method._replace(overrides=changed, not_run=reason))
    return {method.name: method for method in methods}


def choose(available: dict[str, Method], names: list[str] | None) -> list[Method]:
    """The named methods, or all. Raises `InputError` with the existing names."""
    unknown = [name for name in names or [] if name not in available]
    if unknown:
        raise InputError(
            f"--methods: there is no method '{unknown[0]}'; methods: {', '.join(available)}"
        )
    return [available[name] for name in (names or available)]


def _hybrids() -> list[Method]:
    return [
        IMPLICIT,
        Method(
            UNROLLED,
            "naive implicit",
            "hybrid, naive implicit",
            "the same model and steps; the gradient differentiates through every iteration of the "
            "solver",
            f"{_AS_SHIPPED}; as few solver iterations as converge to its tolerance, or twice as "
            "many as the implicit hybrid takes on average: the most favourable choice",
            {"adjoint": {"name": "unrolled"}},
        ),
        *(
            Method(
                f"{name}_same_step",
                f"explicit hybrid, {title}, the implicit step",
                "hybrid, explicit",
                "the same model, explicit steps as long as the implicit ones",
                _AS_SHIPPED,
                {"stepper": {"name": name}},
            )
            for name, title in _EXPLICIT
        ),
        *(
            Method(
                name,
                f"explicit hybrid, {title}, largest stable step",
                "hybrid, explicit",
                "the same model, explicit steps as long as stability allows",
                f"{_AS_SHIPPED}; step: 0.9 times the largest with which small perturbations grow "
                "neither in the model that training starts from nor in the true one or, where that "
                "is not known, in the one trained with implicit steps",
                {"stepper": {"name": name}},
                "stable",
            )
            for name, title in _EXPLICIT
        ),
        # not RK4: at its largest stable step it is more accurate than the implicit stepper
        Method(
            "forward_euler_equal_error",
            "explicit hybrid, forward Euler, equal error",
            "hybrid, explicit",
            "the same model, explicit steps as short as the accuracy of the implicit one needs",
            f"{_AS_SHIPPED}; step: the largest with which the true model's temporal error at the "
            "horizon is not above the implicit stepper's",
            {"stepper": {"name": "forward_euler"}},
            "equal_error",
        ),
        Method(
            "diffrax_tsit5",
            "explicit hybrid, Diffrax Tsit5",
            "hybrid, explicit",
            "the same model in Diffrax's explicit solver, adaptive steps, recursive checkpointing",
            f"{_AS_SHIPPED}; rtol 1e-5, atol 1e-8: 1e-3 and 1e-6 were tried on another truth of "
            "Burgers, and taught less",
            {"method": {"name": "diffrax", "solver": "tsit5", **_TOLERANCES}},
        ),
        Method(
            "diffrax_kvaerno5",
            "implicit hybrid, Diffrax Kvaerno5",
            "hybrid, implicit",
            "the same model in Diffrax's implicit solver, whose linear solves build a dense "
            "Jacobian a sample; gradient by recursive checkpointing",
            f"{_AS_SHIPPED}; rtol 1e-5, atol 1e-8; a mass where a component has mass 0",
            {"method": {"name": "diffrax", "solver": "kvaerno5", **_TOLERANCES}},
        ),
    ]


_TOLERANCES = {"rtol": 1e-5, "atol": 1e-8}
_EXPLICIT = (("forward_euler", "forward Euler"), ("rk4", "RK4"))


# found by benchmarks/baseline_tuning.py, on truths that no comparison uses
_BLACK_BOX_TRAINING: dict[str, Any] = {
    "training": {
        "optimizer": "adam",
        "steps": 4000,
        "learning_rate": 1e-2,
        "schedule": "cosine",
    },
    # faster, and accurate enough for errors of this size
    "precision": "float32",
}
_SEARCHED = (
    "learning rate, width, modes or kernel, weight decay and, with several observations, teacher "
    "forcing against rollouts, on truths that are not compared (benchmarks/baseline_tuning.py)"
)
_BLACK_BOXES = [
    Method(
        "fno",
        "Fourier neural operator",
        BLACK_BOX,
        "no physics: a neural operator from one observation to the next, rolled out",
        _SEARCHED,
        merged(
            _BLACK_BOX_TRAINING, {"method": {"name": "fno", "width": 16, "modes": 12, "layers": 4}}
        ),
    ),
    Method(
        "conv_lstm",
        "ConvLSTM",
        BLACK_BOX,
        "no physics: a convolutional LSTM from one observation to the next, rolled out",
        _SEARCHED,
        merged(
            _BLACK_BOX_TRAINING,
            {"method": {"name": "conv_lstm", "hidden": 8, "kernel": 3, "layers": 1}},
        ),
    ),
    Method(
        LOCAL_LAW,
        "field network without physics",
        BLACK_BOX,
        "the same field network and implicit steps, but any local law in place of the known one: "
        "du/dt is a polynomial of the neighbours whose coefficients the network gives",
        "the problem's own settings; learning rates of 1e-3, 3e-3, 1e-2 tried on another steady "
        "velocity",
        {
            "method": {"name": "local_law", "degree": 1},
            "training": {"learning_rate": 3e-3},
        },
    ),
]
