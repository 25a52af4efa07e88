"""Im-PiNDiff: implicit hybrid neural-physics PDE models in JAX.

Write the physics you know as a `HybridModel`, leave what you do not know to a neural part, advance
the state with implicit steps and train through their adjoint. See the README for an example.
"""

from impindiff.errors import ImpindiffError, InputError, SolverError
from impindiff.fields import ConditionalField, Siren
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.implicit import (
    BiCGStab,
    ImplicitAdjoint,
    NewtonKrylov,
    Outcome,
    Status,
    Unrolled,
    root,
)
from impindiff.operators import advection, advection_diffusion, diffusion, divergence, gradient
from impindiff.rollout import Rollout, StoreStates, rollout
from impindiff.steppers import (
    RK4,
    BackwardEuler,
    CrankNicolson,
    ForwardEuler,
    HybridModel,
    StageEquation,
    VectorField,
)

__all__ = [
    "RK4",
    "BackwardEuler",
    "BiCGStab",
    "ConditionalField",
    "CrankNicolson",
    "Dirichlet",
    "ForwardEuler",
    "Grid",
    "HybridModel",
    "ImpindiffError",
    "ImplicitAdjoint",
    "InputError",
    "Neumann",
    "NewtonKrylov",
    "Outcome",
    "Periodic",
    "Robin",
    "Rollout",
    "Siren",
    "SolverError",
    "StageEquation",
    "Status",
    "StoreStates",
    "Unrolled",
    "VectorField",
    "advection",
    "advection_diffusion",
    "diffusion",
    "divergence",
    "gradient",
    "rollout",
    "root",
]
