"""The tables of a run: errors, numbers found, solver and training."""

from collections.abc import Iterator, Mapping
from typing import Any

from impindiff.pages.blocks import Row, Table, Tables
from impindiff.pages.numbers import MISSING, count, duration, memory, number, percent, with_error
from impindiff.pages.words import humanised

# What has a table of its own, or is not a result.
_SHOWN = (
    "case",
    "forecast",
    "gradient",
    "identified",
    "latent",
    "machine",
    "memory",
    "misfit",
    "precision",
    "problem",
    "seconds_total",
    "seed",
    "solver",
    "summary",
    "train",
    "versions",
)


def run_tables(metrics: Mapping[str, Any]) -> Tables:
    """Those for which the metrics have something to show."""
    tables = [
        _forecast(metrics["forecast"]) if "forecast" in metrics else None,
        _misfit(metrics.get("misfit", {})),
        _latent(metrics.get("latent", {})),
        _identified(metrics.get("identified", {})),
        _solver(metrics.get("solver", {}), metrics.get("gradient", {})),
        _training(metrics),
        _others(metrics),
    ]
    return Tables([table for table in tables if table is not None and table.rows])


def last_time(forecast: Mapping[str, Any]) -> str:
    """When the errors of the forecast are those of."""
    times = forecast.get("error_vs_time")
    return f"at t = {times[-1][0]:g}" if times else "at the last time"


def _forecast(forecast: Mapping[str, Any]) -> Table:
    errors = forecast["relative_l1_percent"]
    times = forecast.get("error_vs_time")
    sets = list(errors)
    judged = [MISSING] * (len(sets) - 1)  # the others are of held-out samples where there are any
    rows = [
        Row(f"relative L1 error {last_time(forecast)}", [percent(errors[name]) for name in sets])
    ]
    if times and len(times) > 1:
        worst_time, worst = max(times, key=lambda of: -1.0 if of[1] is None else of[1])
        if worst_time != times[-1][0]:
            head = f"largest relative L1 error, at t = {worst_time:g}"
            rows.append(Row(head, [*judged, percent(worst)]))
    for name, value in forecast.get("relative_l2_percent", {}).items():
        head = f"relative L2 error of {humanised(name)}, all times"
        rows.append(Row(head, [*judged, percent(value)]))
    for name, value in forecast.items():
        if isinstance(value, float):
            rows.append(Row(humanised(name), [*judged, number(value)]))
    return Table(
        "Errors of the forecast",
        ["", *map(humanised, sets)],
        rows,
        note="Means over samples, relative to the norm of the truth.",
    )


def _misfit(misfit: Mapping[str, Any]) -> Table:
    rows = [
        Row(
            f"{name}, {humanised(which)}",
            [
                number(found["rms"]),
                percent(found["relative_percent"]),
                number(found["in_standard_deviations"]),
                count(found["values"]),
            ],
        )
        for which, quantities in misfit.items()
        for name, found in quantities.items()
    ]
    return Table(
        "Misfit to the measurements",
        ["", "root mean square", "relative", "in standard deviations", "values"],
        rows,
        note="About 1 standard deviation is what errors of the stated size explain.",
    )


def _latent(latent: Mapping[str, Any]) -> Table:
    norms = [norm for norm in ("l1", "l2") if latent.get(f"relative_{norm}_percent")]
    names = {name: None for norm in norms for name in latent[f"relative_{norm}_percent"]}
    rows = [
        Row(
            humanised(name),
            [percent(latent[f"relative_{norm}_percent"].get(name)) for norm in norms],
        )
        for name in names
    ]
    return Table(
        "Errors of what was unknown", ["", *(f"relative {norm.upper()}" for norm in norms)], rows
    )


def _identified(identified: Mapping[str, Any]) -> Table:
    rows = []
    for name, found in identified.items():
        truth = found.get("truth")
        known = truth is not None and found["value"] is not None
        off = 100 * (found["value"] / truth - 1) if known and truth else None
        cells = [
            with_error(found["value"], found.get("standard_error")),
            number(truth, 6),
            percent(off),
        ]
        rows.append(Row(humanised(name), cells))
    return Table(
        "Numbers that were found",
        ["", "found ± standard error", "true value", "off by"],
        rows,
    )


def _solver(solver: Mapping[str, Any], gradient: Mapping[str, Any]) -> Table:
    given = [
        ("iterations a step, mean", solver.get("iterations_mean"), number),
        ("linear iterations a step, mean", solver.get("linear_iterations_mean"), number),
        ("largest relative residual of a step", solver.get("max_residual"), number),
        ("solves that failed", solver.get("failed_solves"), count),
        ("largest relative residual of the gradient", gradient.get("max_residual"), number),
    ]
    return _values("Solver, over all of training", given)


def _training(metrics: Mapping[str, Any]) -> Table:
    train = metrics.get("train", {})
    given = [
        ("steps", train.get("steps"), count),
        ("time of training", train.get("seconds"), duration),
        ("time of a step", train.get("seconds_per_step"), duration),
        ("time of compilation", train.get("compile_seconds"), duration),
        ("time in all", metrics.get("seconds_total"), duration),
        ("final loss", train.get("final_loss"), number),
        ("validation loss", train.get("validation_loss"), number),
        ("step of the best weights, which are kept", train.get("best_step"), count),
        ("numbers that are trained", train.get("parameters"), count),
        ("values observed", train.get("observations"), count),
        ("temporary memory of a step", train.get("temporary_mb"), memory),
        ("peak memory", metrics.get("memory", {}).get("peak_rss_mb"), memory),
        ("precision", metrics.get("precision"), str),
        ("seed", metrics.get("seed"), str),
    ]
    return _values("Training", given)


def _others(metrics: Mapping[str, Any]) -> Table:
    """Single values that cases add to their metrics."""
    sections = {name: of for name, of in metrics.items() if name not in _SHOWN}
    given = [
        (label, value, number if isinstance(value, float) else str)
        for label, value in _single_values(sections)
    ]
    return _values("Other results", given)


def _values(caption: str, given: Any) -> Table:
    """One value a row; those that are not there are left out."""
    rows = [Row(head, [show(value)]) for head, value, show in given if value is not None]
    return Table(caption, ["", "value"], rows)


def _single_values(content: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        label = f"{before}{humanised(name)}"
        if isinstance(value, Mapping):
            yield from _single_values(value, f"{label}: ")
        elif isinstance(value, str | int | float):
            yield label, value
