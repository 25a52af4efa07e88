"""The heart: implicit layers on any pytree, their solvers and their gradient rules."""

from impindiff.implicit.bicgstab import BiCGStab
from impindiff.implicit.gradient import AbstractGradient, ImplicitAdjoint, Unrolled
from impindiff.implicit.newton_krylov import NewtonKrylov
from impindiff.implicit.root import root
from impindiff.implicit.solver import AbstractRootSolver
from impindiff.implicit.status import Outcome, Status

__all__ = [
    "AbstractGradient",
    "AbstractRootSolver",
    "BiCGStab",
    "ImplicitAdjoint",
    "NewtonKrylov",
    "Outcome",
    "Status",
    "Unrolled",
    "root",
]
