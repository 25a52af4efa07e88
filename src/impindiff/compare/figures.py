"""The figures of a comparison, from its results and its runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from impindiff import report, run_directory
from impindiff.compare.results import is_blown_up
from impindiff.compare.studies import STUDIES
from impindiff.report import Points

_TIMES = {
    "training_end": "end of training",
    "twice_training": "twice that",
    "horizon": "horizon",
    "twice_horizon": "twice the horizon",
}


def draw(results: dict[str, Any], out: Path) -> None:
    """All figures, into `out`/figures; none if nothing was run."""
    rows = [row for row in results["methods"] if row["runs"]]
    if not rows:
        return
    figures = out / "figures"
    figures.mkdir(exist_ok=True)
    times = {_TIMES[name]: t for name, t in results["times"].items() if t is not None}
    if results["study"] is None:
        errors = [found for row in rows if (found := _along_time(row, out)) is not None]
        if errors:
            report.plot_method_errors(errors, times, figures / "error_vs_time.png")
        return
    study = STUDIES[results["study"]]
    by_method: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        by_method.setdefault(row["method"], []).append(row)
    path = figures / f"{results['study']}.png"
    titles = {name: of[0]["title"].rpartition(",")[0] for name, of in by_method.items()}
    if study.against_cost:
        points = [_at_cost(titles[name], of) for name, of in by_method.items()]
        report.plot_study(points, "seconds of training", study.y_label, path)
        return
    points = [_at_x(titles[name], of, study.measure) for name, of in by_method.items()]
    report.plot_study(points, study.x_label, study.y_label, path)


def _along_time(row: dict[str, Any], out: Path) -> Points | None:
    """Held-out error against time of a row's runs that have one."""
    curves = []
    for run in row["runs"]:
        path = out / run["folder"] / "metrics.json"
        if path.is_file():
            stored = run_directory.read_json(path)["forecast"]["error_vs_time"]
            # a line ends where its forecast is on its way to infinity
            curves.append([[t, np.nan if is_blown_up(p) else p] for t, p in stored[1:]])
    if not curves:
        return None
    found = np.asarray(curves, float)
    return Points(row["title"], found[0, :, 0], found[:, :, 1])


def _at_cost(title: str, rows: Sequence[dict[str, Any]]) -> Points:
    """Error at the horizon against what training cost, means over seeds, cheapest first."""
    pairs = sorted(
        (row["mean"]["training_seconds"], row["mean"]["error_percent"]["horizon"])
        for row in rows
        if row["mean"]["training_seconds"] is not None
        and row["mean"]["error_percent"]["horizon"] is not None
    )
    found = np.asarray(pairs, float).reshape(-1, 2)
    return Points(title, found[:, 0], found[None, :, 1])


def _at_x(title: str, rows: Sequence[dict[str, Any]], measure: str | None) -> Points:
    """What is measured, or the error at the horizon, against x: a row for each seed."""
    ordered = sorted(rows, key=lambda row: row["x"])

    def of(run: dict[str, Any]) -> float:
        if measure is not None:
            return np.nan if run[measure] is None else run[measure]
        percent = run["error_percent"]["horizon"]
        return np.nan if is_blown_up(percent) else percent

    y = np.asarray([[of(run) for run in row["runs"]] for row in ordered], float).T
    return Points(title, np.asarray([row["x"] for row in ordered], float), y)
