"""Built-in problems: models with unknown parts, and reference data."""

from impindiff.errors import InputError
from impindiff.problem import Problem
from impindiff.problems.advection_diffusion import AdvectionDiffusion, AdvectionDiffusionSteady
from impindiff.problems.advection_diffusion_dynamic import AdvectionDiffusionDynamic
from impindiff.problems.burgers import Burgers, BurgersProblem
from impindiff.problems.burgers_public import BurgersPublic, ViscousBurgers
from impindiff.problems.vapor_infiltration.experiments import (
    VaporInfiltrationClosure,
    VaporInfiltrationField,
    VaporInfiltrationThermal,
)

PROBLEMS: dict[str, Problem] = {
    problem.name: problem
    for problem in (
        AdvectionDiffusionSteady(),
        AdvectionDiffusionDynamic(),
        BurgersProblem(),
        BurgersPublic(),
        VaporInfiltrationClosure(),
        VaporInfiltrationField(),
        VaporInfiltrationThermal(),
    )
}


def get_problem(name: str) -> Problem:
    """The built-in problem of that name. Raises `InputError` with the known names."""
    if name not in PROBLEMS:
        raise InputError(
            f"there is no problem '{name:.60}'; built-in ones: {', '.join(PROBLEMS)}; for a "
            "user-defined problem give its file, NAME.py"
        )
    return PROBLEMS[name]


__all__ = [
    "PROBLEMS",
    "AdvectionDiffusion",
    "AdvectionDiffusionDynamic",
    "AdvectionDiffusionSteady",
    "Burgers",
    "BurgersProblem",
    "BurgersPublic",
    "VaporInfiltrationClosure",
    "VaporInfiltrationField",
    "VaporInfiltrationThermal",
    "ViscousBurgers",
    "get_problem",
]
