"""Diagnostics of a step's equation, and a recommended preconditioner."""

from impindiff.advice.explain import Candidate, Explanation, explain

__all__ = ["Candidate", "Explanation", "explain"]
