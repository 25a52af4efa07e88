"""Figures of instrument readings over time: predicted, measured, and true."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from impindiff.errors import InputError
from impindiff.problem.findings import Series
from impindiff.report.style import SERIES_COLOURS, TRUTH_COLOUR, band_entry, draw_band, styled

_MARKERS = ("o", "s", "^", "D", "v", "P")
_SHADE = "0.93"
_COLUMNS = 3
# with more readings their marks would hide each other, and the curve
_MOST_MARKS = 60


def series_figure(
    panels: Mapping[str, Sequence[Series]],
    time_label: str = "time",
    trained_until: float | None = None,
) -> Figure:
    """Predicted (lines), measured (points with error bars) and true (dashed) against time.

    **Arguments:**

    - `panels`: by the label of the value axis, with its unit, the series of a panel.
    - `time_label`: with its unit, if it has one.
    - `trained_until`: the last training time; panels are shaded up to it, and have a line there.

    **Raises:** `InputError` for no panel, or one without series.
    """
    if not panels or not all(panels.values()):
        raise InputError("series: there is a panel without series, or none; give at least one each")
    with styled():
        columns = min(len(panels), _COLUMNS)
        rows = -(-len(panels) // columns)
        figure = Figure(figsize=(max(5.4 * columns, 6.4), 4.2 * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for unused in axes[len(panels) :]:
            unused.remove()
        for ax, (quantity, group) in zip(axes, panels.items(), strict=False):
            if trained_until is not None:
                start = min(float(series.times[0]) for series in group)
                ax.axvspan(start, trained_until, color=_SHADE, zorder=0)
            for i, series in enumerate(group):
                _draw(ax, series, i)
            if trained_until is not None:
                ax.axvline(trained_until, color="0.5", linestyle=":", linewidth=1.2, zorder=1)
            ax.set(xlabel=time_label, ylabel=quantity)
            if len(group) > 1:
                # next to the panel, since several curves leave no room inside
                ax.legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        every = [series for group in panels.values() for series in group]
        handles = _kinds(every, trained_until is not None)
        figure.legend(
            handles=handles, loc="outside lower center", ncols=len(handles), frameon=False
        )
    return figure


def _draw(ax: Axes, series: Series, index: int) -> None:
    colour = SERIES_COLOURS[index % len(SERIES_COLOURS)]
    marker = _MARKERS[index % len(_MARKERS)]
    # beyond the palette the colours come again
    style = ("-", "-.")[index // len(SERIES_COLOURS) % 2]
    ax.plot(series.times, series.predicted, color=colour, linestyle=style, linewidth=1.8)
    if series.predicted_deviation is not None:
        draw_band(ax, series.times, series.predicted, series.predicted_deviation, colour)
    if series.truth is not None:
        ax.plot(series.times, series.truth, color=TRUTH_COLOUR, linestyle="--", linewidth=1.0)
    if series.measured is not None and series.measured_times is not None:
        many = len(series.measured) > _MOST_MARKS
        ax.errorbar(
            series.measured_times,
            series.measured,
            yerr=series.standard_deviation,
            color=colour,
            fmt=marker,
            markersize=2 if many else 5,
            markeredgecolor="none" if many else "black",
            markeredgewidth=0.5,
            alpha=0.5 if many else None,
            elinewidth=0.5 if many else None,
            capsize=0 if many else 3,
            zorder=1.5 if many else 3,
        )
    # one legend entry for colour and marker, whether or not there are points
    shown = "" if series.measured is None else marker
    ax.plot([], [], color=colour, linestyle=style, marker=shown, markersize=5, label=series.label)


def _kinds(every: Sequence[Series], trained: bool) -> list[Line2D | Patch]:
    """Legend of lines, points and shading, independent of colour."""
    kinds: list[Line2D | Patch] = [Line2D([], [], color="0.35", linewidth=1.8, label="predicted")]
    if any(series.predicted_deviation is not None for series in every):
        kinds.append(band_entry())
    if any(series.truth is not None for series in every):
        kinds.append(Line2D([], [], color=TRUTH_COLOUR, linestyle="--", linewidth=1, label="truth"))
    if any(series.measured is not None for series in every):
        bars = any(series.standard_deviation is not None for series in every)
        text = "measured ± standard deviation" if bars else "measured"
        kinds.append(Line2D([], [], color="0.35", marker="o", linestyle="none", label=text))
    if trained:
        kinds.append(Patch(color=_SHADE, label="seen by training"))
    return kinds
