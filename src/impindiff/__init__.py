"""Im-PiNDiff: implicit hybrid neural-physics PDE models in JAX.

Write the physics you know as a `HybridModel`, leave what you do not know to a neural part, advance
the state with implicit steps and train through their adjoint. See the README for an example.
"""

from impindiff.errors import ImpindiffError, InputError, SolverError
from impindiff.fields import BoundedField, ConditionalField, Siren
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.implicit import (
    Anderson,
    BiCGStab,
    ImplicitAdjoint,
    JacobianFree,
    NewtonKrylov,
    Outcome,
    Picard,
    Status,
    Unrolled,
    fixed_point,
    root,
)
from impindiff.operators import (
    advection,
    advection_diffusion,
    convection,
    diffusion,
    divergence,
    gradient,
)
from impindiff.rollout import (
    Binomial,
    ForBudget,
    MemoryEstimate,
    Rollout,
    Segments,
    StoreStates,
    estimate_memory,
    rollout,
)
from impindiff.steppers import (
    RK4,
    BackwardEuler,
    CrankNicolson,
    ForwardEuler,
    HybridModel,
    StageEquation,
    TridiagonalPreconditioner,
    VectorField,
)

__all__ = [
    "RK4",
    "Anderson",
    "BackwardEuler",
    "BiCGStab",
    "Binomial",
    "BoundedField",
    "ConditionalField",
    "CrankNicolson",
    "Dirichlet",
    "ForBudget",
    "ForwardEuler",
    "Grid",
    "HybridModel",
    "ImpindiffError",
    "ImplicitAdjoint",
    "InputError",
    "JacobianFree",
    "MemoryEstimate",
    "Neumann",
    "NewtonKrylov",
    "Outcome",
    "Periodic",
    "Picard",
    "Robin",
    "Rollout",
    "Segments",
    "Siren",
    "SolverError",
    "StageEquation",
    "Status",
    "StoreStates",
    "TridiagonalPreconditioner",
    "Unrolled",
    "VectorField",
    "advection",
    "advection_diffusion",
    "convection",
    "diffusion",
    "divergence",
    "estimate_memory",
    "fixed_point",
    "gradient",
    "rollout",
    "root",
]
