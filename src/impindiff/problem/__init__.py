"""A problem of one's own: a model, its initial state, and measurements of it."""

from impindiff.problem.from_file import (
    configure_problem,
    file_of,
    load_problem,
    located,
    own_modules,
    run_script,
)
from impindiff.problem.hooks import checked, require_consistent
from impindiff.problem.measured import Measured, measured
from impindiff.problem.problem import Problem
from impindiff.problem.settings import ProblemSettings

__all__ = [
    "Measured",
    "Problem",
    "ProblemSettings",
    "checked",
    "configure_problem",
    "file_of",
    "load_problem",
    "located",
    "measured",
    "own_modules",
    "require_consistent",
    "run_script",
]
