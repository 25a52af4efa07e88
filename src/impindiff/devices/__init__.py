"""Many devices and several processes: where arrays are, and what travels between them."""

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
