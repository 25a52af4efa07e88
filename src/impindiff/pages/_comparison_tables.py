"""The tables of a comparison: errors, cost, and every run."""

from collections.abc import Callable

from impindiff.pages._blocks import Row, Table
from impindiff.pages._comparison_summary import best_method
from impindiff.pages._words import capitalised, humanised, listed
from impindiff.pages.numbers import count, duration, memory, number, with_error
from impindiff.results import ComparisonResults, MethodResults, MethodRun, Numbers

_Show = Callable[[float | int | None], str]
_COST: dict[str, tuple[str, _Show]] = {
    "seconds_per_step": ("a training step (s)", number),
    "compile_seconds": ("compilation (s)", number),
    "steps": ("steps", count),
    "training_seconds": ("training", duration),
    "temporary_mb": ("temporary memory", memory),
    "peak_rss_mb": ("peak memory", memory),
    "largest_step": ("largest stable step", number),
    "parameters": ("parameters", count),
    "observations": ("observations", count),
    "final_loss": ("final loss", number),
}
# columns shown with their spread, a measure of the machine's load
_SPREAD = ("seconds_per_step",)


def error_table(results: ComparisonResults) -> Table:
    """One row per method: number of finished runs, mean and spread of the error at each time."""
    moments = _moments(results)
    failing = any(method.mean.failed_solves for method in results.methods)
    least = {key: _least(results, key) for key in moments}
    rows = []
    for method in results.methods:
        if method.not_run is not None:
            rows.append(_not_run(method))
            continue
        solves = [count(method.mean.failed_solves)] if failing else []
        errors = [_mean(method, lambda of, key=key: of.error_percent.get(key)) for key in moments]
        best = frozenset(i + 1 + failing for i, key in enumerate(moments) if method is least[key])
        rows.append(Row(method.title, [method.outcome(), *solves, *errors], method.kind, best))
    spread = "mean ± standard deviation" if len(results.seeds) > 1 else results.metric_name
    seeds = f"seed{'s' * (len(results.seeds) > 1)} {listed([str(s) for s in results.seeds])}"
    unfinished = any(method.count("not converged") for method in results.methods)
    return Table(
        capitalised(results.error_label),
        ["method", "runs", *["failed solves"] * failing, *moments.values()],
        rows,
        note=f"{capitalised(spread)} over the runs that got to the time, {seeds}. "
        + "Least of the methods of which every run ended well: shaded"
        + ", unless one that did not converge has less. A run did not converge if training ended "
        "before its optimiser's criterion was met; see the table of every run"
        * unfinished
        + "."
        + " Failed solves: in training, mean over runs." * failing,
    )


def cost_table(results: ComparisonResults) -> Table:
    """One row per method: means of time, memory and sizes; empty columns are left out."""
    shown = {
        key: of
        for key, of in _COST.items()
        if any(getattr(m.mean, key) is not None for m in results.methods)
    }
    rows = []
    for method in results.methods:
        if method.not_run is not None:
            rows.append(_not_run(method))
            continue
        cells = [
            _mean(method, lambda of, key=key: getattr(of, key))
            if key in _SPREAD
            else show(getattr(method.mean, key))
            for key, (_, show) in shown.items()
        ]
        rows.append(Row(method.title, cells, method.kind))
    return Table(
        "Cost of training, means over runs",
        ["method", *(label for label, _ in shown.values())],
        rows,
        note="Temporary memory is that of the compiled training step, without its arguments; peak "
        "memory is that of the whole process.",
    )


def run_table(results: ComparisonResults) -> Table:
    """One row per run, with the error message of failed ones."""
    moments = _moments(results)
    rows = [
        Row(
            f"{method.title}, seed {run.seed}",
            [
                run.status,
                *(number(run.error_percent.get(key)) for key in moments),
                count(run.steps),
                count(run.failed_solves),
                duration(run.training_seconds),
                number(run.final_loss),
            ],
            detail=_said(run),
        )
        for method in results.methods
        for run in method.runs
    ]
    return Table(
        f"Every run, {results.error_label}",
        ["run", "status", *moments.values(), "steps", "failed solves", "training", "final loss"],
        rows,
    )


def _not_run(method: MethodResults) -> Row:
    return Row(method.title, detail=method.kind, instead=f"not run: {method.not_run}")


def _said(run: MethodRun) -> str:
    return f"{run.folder}: {run.message}" if run.message else run.folder


def _moments(results: ComparisonResults) -> dict[str, str]:
    """The columns of errors, by key; keys of one time share the first one's column."""
    names: dict[float, list[str]] = {}
    for key, time in results.times.known().items():
        names.setdefault(time, []).append(key)
    return {
        keys[0]: f"t = {time:g} ({', '.join(map(humanised, keys))})" for time, keys in names.items()
    }


def _least(results: ComparisonResults, key: str) -> MethodResults | None:
    """The best method at that time; None if too few always succeeded."""
    judged = [of for of in results.methods if of.failures == 0 and of.error(key) is not None]
    return best_method(results, key) if len(judged) > 1 else None


def _mean(method: MethodResults, value: Callable[[Numbers], float | None]) -> str:
    return with_error(value(method.mean), value(method.spread))
