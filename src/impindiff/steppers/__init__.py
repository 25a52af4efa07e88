"""Time steppers, implicit and explicit, behind one protocol; and the model they advance."""

from impindiff.steppers.explicit import RK4, ForwardEuler
from impindiff.steppers.implicit import (
    BackwardEuler,
    CrankNicolson,
    ImplicitStepper,
    StageEquation,
)
from impindiff.steppers.model import HybridModel, VectorField
from impindiff.steppers.preconditioners import TridiagonalPreconditioner
from impindiff.steppers.stepper import AbstractStepper

__all__ = [
    "RK4",
    "AbstractStepper",
    "BackwardEuler",
    "CrankNicolson",
    "ForwardEuler",
    "HybridModel",
    "ImplicitStepper",
    "StageEquation",
    "TridiagonalPreconditioner",
    "VectorField",
]
