"""Im-PiNDiff: implicit hybrid neural-physics PDE models in JAX.

Write the known physics as a `HybridModel`, leave the unknown to a neural part, advance the state
with implicit steps and train through their adjoint. See the README for an example.
"""

import importlib
from typing import Any

from impindiff import incompressible, spectral
from impindiff.advice import explain
from impindiff.checks import GradientCheck, check_gradient
from impindiff.devices import Mesh, collectives, distributed
from impindiff.errors import ImpindiffError, InputError, SolverError
from impindiff.fields import (
    BoundedField,
    ConditionalField,
    ModalField,
    MonotoneClosure,
    Parameter,
    PercolatingClosure,
    PositiveClosure,
    Siren,
    TimeBasis,
    percolation_law,
)
from impindiff.grid import Axis, Dirichlet, Grid, Neumann, Periodic, Robin
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
    Elliptic,
    advection,
    advection_diffusion,
    convection,
    diffusion,
    divergence,
    gradient,
    multigrid_cycle,
)
from impindiff.preconditioners import FastDiagonalization, Jacobi, Multigrid
from impindiff.rollout import (
    AdaptiveStep,
    Binomial,
    ForBudget,
    MemoryEstimate,
    Rollout,
    Segments,
    Steady,
    StoreStates,
    estimate_memory,
    rollout,
    steady,
)
from impindiff.steppers import (
    BDF2,
    IMEX,
    RK4,
    SDIRK2,
    BackwardEuler,
    CrankNicolson,
    ForwardEuler,
    HybridModel,
    KenCarp3,
    KenCarp4,
    PerSample,
    PseudoTime,
    StageEquation,
    SteadyState,
    VectorField,
)

__all__ = [
    "BDF2",
    "IMEX",
    "RK4",
    "SDIRK2",
    "AdaptiveStep",
    "Anderson",
    "Axis",
    "BackwardEuler",
    "BiCGStab",
    "Binomial",
    "BoundedField",
    "ConditionalField",
    "CrankNicolson",
    "Dirichlet",
    "Elliptic",
    "FastDiagonalization",
    "ForBudget",
    "ForwardEuler",
    "GradientCheck",
    "Grid",
    "HybridModel",
    "ImpindiffError",
    "ImplicitAdjoint",
    "InputError",
    "Jacobi",
    "JacobianFree",
    "KenCarp3",
    "KenCarp4",
    "MemoryEstimate",
    "Mesh",
    "ModalField",
    "MonotoneClosure",
    "Multigrid",
    "Neumann",
    "NewtonKrylov",
    "Outcome",
    "Parameter",
    "PerSample",
    "PercolatingClosure",
    "Periodic",
    "Picard",
    "PositiveClosure",
    "PseudoTime",
    "Robin",
    "Rollout",
    "Segments",
    "Siren",
    "SolverError",
    "StageEquation",
    "Status",
    "Steady",
    "SteadyState",
    "StoreStates",
    "TimeBasis",
    "Unrolled",
    "VectorField",
    "advection",
    "advection_diffusion",
    "check_gradient",
    "collectives",
    "convection",
    "diffusion",
    "distributed",
    "divergence",
    "estimate_memory",
    "explain",
    "fixed_point",
    "gradient",
    "incompressible",
    "multigrid_cycle",
    "percolation_law",
    "rollout",
    "root",
    "spectral",
    "steady",
]


def __getattr__(name: str) -> Any:
    """Import names on first access that need more than the library itself.

    `impindiff.problems`, `impindiff.data`, `impindiff.inference`, `open_run` and the classes for
    problems need packages of the command only, `impindiff.interop.diffrax` the package Diffrax.
    """
    if name in ("problems", "data", "inference"):
        return importlib.import_module(f"impindiff.{name}")
    if name == "diffrax":
        return importlib.import_module("impindiff.interop.diffrax")
    if name in ("Problem", "ProblemSettings", "Observations", "conditions_of"):
        return getattr(importlib.import_module("impindiff.problem"), name)
    if name == "open_run":
        return importlib.import_module("impindiff.experiment").open_run
    raise AttributeError(f"module 'impindiff' has no attribute '{name}'")
