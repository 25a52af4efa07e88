"""Grids and what bounds them."""

from .boundary import Boundaries, Boundary, BoundaryLike, Dirichlet, Neumann, Periodic, Robin
from .ghosts import ghosts, ghosts_of_layers, pad
from .grid import Grid

__all__ = [
    "Boundaries",
    "Boundary",
    "BoundaryLike",
    "Dirichlet",
    "Grid",
    "Neumann",
    "Periodic",
    "Robin",
    "ghosts",
    "ghosts_of_layers",
    "pad",
]
