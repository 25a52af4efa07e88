"""Multiple devices and processes: placement of arrays and communication."""

from impindiff.devices.collectives import Collective, collectives
from impindiff.devices.mesh import Mesh, active_mesh, on_one_device
from impindiff.devices.option import mesh_of
from impindiff.devices.processes import distributed

__all__ = [
    "Collective",
    "Mesh",
    "active_mesh",
    "collectives",
    "distributed",
    "mesh_of",
    "on_one_device",
]
