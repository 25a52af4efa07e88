"""Checks that users run on models of their own."""

from impindiff.checks.gradient_check import GradientCheck, check_gradient

__all__ = ["GradientCheck", "check_gradient"]
