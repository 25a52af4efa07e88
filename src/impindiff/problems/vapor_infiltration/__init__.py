"""Chemical vapor infiltration: gas, heat and solid in a densifying fibrous part."""

from impindiff.problems.vapor_infiltration.forward import densify, explicit_steps, forward_run
from impindiff.problems.vapor_infiltration.model import (
    Heat,
    VaporInfiltration,
    concentration,
    imbalance,
    imbalance_of_rates,
)
from impindiff.problems.vapor_infiltration.physical import PhysicalScales, from_physical
from impindiff.problems.vapor_infiltration.pores import (
    HardCore,
    OverlappingFibres,
    PoreModel,
)
from impindiff.problems.vapor_infiltration.preconditioner import InfiltrationPreconditioner
from impindiff.problems.vapor_infiltration.transport import (
    RANDOM_2D_IN_PLANE,
    RANDOM_2D_THROUGH_PLANE,
    RANDOM_3D,
    Bosanquet,
    ConductivityModel,
    LearnedConductivity,
    LearnedTransport,
    Mixture,
    Percolation,
    TransportModel,
)

__all__ = [
    "RANDOM_2D_IN_PLANE",
    "RANDOM_2D_THROUGH_PLANE",
    "RANDOM_3D",
    "Bosanquet",
    "ConductivityModel",
    "HardCore",
    "Heat",
    "InfiltrationPreconditioner",
    "LearnedConductivity",
    "LearnedTransport",
    "Mixture",
    "OverlappingFibres",
    "Percolation",
    "PhysicalScales",
    "PoreModel",
    "TransportModel",
    "VaporInfiltration",
    "concentration",
    "densify",
    "explicit_steps",
    "forward_run",
    "from_physical",
    "imbalance",
    "imbalance_of_rates",
]
