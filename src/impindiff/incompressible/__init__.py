"""Incompressible flow with velocity and pressure, on a staggered grid."""

from impindiff.incompressible._fields import at_centers, divergence, face_points
from impindiff.incompressible._preconditioner import PressureCorrection
from impindiff.incompressible._projection import project
from impindiff.incompressible._tendency import mass, tendency

__all__ = [
    "PressureCorrection",
    "at_centers",
    "divergence",
    "face_points",
    "mass",
    "project",
    "tendency",
]
