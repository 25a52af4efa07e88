"""Multiple devices and processes: placement of arrays and communication."""

from impindiff.devices._collectives import Collective, collectives
from impindiff.devices._mesh import Mesh, active_mesh, on_one_device
from impindiff.devices._option import mesh_of
from impindiff.devices._processes import distributed

__all__ = [
    "Collective",
    "Mesh",
    "active_mesh",
    "collectives",
    "distributed",
    "mesh_of",
    "on_one_device",
]
