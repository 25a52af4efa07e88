"""Checks of user-defined models."""

from impindiff.checks._gradient_check import GradientCheck, check_gradient

__all__ = ["GradientCheck", "check_gradient"]
