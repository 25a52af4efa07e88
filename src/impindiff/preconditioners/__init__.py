"""Preconditioners of a step's equation, derived from the model."""

from impindiff.preconditioners._automatic import (
    AutomaticChoice,
    asks_for_choice,
    choose_preconditioner,
    with_choice,
)
from impindiff.preconditioners._fast_diagonalization import (
    FastDiagonalization,
    fast_diagonalization,
)
from impindiff.preconditioners._jacobi import Jacobi
from impindiff.preconditioners._multigrid import Multigrid, m_matrix

__all__ = [
    "AutomaticChoice",
    "FastDiagonalization",
    "Jacobi",
    "Multigrid",
    "asks_for_choice",
    "choose_preconditioner",
    "fast_diagonalization",
    "m_matrix",
    "with_choice",
]
