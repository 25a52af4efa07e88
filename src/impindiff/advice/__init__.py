"""Diagnostics of a step's equation, and a recommended preconditioner."""

from impindiff.advice._explain import Candidate, Explanation, explain
from impindiff.advice._numerical_diffusion import NumericalDiffusion, numerical_diffusion

__all__ = ["Candidate", "Explanation", "NumericalDiffusion", "explain", "numerical_diffusion"]
