"""Figures of the training of several methods, against time."""

from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from impindiff.report.style import SERIES_COLOURS, readable_log, save, styled

_DASHES = ("-", "--", ":", "-.")
_LEGEND_COLUMNS = 2


def plot_training_curves(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    path: Path,
    key: str = "loss",
    value_label: str = "training loss",
) -> None:
    """Write `training_curves_figure` as PNG.

    **Raises:** `InputError` if it cannot be written there.
    """
    save(training_curves_figure(histories, key, value_label), path)


def training_curves_figure(
    histories: Mapping[str, Sequence[Sequence[Mapping[str, Any]]]],
    key: str = "loss",
    value_label: str = "training loss",
) -> Figure:
    """One quantity of the training history against training seconds, a thin line per seed.

    All seeds of a method have its colour; from the seventh method on, lines are dashed.

    **Arguments:**

    - `histories`: by the label of the method, the histories of its seeds, each the records of a
      `history.jsonl`.
    - `key`: the quantity; records without it or without `seconds`, with null, or with a value that
      is not positive, are skipped.
    - `value_label`: of its axis, with a unit if it has one.
    """
    dashes = [dash for dash in _DASHES for _ in SERIES_COLOURS]
    styles = cycle(zip(cycle(SERIES_COLOURS), dashes, strict=False))
    with styled():
        # the legend below grows with the methods, the curves keep their size
        height = 4.0 + 0.25 * -(-len(histories) // _LEGEND_COLUMNS)
        figure = Figure(figsize=(7.0, height), layout="constrained")
        ax = figure.subplots()
        for (name, seeds), (colour, dash) in zip(histories.items(), styles, strict=False):
            curves = [curve for curve in (_curve(records, key) for records in seeds) if len(curve)]
            for i, curve in enumerate(curves):
                ax.plot(
                    *curve.T,
                    color=colour,
                    linestyle=dash,
                    linewidth=1.1,
                    alpha=0.9,
                    # a single point is no line
                    marker="o" if len(curve) == 1 else None,
                    markersize=3.5,
                    label=name if i == 0 else "_",
                )
        ax.set(xlabel="training time (s)", ylabel=value_label, yscale="log")
        readable_log(ax.yaxis)
        ax.grid(axis="y", color="0.92")
        if ax.lines:
            figure.legend(loc="outside lower center", ncols=_LEGEND_COLUMNS, frameon=False)
    return figure


def _curve(records: Sequence[Mapping[str, Any]], key: str) -> Float[np.ndarray, "n 2"]:
    """Seconds and values, positive and finite ones."""
    points = [
        (record["seconds"], record[key])
        for record in records
        if record.get("seconds") is not None and record.get(key) is not None
    ]
    values = np.array(points, dtype=float).reshape(-1, 2)
    return values[np.isfinite(values).all(axis=1) & (values[:, 1] > 0)]
