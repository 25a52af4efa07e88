"""Conservative finite-volume operators on a grid."""

from .advection import advection
from .advection_diffusion import advection_diffusion
from .diffusion import diffusion
from .divergence import divergence
from .gradient import gradient

__all__ = ["advection", "advection_diffusion", "diffusion", "divergence", "gradient"]
