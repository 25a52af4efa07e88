"""Preconditioners of a step's equation, derived from the model."""

from impindiff.preconditioners.fast_diagonalization import FastDiagonalization
from impindiff.preconditioners.jacobi import Jacobi
from impindiff.preconditioners.multigrid import Multigrid

__all__ = ["FastDiagonalization", "Jacobi", "Multigrid"]
