"""Preconditioners of a step's equation, derived from the model."""

from impindiff.preconditioners._fast_diagonalization import FastDiagonalization
from impindiff.preconditioners._jacobi import Jacobi
from impindiff.preconditioners._multigrid import Multigrid

__all__ = ["FastDiagonalization", "Jacobi", "Multigrid"]
