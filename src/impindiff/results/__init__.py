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
    Training,
)

FAILURE = "failure.json"
METRICS = "metrics.json"
RESULTS = "results.json"

__all__ = [
    "FAILURE",
    "METRICS",
    "RESULTS",
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
    "Times",
    "Training",
    "finite",
]
