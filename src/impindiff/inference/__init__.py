"""Uncertainty of a fit: posterior of its parameters, identifiability, and checks of the model."""

from impindiff.inference._identifiability import Identifiability, identifiability
from impindiff.inference._model_check import ModelCheck, ResidualTest, check_residuals
from impindiff.inference._nuts import Sampled, nuts
from impindiff.inference._posterior import (
    FlatParameters,
    Linearization,
    Posterior,
    flat_parameters,
    laplace,
    linearized,
    standard_errors,
)

__all__ = [
    "FlatParameters",
    "Identifiability",
    "Linearization",
    "ModelCheck",
    "Posterior",
    "ResidualTest",
    "Sampled",
    "check_residuals",
    "flat_parameters",
    "identifiability",
    "laplace",
    "linearized",
    "nuts",
    "standard_errors",
]
