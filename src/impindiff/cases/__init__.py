"""Worked physical systems: each a model, reference data and a default configuration."""

from impindiff.cases.advection_diffusion import AdvectionDiffusion, AdvectionDiffusionSteady
from impindiff.cases.advection_diffusion_dynamic import AdvectionDiffusionDynamic
from impindiff.cases.burgers import Burgers, BurgersCase
from impindiff.cases.burgers_public import BurgersPublic, ViscousBurgers
from impindiff.cases.case import Case, Data
from impindiff.cases.configuration import dump_yaml, load_configuration
from impindiff.cases.vapor_infiltration.experiments import (
    VaporInfiltrationClosure,
    VaporInfiltrationField,
    VaporInfiltrationThermal,
)
from impindiff.errors import InputError

CASES: dict[str, Case] = {
    case.name: case
    for case in (
        AdvectionDiffusionSteady(),
        AdvectionDiffusionDynamic(),
        BurgersCase(),
        BurgersPublic(),
        VaporInfiltrationClosure(),
        VaporInfiltrationField(),
        VaporInfiltrationThermal(),
    )
}


def get_case(name: str) -> Case:
    """The case of that name. Raises `InputError` naming those there are."""
    if name not in CASES:
        raise InputError(f"there is no case '{name}'; cases: {', '.join(CASES)}")
    return CASES[name]


__all__ = [
    "CASES",
    "AdvectionDiffusion",
    "AdvectionDiffusionDynamic",
    "AdvectionDiffusionSteady",
    "Burgers",
    "BurgersCase",
    "BurgersPublic",
    "Case",
    "Data",
    "VaporInfiltrationClosure",
    "VaporInfiltrationField",
    "VaporInfiltrationThermal",
    "ViscousBurgers",
    "dump_yaml",
    "get_case",
    "load_configuration",
]
