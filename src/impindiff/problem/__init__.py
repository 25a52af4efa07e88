"""Problem definition: a model, its initial state, and measurements of it."""

from impindiff.problem._from_file import (
    configure_problem,
    file_of,
    load_problem,
    located,
    own_modules,
    run_script,
)
from impindiff.problem._hooks import checked, require_consistent
from impindiff.problem._problem import Problem, Scale, output_times
from impindiff.problem.findings import ClosureCurve, Findings, Series, closure_curves
from impindiff.problem.observations import Measured, Observations, measured, start_of
from impindiff.problem.samples import (
    Data,
    as_data,
    box_of,
    conditions_of,
    of_samples,
    truths_of,
)
from impindiff.settings.sections import ProblemSettings

__all__ = [
    "ClosureCurve",
    "Data",
    "Findings",
    "Measured",
    "Observations",
    "Problem",
    "ProblemSettings",
    "Scale",
    "Series",
    "as_data",
    "box_of",
    "checked",
    "closure_curves",
    "conditions_of",
    "configure_problem",
    "file_of",
    "load_problem",
    "located",
    "measured",
    "of_samples",
    "output_times",
    "own_modules",
    "require_consistent",
    "run_script",
    "start_of",
    "truths_of",
]
