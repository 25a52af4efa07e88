"""Implicit layers on any pytree, their solvers and their adjoint rules."""

from impindiff.implicit.adjoint import AbstractAdjoint, ImplicitAdjoint, JacobianFree, Unrolled
from impindiff.implicit.anderson import Anderson
from impindiff.implicit.bicgstab import BiCGStab
from impindiff.implicit.fixed_point_iteration import Picard
from impindiff.implicit.linear import LinearMap, Preconditioner
from impindiff.implicit.newton_krylov import NewtonKrylov
from impindiff.implicit.root import Solver, fixed_point, root
from impindiff.implicit.solver import AbstractRootSolver
from impindiff.implicit.status import Outcome, Status

__all__ = [
    "AbstractAdjoint",
    "AbstractRootSolver",
    "Anderson",
    "BiCGStab",
    "ImplicitAdjoint",
    "JacobianFree",
    "LinearMap",
    "NewtonKrylov",
    "Outcome",
    "Picard",
    "Preconditioner",
    "Solver",
    "Status",
    "Unrolled",
    "fixed_point",
    "root",
]
