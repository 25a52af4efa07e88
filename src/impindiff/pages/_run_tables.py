"""The tables of a run: errors, identified scalars, solver and training."""

from collections.abc import Sequence
from typing import Any

from impindiff.pages._blocks import Row, Table, Tables
from impindiff.pages._words import Labels, humanised
from impindiff.pages.numbers import MISSING, count, duration, memory, number, percent, with_error
from impindiff.results import (
    Estimate,
    ForecastErrors,
    Gradient,
    LatentErrors,
    Misfit,
    RunMetrics,
    Solver,
)
from impindiff.settings.configuration import dotted


def run_tables(metrics: RunMetrics) -> Tables:
    """The tables for which the metrics have content."""
    tables = [
        None if metrics.forecast is None else _forecast(metrics.forecast, metrics.labels),
        _misfit(metrics.misfit),
        None if metrics.latent is None else _latent(metrics.latent, metrics.labels),
        _identified(metrics.identified, metrics.labels),
        _solver(metrics.solver, metrics.gradient),
        _training(metrics),
        _others(metrics.others, metrics.labels),
    ]
    return Tables([table for table in tables if table is not None and table.rows])


def _forecast(forecast: ForecastErrors, labels: Labels) -> Table:
    errors, times = forecast.relative_l1_percent, forecast.error_vs_time
    judged = [MISSING] * (len(errors) - 1)  # the other errors are of test samples if there are any
    head = f"relative L1 error at t = {forecast.last_time:g}"
    rows = [Row(head, [percent(value) for value in errors.values()])]
    worst_time, worst = max(times, key=lambda pair: -1.0 if pair[1] is None else pair[1])
    if worst_time != forecast.last_time:
        head = f"largest relative L1 error, at t = {worst_time:g}"
        rows.append(Row(head, [*judged, percent(worst)]))
    for name, value in forecast.relative_l2_percent.items():
        head = f"relative L2 error of {humanised(name, labels)}, all times"
        rows.append(Row(head, [*judged, percent(value)]))
    for name, value in forecast.others.items():
        rows.append(Row(humanised(name, labels), [*judged, number(value)]))
    return Table(
        "Errors of the forecast",
        ["", *map(humanised, errors)],
        rows,
        note="Means over samples, relative to the norm of the truth.",
    )


def _misfit(misfit: dict[str, dict[str, Misfit]]) -> Table:
    rows = [
        Row(
            f"{name}, {humanised(which)}",
            [
                number(found.rms),
                percent(found.relative_percent),
                number(found.in_standard_deviations),
                count(found.values),
            ],
        )
        for which, quantities in misfit.items()
        for name, found in quantities.items()
    ]
    stated = any(
        found.in_standard_deviations is not None
        for quantities in misfit.values()
        for found in quantities.values()
    )
    return Table(
        "Misfit to the measurements",
        ["", "root mean square", "relative", "in standard deviations", "values"],
        rows,
        note="About 1 standard deviation is consistent with the stated errors."
        if stated
        else "No standard deviation is stated: by the data, or by observations.standard_deviation.",
    )


def _latent(latent: LatentErrors, labels: Labels) -> Table:
    errors = {"L1": latent.relative_l1_percent, "L2": latent.relative_l2_percent}
    norms = {norm: found for norm, found in errors.items() if found}
    names = {name: None for found in norms.values() for name in found}
    rows = [
        Row(humanised(name, labels), [percent(found.get(name)) for found in norms.values()])
        for name in names
    ]
    return Table("Errors of the unknowns", ["", *(f"relative {norm}" for norm in norms)], rows)


def _identified(identified: dict[str, Estimate], labels: Labels) -> Table:
    columns = 3 if any(found.truth is not None for found in identified.values()) else 1
    rows = [
        Row(
            humanised(name, labels),
            [
                with_error(found.value, found.standard_error),
                number(found.truth, 6),
                percent(found.off_percent),
            ][:columns],
        )
        for name, found in identified.items()
    ]
    return Table(
        "Numbers that were found",
        ["", "found ± standard error", "true value", "off by"][: columns + 1],
        rows,
    )


def _solver(solver: Solver, gradient: Gradient) -> Table:
    return _values(
        "Solver, over all of training",
        [
            ("iterations a step, mean", solver.iterations_mean, number),
            ("linear iterations a step, mean", solver.linear_iterations_mean, number),
            ("largest relative residual of a step", solver.max_residual, number),
            ("solves that failed", solver.failed_solves, count),
            ("automatic preconditioner", solver.automatic_preconditioner, str),
            # 0 where derivatives are in forward mode, without adjoint solves
            ("largest relative residual of the gradient", gradient.max_residual or None, number),
        ],
    )


def _training(metrics: RunMetrics) -> Table:
    train = metrics.train
    return _values(
        "Training",
        [
            ("steps", train.steps, count),
            ("converged", train.converged, lambda yes: "yes" if yes else "no"),
            ("time of training", train.seconds, duration),
            ("time of a step", train.seconds_per_step, duration),
            ("time of compilation", train.compile_seconds, duration),
            ("time in all", metrics.seconds_total, duration),
            ("final loss", train.final_loss, number),
            ("validation loss", train.validation_loss, number),
            ("step of the best weights, which are kept", train.best_step, count),
            ("numbers that are trained", train.parameters, count),
            ("values observed", train.observations, count),
            ("temporary memory of a step", train.temporary_mb, memory),
            ("peak memory", metrics.memory.peak_rss_mb, memory),
            ("precision", metrics.precision, str),
            ("seed", metrics.seed, str),
        ],
    )


def _others(sections: dict[str, Any], labels: Labels) -> Table:
    """Scalars that problems add to their metrics."""
    given = [
        (": ".join(humanised(part, labels) for part in key.split(".")), value, _show(value))
        for key, value in dotted(sections)
        if isinstance(value, str | int | float)
    ]
    return _values("Other results", given)


def _show(value: Any) -> Any:
    return number if isinstance(value, float) else str


def _values(caption: str, given: Sequence[tuple[str, Any, Any]]) -> Table:
    """One value per row; unknown values are left out."""
    rows = [Row(head, [show(value)]) for head, value, show in given if value is not None]
    return Table(caption, ["", "value"], rows)
