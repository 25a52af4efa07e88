"""Figures of closures: a learned law against the true one and the prior."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator

from impindiff.errors import InputError
from impindiff.problem.findings import ClosureCurve
from impindiff.report.style import (
    MODEL_COLOUR,
    SERIES_COLOURS,
    TRUTH_COLOUR,
    band_entry,
    draw_band,
    shared_legend,
    styled,
)


def closure_figure(curves: Sequence[ClosureCurve]) -> Figure:
    """One panel per closure: learned with its band, true (black), prior, visited range shaded.

    Outside the shaded range there are no data, and the learned curve is an extrapolation.

    **Raises:** `InputError` for no curve.
    """
    if not curves:
        raise InputError("closures: there is no curve to draw; give at least one")
    with styled():
        figure = Figure(figsize=(max(4.8 * len(curves), 6.0), 4.2), layout="constrained")
        axes = figure.subplots(1, len(curves), squeeze=False)[0]
        for ax, curve in zip(axes, curves, strict=True):
            _draw(ax, curve)
        banded = any(curve.standard_error is not None for curve in curves)
        shared_legend(figure, axes, [band_entry()] if banded else [])
    return figure


def _draw(ax: Axes, curve: ClosureCurve) -> None:
    if curve.visited is not None:
        ax.axvspan(*curve.visited, color="0.92", zorder=0, label="visited in training")
    if curve.standard_error is not None:
        draw_band(ax, curve.x, curve.learned, curve.standard_error, MODEL_COLOUR)
    if curve.prior is not None:
        ax.plot(
            curve.x,
            curve.prior,
            color=SERIES_COLOURS[0],
            linestyle=":",
            linewidth=1.8,
            label="prior",
        )
    if curve.truth is not None:
        ax.plot(curve.x, curve.truth, color=TRUTH_COLOUR, linewidth=1.2, label="truth")
    ax.plot(
        curve.x, curve.learned, color=MODEL_COLOUR, linestyle="--", linewidth=2.0, label="learned"
    )
    ax.set(xlabel=curve.argument_label, ylabel=curve.name)
    # short numbers, so that those of a small argument do not meet
    ax.xaxis.set_major_locator(MaxNLocator(5))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if curve.relative_l2_percent is not None:
        over = " where visited" if curve.visited is not None else ""
        ax.set_title(f"relative L2 error {curve.relative_l2_percent:.2g} %{over}")
