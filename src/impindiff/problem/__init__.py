"""A problem of one's own: a model, its initial state, and measurements of it."""

from impindiff.problem.from_file import file_of, load_problem, located, own_modules
from impindiff.problem.measured import Measured, measured
from impindiff.problem.problem import Problem
from impindiff.problem.settings import ProblemSettings

__all__ = [
    "Measured",
    "Problem",
    "ProblemSettings",
    "file_of",
    "load_problem",
    "located",
    "measured",
    "own_modules",
]
