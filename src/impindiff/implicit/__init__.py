"""Implicit layers on any pytree, their solvers and their adjoint rules."""

from impindiff.implicit._adjoint import AbstractAdjoint, ImplicitAdjoint, JacobianFree, Unrolled
from impindiff.implicit._anderson import Anderson
from impindiff.implicit._bicgstab import BiCGStab
from impindiff.implicit._closures import evaluated_at_once, known_numbers
from impindiff.implicit._fixed_point_iteration import Picard
from impindiff.implicit._newton_krylov import NewtonKrylov
from impindiff.implicit._root import Solver, fixed_point, root
from impindiff.implicit._status import Outcome, Status
from impindiff.implicit.linear import LinearMap, Preconditioner
from impindiff.implicit.solver import AbstractRootSolver

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
    "evaluated_at_once",
    "fixed_point",
    "known_numbers",
    "root",
]
