"""Grids and boundary conditions."""

from impindiff.grid._grid import Grid
from impindiff.grid.boundary import (
    Boundaries,
    Boundary,
    BoundaryLike,
    Dirichlet,
    Neumann,
    Periodic,
    Robin,
    homogeneous,
)
from impindiff.grid.ghosts import ghosts, ghosts_of_layers, pad

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
    "homogeneous",
    "pad",
]
