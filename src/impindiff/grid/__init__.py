"""Grids and boundary conditions."""

from impindiff.grid._grid import Grid
from impindiff.grid.boundary import (
    Axis,
    Boundaries,
    Boundary,
    BoundaryLike,
    Dirichlet,
    Neumann,
    Periodic,
    Robin,
    homogeneous,
)
from impindiff.grid.domain import Domain
from impindiff.grid.edges import geometric, tanh
from impindiff.grid.ghosts import ghosts, ghosts_of_layers, pad

__all__ = [
    "Axis",
    "Boundaries",
    "Boundary",
    "BoundaryLike",
    "Dirichlet",
    "Domain",
    "Grid",
    "Neumann",
    "Periodic",
    "Robin",
    "geometric",
    "ghosts",
    "ghosts_of_layers",
    "homogeneous",
    "pad",
    "tanh",
]
