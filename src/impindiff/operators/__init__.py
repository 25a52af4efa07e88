"""Conservative finite-volume operators on a grid."""

from impindiff.operators._advection import advection
from impindiff.operators._advection_diffusion import advection_diffusion
from impindiff.operators._convection import convection
from impindiff.operators._diffusion import diffusion
from impindiff.operators._divergence import divergence
from impindiff.operators._elliptic import Elliptic
from impindiff.operators._gradient import gradient
from impindiff.operators._multigrid_cycle import multigrid_cycle
from impindiff.operators._star import colouring, star_of

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
