"""Selection of Lineax solvers for matrix-free general systems."""

from typing import Any

import lineax as lx

from impindiff.errors import InputError

_STRUCTURED = (lx.Diagonal, lx.Triangular, lx.Tridiagonal, lx.Cholesky)


def require_general(solver: Any, user: str) -> None:
    """Raise `InputError` unless the solver accepts any matrix given by its products.

    `lineax.CG` is accepted: the user who chooses it asserts that the matrix is definite.
    """
    if not isinstance(solver, lx.AbstractLinearSolver):
        raise InputError(
            f"{user}: linear_solver is {solver!r}; expected a solver of Lineax's such as "
            "lineax.GMRES(rtol=1e-6, atol=1e-6), or BiCGStab()"
        )
    if isinstance(solver, _STRUCTURED):
        raise InputError(
            f"{user}: lineax.{type(solver).__name__} is for matrices whose structure is declared, "
            "and the Jacobian of a residual has none; expected BiCGStab, lineax.GMRES, lineax.CG "
            "or, for few unknowns, lineax.LU"
        )
