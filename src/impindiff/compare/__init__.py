"""Comparison of the method with its baselines: runs, resumption, tables."""

from impindiff.compare._request import QUICK_BUDGET, Request
from impindiff.compare._results import RESULTS, write_results
from impindiff.compare._runner import Outcome, run_comparison
from impindiff.compare._studies import STUDIES

__all__ = [
    "QUICK_BUDGET",
    "RESULTS",
    "STUDIES",
    "Outcome",
    "Request",
    "run_comparison",
    "write_results",
]
