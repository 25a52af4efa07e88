"""Time steppers, implicit and explicit, with one interface; and the model they advance."""

from impindiff.steppers._explicit import RK4, ForwardEuler
from impindiff.steppers._implicit import ImplicitStepper, StageEquation, stage_residual
from impindiff.steppers._one_stage import BDF2, BackwardEuler, CrankNicolson
from impindiff.steppers._runge_kutta import SDIRK2, KenCarp3, KenCarp4
from impindiff.steppers._steady import PseudoTime, SteadyState
from impindiff.steppers._stepper import AbstractStepper, Step, status_without_solve
from impindiff.steppers.model import IMEX, HybridModel, PerSample, VectorField

__all__ = [
    "BDF2",
    "IMEX",
    "RK4",
    "SDIRK2",
    "AbstractStepper",
    "BackwardEuler",
    "CrankNicolson",
    "ForwardEuler",
    "HybridModel",
    "ImplicitStepper",
    "KenCarp3",
    "KenCarp4",
    "PerSample",
    "PseudoTime",
    "StageEquation",
    "SteadyState",
    "Step",
    "VectorField",
    "stage_residual",
    "status_without_solve",
]
