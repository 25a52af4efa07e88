"""Many devices and several processes: where arrays are, and what travels between them."""

from impindiff.devices.collectives import Collective, collectives
from impindiff.devices.mesh import Mesh
from impindiff.devices.processes import distributed

__all__ = ["Collective", "Mesh", "collectives", "distributed"]
