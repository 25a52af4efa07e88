"""JSON results of runs and comparisons: one schema for writers and readers."""

from impindiff.results._comparison import (
    ComparisonResults,
    MethodResults,
    MethodRun,
    Numbers,
    RunStatus,
    Times,
)
from impindiff.results._content import Content, Number, Pair, finite
from impindiff.results._run import (
    Checked,
    EnsembleLosses,
    Estimate,
    Failure,
    ForecastErrors,
    Gradient,
    LatentErrors,
    Memory,
    Misfit,
    Restarts,
    RunMetrics,
    Solver,
    Tested,
    Training,
)

FAILURE = "failure.json"
METRICS = "metrics.json"
RESULTS = "results.json"

__all__ = [
    "FAILURE",
    "METRICS",
    "RESULTS",
    "Checked",
    "ComparisonResults",
    "Content",
    "EnsembleLosses",
    "Estimate",
    "Failure",
    "ForecastErrors",
    "Gradient",
    "LatentErrors",
    "Memory",
    "MethodResults",
    "MethodRun",
    "Misfit",
    "Number",
    "Numbers",
    "Pair",
    "Restarts",
    "RunMetrics",
    "RunStatus",
    "Solver",
    "Tested",
    "Times",
    "Training",
    "finite",
]
