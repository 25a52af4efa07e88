"""The methods that are compared, and how each was tuned, case by case."""

from typing import Any, Literal, NamedTuple

from impindiff.cases.configuration import merged
from impindiff.errors import InputError

Kind = Literal["hybrid, implicit", "hybrid, explicit", "hybrid, naive implicit", "black box"]

COMPARED_CASES = (
    "advection_diffusion_steady",
    "advection_diffusion_dynamic",
    "burgers",
    "vapor_infiltration_closure",
)
_BOX_CASES = COMPARED_CASES[:3]


class Method(NamedTuple):
    """A way to solve the case.

    - `name`: on the command line and in paths.
    - `title`, `kind`, `description`, `tuning`: for people; `tuning` says what was searched.
    - `overrides`: what of the case's configuration it changes.
    - `step`: how long its steps are: the case's own (None), as long as stability allows, or as long
      as gives the temporal error of the case's own stepper (see `step_search`).
    - `not_run`: why it cannot solve this case; None if it can.
    """

    name: str
    title: str
    kind: Kind
    description: str
    tuning: str
    overrides: dict[str, Any]
    step: Literal["stable", "equal_error"] | None = None
    not_run: str | None = None


def methods_of(case: str) -> dict[str, Method]:
    """All methods for the case, by name. Raises `InputError` for a case without a comparison."""
    if case not in COMPARED_CASES:
        raise InputError(
            f"compare: {case} has no comparison; cases that have: {', '.join(COMPARED_CASES)}"
        )
    methods = [*_hybrids(case), *_black_boxes(case)]
    return {method.name: method for method in methods}


def choose(case: str, names: list[str] | None) -> list[Method]:
    """Those named, or all. Raises `InputError` naming those there are."""
    available = methods_of(case)
    unknown = [name for name in names or [] if name not in available]
    if unknown:
        raise InputError(
            f"--methods: there is no method '{unknown[0]}'; methods: {', '.join(available)}"
        )
    return [available[name] for name in (names or available)]


def _hybrids(case: str) -> list[Method]:
    infiltration = case not in _BOX_CASES
    no_explicit = (
        "the gas has no inertia (an algebraic component), which explicit steps cannot advance; "
        "with its physical inertia they would need billions of steps a part "
        "(benchmarks/infiltration.py)"
        if infiltration
        else None
    )
    as_shipped = "the case's own settings, the same for all hybrid methods"
    return [
        Method(
            "implicit",
            "implicit hybrid (Im-PiNDiff)",
            "hybrid, implicit",
            "known physics with a neural field or closure, implicit steps, adjoint gradient",
            as_shipped,
            {},
        ),
        Method(
            "unrolled",
            "naive implicit",
            "hybrid, naive implicit",
            "the same model and steps; the gradient differentiates through every iteration of the "
            "solver",
            f"{as_shipped}; as few solver iterations as converge to its tolerance, which is the "
            "most favourable choice",
            {"gradient": {"name": "unrolled"}, "solver": _fewest_iterations(case)},
            None,
            "least squares differentiates forwards, where no iterate is stored either way, and the "
            "unrolled program had not taken its first step when it was stopped after 296 s"
            if infiltration
            else None,
        ),
        *(
            Method(
                f"{name}_same_step",
                f"explicit hybrid, {title}, the implicit step",
                "hybrid, explicit",
                "the same model, explicit steps as long as the implicit ones",
                as_shipped,
                {"stepper": {"name": name}},
                None,
                no_explicit,
            )
            for name, title in _EXPLICIT
        ),
        *(
            Method(
                name,
                f"explicit hybrid, {title}, largest stable step",
                "hybrid, explicit",
                "the same model, explicit steps as long as stability allows",
                f"{as_shipped}; step: 0.9 times the largest with which the true model does not "
                "amplify small perturbations",
                {"stepper": {"name": name}},
                "stable",
                no_explicit,
            )
            for name, title in _EXPLICIT
        ),
        # not RK4: at its largest stable step it is more accurate than the implicit stepper
        Method(
            "forward_euler_equal_error",
            "explicit hybrid, forward Euler, equal error",
            "hybrid, explicit",
            "the same model, explicit steps as short as the accuracy of the implicit one needs",
            f"{as_shipped}; step: the largest with which the true model's temporal error at the "
            "horizon is not above the implicit stepper's",
            {"stepper": {"name": "forward_euler"}},
            "equal_error",
            no_explicit,
        ),
        Method(
            "diffrax_tsit5",
            "explicit hybrid, Diffrax Tsit5",
            "hybrid, explicit",
            "the same model in Diffrax's explicit solver, adaptive steps, recursive checkpointing",
            f"{as_shipped}; rtol 1e-5, atol 1e-8: 1e-3 and 1e-6 were tried on another truth of "
            "Burgers, and taught less",
            {"method": {"name": "diffrax", "solver": "tsit5", **_TOLERANCES}},
            None,
            no_explicit,
        ),
        Method(
            "diffrax_kvaerno5",
            "implicit hybrid, Diffrax Kvaerno5",
            "hybrid, implicit",
            "the same model in Diffrax's implicit solver, whose linear solves build a dense "
            "Jacobian a sample; gradient by recursive checkpointing",
            f"{as_shipped}; rtol 1e-5, atol 1e-8"
            + ("; the gas is given its physical inertia, delta = 1e-6" if infiltration else ""),
            {"method": {"name": "diffrax", "solver": "kvaerno5", **_TOLERANCES}}
            | ({"physics": {"storage": 1e-6}} if infiltration else {}),
        ),
    ]


_TOLERANCES = {"rtol": 1e-5, "atol": 1e-8}
_EXPLICIT = (("forward_euler", "forward Euler"), ("rk4", "RK4"))


def _fewest_iterations(case: str) -> dict[str, Any]:
    """Enough for the solver's tolerance: these equations are linear, or nearly so in a step."""
    if case == "burgers":
        return {"max_iterations": 3, "max_krylov_iterations": 12}
    return {"max_iterations": 1, "max_krylov_iterations": 16}


# Found by benchmarks/baseline_tuning.py, on truths that no comparison uses.
_FNO = {"method": {"name": "fno", "width": 16, "modes": 12, "layers": 4}}
_CONV_LSTM = {"method": {"name": "conv_lstm", "hidden": 8, "kernel": 3, "layers": 1}}


def _black_boxes(case: str) -> list[Method]:
    box = case in _BOX_CASES
    training = {"optimizer": "adam", "steps": 4000, "learning_rate": 1e-2, "schedule": "cosine"}
    # faster, and all that such an error needs
    common = {"training": training, "precision": "float32"}
    searched = (
        "learning rate, width, modes or kernel, weight decay and, with several observations, "
        "teacher forcing against rollouts, on truths that are not compared "
        "(benchmarks/baseline_tuning.py)"
    )
    if not box:
        slower = {"method": {"fit_to": "trajectory"}, "training": {"learning_rate": 1e-3}}
        common = merged(common, slower)
        searched += (
            "; here learning rates of 1e-3, 3e-3, 1e-2 with the neural operator and other noise, "
            "of which the smallest overfits least"
        )
    degree = 2 if case == "burgers" else 1
    return [
        Method(
            "fno",
            "Fourier neural operator",
            "black box",
            "no physics: a neural operator from one observation to the next, rolled out",
            searched,
            merged(common, _FNO),
        ),
        Method(
            "conv_lstm",
            "ConvLSTM",
            "black box",
            "no physics: a convolutional LSTM from one observation to the next, rolled out",
            searched,
            merged(common, _CONV_LSTM),
        ),
        Method(
            "local_law",
            "field network without physics",
            "black box",
            "the same field network and implicit steps, but any local law in place of the known "
            "one: du/dt is a polynomial of the neighbours whose coefficients the network gives",
            "the case's own settings; learning rates of 1e-3, 3e-3, 1e-2 tried on another steady "
            "velocity",
            {
                "method": {"name": "local_law", "degree": degree},
                "training": {"learning_rate": 3e-3},
            },
            None,
            None if box else "the gas, which is not observed, is what carries the law",
        ),
    ]
