"""A problem of one's own: a model, its initial state, and measurements of it."""

from impindiff.problem.from_file import load_problem, where_in_problem
from impindiff.problem.measured import Measured, measured
from impindiff.problem.problem import Problem
from impindiff.problem.settings import ProblemSettings

__all__ = ["Measured", "Problem", "ProblemSettings", "load_problem", "measured", "where_in_problem"]
