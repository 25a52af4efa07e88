"""Figures of methods side by side: error against time, cost, and the axis of a study."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from impindiff.report.style import SERIES_COLOURS, readable_log, styled

_MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*", "<", ">", "h", "p")
_LINES = ("-", "--")


class Points(NamedTuple):
    """A method's values along an axis: one row of `y` per seed; NaN where missing."""

    title: str
    x: Float[np.ndarray, " n"]
    y: Float[np.ndarray, "seeds n"]


def method_errors_figure(
    methods: Sequence[Points], marks: Mapping[str, float], y_label: str, time_label: str = "time"
) -> Figure:
    """Error of each method against time: mean over seeds, and range.

    **Arguments:**

    - `methods`: errors in percent against time; a line ends where the first of its forecasts, one
      per seed, diverges.
    - `marks`: times to mark, by label.
    - `y_label`: the error and the set that it is of, with its unit.
    """
    with styled():
        figure = Figure(figsize=(8.6, 5.2), layout="constrained")
        ax = figure.subplots()
        _draw(ax, methods)
        for i, (name, time) in enumerate(sorted(marks.items(), key=lambda mark: mark[1])):
            ax.axvline(time, color="0.6", linestyle=":", linewidth=1, zorder=0)
            ax.text(
                time,
                # alternating heights, for times that are close
                1.01 + 0.04 * (i % 2),
                name,
                transform=ax.get_xaxis_transform(),
                ha="center",
                fontsize=8,
                color="0.4",
            )
        ax.set(xlabel=time_label, ylabel=y_label, yscale="log")
        _finish(figure, ax)
    return figure


def study_figure(methods: Sequence[Points], x_label: str, y_label: str) -> Figure:
    """One quantity of each method against another, on logarithmic axes.

    **Arguments:**

    - `methods`: x increasing; y one row per seed, drawn as mean and range.
    - `x_label`, `y_label`: with units.
    """
    with styled():
        figure = Figure(figsize=(8.6, 5.2), layout="constrained")
        ax = figure.subplots()
        ax.set_xscale("log")
        _draw(ax, methods)
        ax.set(xlabel=x_label, ylabel=y_label, yscale="log")
        readable_log(ax.xaxis)
        _finish(figure, ax)
    return figure


def _draw(ax: Axes, methods: Sequence[Points]) -> None:
    for i, of in enumerate(methods):
        colour = SERIES_COLOURS[i % len(SERIES_COLOURS)]
        line = _LINES[i // len(SERIES_COLOURS) % len(_LINES)]
        usable = np.where(np.isfinite(of.y) & (of.y > 0), of.y, np.nan)
        # a mean over fewer seeds than before would fall where a run is lost
        there = ~np.isnan(usable[~np.isnan(usable).all(axis=1)]).any(axis=0)
        there &= ~np.isnan(usable).all(axis=0)
        if not there.any():
            ax.plot([], [], color=colour, linestyle=line, marker="x", label=f"{of.title} (none)")
            continue
        x, y = of.x[there], usable[:, there]
        style: dict[str, Any] = {"color": colour, "linestyle": line, "markersize": 4.5}
        mean = np.nanmean(y, axis=0)
        ax.plot(x, mean, marker=_MARKERS[i % len(_MARKERS)], label=of.title, **style)
        if len(y) > 1:
            ax.fill_between(x, np.nanmin(y, axis=0), np.nanmax(y, axis=0), color=colour, alpha=0.15)


def _finish(figure: Figure, ax: Axes) -> None:
    readable_log(ax.yaxis)
    ax.grid(color="0.92")
    figure.legend(loc="outside right upper", frameon=False, fontsize=8.5)
