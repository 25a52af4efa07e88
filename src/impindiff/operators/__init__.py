"""Conservative finite-volume operators on a grid."""

from impindiff.operators.advection import advection
from impindiff.operators.advection_diffusion import advection_diffusion
from impindiff.operators.convection import convection
from impindiff.operators.diffusion import diffusion
from impindiff.operators.divergence import divergence
from impindiff.operators.elliptic import Elliptic
from impindiff.operators.gradient import gradient
from impindiff.operators.multigrid_cycle import multigrid_cycle
from impindiff.operators.star import colouring, star_of

__all__ = [
    "Elliptic",
    "advection",
    "advection_diffusion",
    "colouring",
    "convection",
    "diffusion",
    "divergence",
    "gradient",
    "multigrid_cycle",
    "star_of",
]
