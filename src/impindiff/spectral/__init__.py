"""Fourier spectral operators on uniform, fully periodic grids, and their preconditioner."""

from impindiff.spectral._derivatives import gradient, laplacian
from impindiff.spectral._preconditioner import FourierInverse
from impindiff.spectral._transport import advection, convection

__all__ = ["FourierInverse", "advection", "convection", "gradient", "laplacian"]
