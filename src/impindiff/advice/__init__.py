"""What a step's equation is like, and which preconditioner to take for it."""

from impindiff.advice.explain import Candidate, Explanation, explain

__all__ = ["Candidate", "Explanation", "explain"]
