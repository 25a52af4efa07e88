"""One-sentence summary of a comparison."""

from impindiff.pages._words import capitalised, listed
from impindiff.pages.numbers import number, percent
from impindiff.results import ComparisonResults, MethodResults, RunStatus

_FATES: dict[RunStatus, str] = {
    "not converged": "did not converge",
    "blow-up": "blew up",
}


def best_method(results: ComparisonResults, time: str = "horizon") -> MethodResults | None:
    """The method of least mean error at a time, among those whose runs all succeeded.

    None if one that did not converge has less: an optimiser without a criterion, cut short as
    early, counts as a success, so the others would win by a rule that does not bind them.
    """
    least = _least(results, time)
    return None if least is None or least.failures else least


def _least(results: ComparisonResults, time: str) -> MethodResults | None:
    """The method of least mean error among those whose runs all ended, converged or not."""
    ended = [
        method
        for method in results.methods
        if method.error(time) is not None and method.failures == method.count("not converged")
    ]
    return min(ended, key=lambda of: (_error(of, time), of.failures), default=None)


def summary(results: ComparisonResults) -> str:
    """The best method, its factor over the best of another kind, and the methods that failed.

    Methods with a run that did not converge are in no ratio: their errors are of training that
    was cut short. If one has the least error, none is best.
    """
    study = [] if results.study_summary is None else [capitalised(results.study_summary)]
    if study and not results.has_errors:
        return f"{study[0]}."
    horizon = f"t = {results.times.horizon:g}"
    best, least = best_method(results), _least(results, "horizon")
    left_out = ""
    if best is None and least is not None and any(of.failures == 0 for of in _judged(results)):
        parts = [
            f"At the horizon, {horizon}, no method is best: {least.title} has the least mean "
            f"{results.metric_name}, {percent(_error(least))}, although its optimiser had not "
            "converged"
        ]
    elif best is None:
        unfinished = any(method.count("not converged") for method in results.methods)
        how = "converged and " * unfinished
        parts = [f"No method {how}reached the horizon, {horizon}, with every seed"]
    else:
        parts = [
            f"At the horizon, {horizon}, {best.title} has the least mean {results.metric_name}, "
            f"{percent(_error(best))}"
        ]
        left_out = " (left out of the comparison)"
        others = [of for of in _judged(results) if of.kind != best.kind]
        if others:
            parts[0] += _factor(best, min(others, key=_error))
    for status, words in _FATES.items():
        named = [
            f"{method.title} ({method.count(status)} of {len(method.runs)} runs)"
            for method in results.methods
            if method.count(status)
        ]
        if named:
            aside = left_out if status == "not converged" else ""
            parts.append(f"{listed(named)} {words}{aside}")
    return ". ".join([*study, "; ".join(parts)]) + "."


def _factor(best: MethodResults, other: MethodResults) -> str:
    """Ratio of errors to the best method of another kind, with its failures."""
    survivors = ""
    if other.failures:
        survivors = f", {other.failures} of {len(other.runs)} runs failed"
    compared = f"{other.title} ({other.kind}, {percent(_error(other))}{survivors})"
    if _error(best) <= 0:
        return f", before {compared}"
    factor = _error(other) / _error(best)
    if factor < 1:
        return f" of those that always ended; {compared} has less"
    return f", a factor of {number(factor, 2)} below the best of another kind, {compared}"


def _judged(results: ComparisonResults) -> list[MethodResults]:
    return [
        method
        for method in results.methods
        if method.error("horizon") is not None and not method.count("not converged")
    ]


def _error(method: MethodResults, time: str = "horizon") -> float:
    error = method.error(time)
    return float("inf") if error is None else error
