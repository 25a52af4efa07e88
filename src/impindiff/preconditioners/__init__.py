"""Preconditioners of a step's equation, derived from the model."""

from impindiff.preconditioners._fast_diagonalization import (
    FastDiagonalization,
    fast_diagonalization,
)
from impindiff.preconditioners._jacobi import Jacobi
from impindiff.preconditioners._multigrid import Multigrid, m_matrix

__all__ = ["FastDiagonalization", "Jacobi", "Multigrid", "fast_diagonalization", "m_matrix"]
