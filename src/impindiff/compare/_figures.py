"""The figures of a comparison, from its results and its runs."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from impindiff import report
from impindiff.compare._results import is_blown_up
from impindiff.compare._studies import STUDIES
from impindiff.experiment.opened import Run
from impindiff.report import Points
from impindiff.results import METRICS, ComparisonResults, MethodResults, MethodRun

_TIMES = {
    "training_end": "end of training",
    "twice_training": "twice that",
    "horizon": "horizon",
    "twice_horizon": "twice the horizon",
}


def draw(results: ComparisonResults, out: Path) -> None:
    """Draw all figures into `out`/figures; none, and no folder, if there is nothing to draw."""
    rows = [row for row in results.methods if row.runs]
    if not rows:
        return
    figures = out / "figures"
    times = {_TIMES[name]: t for name, t in results.times.known().items()}
    if results.study is None:
        errors = [found for row in rows if (found := _along_time(row, out)) is not None]
        if errors:
            figures.mkdir(exist_ok=True)
            figure = report.method_errors_figure(errors, times, results.error_label)
            report.save(figure, figures / "error_vs_time.png")
        return
    study = STUDIES[results.study]
    y_label = study.y_label or f"{results.error_label} at the horizon"
    figures.mkdir(exist_ok=True)
    by_method: dict[str, list[MethodResults]] = {}
    for row in rows:
        by_method.setdefault(row.method, []).append(row)
    path = figures / f"{results.study}.png"
    titles = {name: of[0].title.rpartition(",")[0] for name, of in by_method.items()}
    if study.against_cost:
        points = [_at_cost(titles[name], of) for name, of in by_method.items()]
        report.save(report.study_figure(points, "seconds of training", y_label), path)
        return
    points = [_at_x(titles[name], of, study.measure) for name, of in by_method.items()]
    report.save(report.study_figure(points, study.x_label, y_label), path)


def _along_time(row: MethodResults, out: Path) -> Points | None:
    """Error against time of a row's runs that have one."""
    curves = []
    for run in row.runs:
        folder = out / run.folder
        forecast = Run(folder).metrics.forecast if (folder / METRICS).is_file() else None
        if forecast is not None:
            # a line ends where its forecast diverges
            pairs = forecast.error_vs_time[1:]
            curves.append([[t, np.nan if is_blown_up(p) else p] for t, p in pairs])
    if not curves:
        return None
    found = np.asarray(curves, float)
    return Points(row.title, found[0, :, 0], found[:, :, 1])


def _at_cost(title: str, rows: Sequence[MethodResults]) -> Points:
    """Error at the horizon against training cost, means over seeds, cheapest first."""
    pairs = sorted(
        (row.mean.training_seconds, row.error("horizon"))
        for row in rows
        if row.mean.training_seconds is not None and row.error("horizon") is not None
    )
    found = np.asarray(pairs, float).reshape(-1, 2)
    return Points(title, found[:, 0], found[None, :, 1])


def _at_x(title: str, rows: Sequence[MethodResults], measure: str | None) -> Points:
    """The measured quantity, or the error at the horizon, against x: a row for each seed."""
    ordered = sorted(rows, key=lambda row: row.x or 0.0)

    def value(run: MethodRun) -> float | None:
        if measure is not None:
            return getattr(run, measure)
        percent = run.error_percent["horizon"]
        return None if is_blown_up(percent) else percent

    # None becomes NaN
    y = np.asarray([[value(run) for run in row.runs] for row in ordered], float).T
    return Points(title, np.asarray([row.x for row in ordered], float), y)
