"""Fourier spectral operators on uniform, fully periodic grids; their preconditioner and stepper."""

from impindiff.spectral._derivatives import gradient, laplacian
from impindiff.spectral._exponential import ETDRK4
from impindiff.spectral._preconditioner import FourierInverse
from impindiff.spectral._transport import advection, convection

__all__ = ["ETDRK4", "FourierInverse", "advection", "convection", "gradient", "laplacian"]
