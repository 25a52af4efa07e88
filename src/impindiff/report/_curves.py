"""Figures of scalars against time or training steps."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from impindiff.report.style import readable_log, styled

_LOSS, _VALIDATION, _TEST = "#1f4e79", "#2e8b57", "#c55a11"


def error_vs_time_figure(
    series: Mapping[str, tuple[Float[np.ndarray, " t"], Float[np.ndarray, " t"]]],
    observation_times: Sequence[float],
    time_label: str = "time",
    spreads: Mapping[str, Float[np.ndarray, " t"]] | None = None,
) -> Figure:
    """Relative L1 errors in percent against time, with the training window shaded.

    **Arguments:**

    - `series`: times and percentages by label; an error of 0, as of the initial state, is left out
      of the logarithmic axis.
    - `observation_times`: marked on the axis; the window reaches to the last.
    - `time_label`: with its unit, if it has one.
    - `spreads`: of an ensemble, by the label of its series, the standard deviation over its members
      in the same percentages, dotted; far below the error, the members share a bias.
    """
    with styled():
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        ax = figure.subplots()
        for name, (times, percents) in series.items():
            shown = np.isfinite(percents) & (percents > 0)
            (line,) = ax.plot(times[shown], percents[shown], marker="o", markersize=3.5, label=name)
            spread = (spreads or {}).get(name)
            if spread is not None:
                there = np.isfinite(spread) & (spread > 0)
                ax.plot(
                    times[there],
                    spread[there],
                    color=line.get_color(),
                    linestyle=":",
                    label=f"spread, {name}",
                )
        if observation_times:
            last = max(observation_times)
            start = min((float(times[0]) for times, _ in series.values()), default=0.0)
            ax.axvspan(start, last, color="0.9", zorder=0, label="seen by training")
            for i, time in enumerate(observation_times):
                name = "observed" if i == 0 else "_"
                ax.axvline(time, color="0.55", linestyle="--", linewidth=1, zorder=1, label=name)
        ax.set(xlabel=time_label, ylabel="relative L1 error (%)", yscale="log")
        readable_log(ax.yaxis)
        ax.grid(axis="y", color="0.92")
        ax.legend(frameon=False)
    return figure


def history_figure(
    records: Sequence[Mapping[str, Any]], loss: str = "loss", test: str = "test_percent"
) -> Figure:
    """Training loss and, where logged, validation loss and test error, by step.

    **Arguments:**

    - `records`: the lines of `history.jsonl`; each has `step`. The smallest `validation_loss` is
      marked.
    - `loss`, `test`: the keys to show; records without a key, or with null, are skipped.
    """
    with styled():
        figure = Figure(figsize=(7.0, 4.2), layout="constrained")
        left = figure.subplots()
        left.plot(*_column(records, loss), color=_LOSS, label="training")
        steps, losses = _column(records, "validation_loss")
        if len(steps):
            left.plot(steps, losses, color=_VALIDATION, linestyle="--", label="validation")
            least = np.argmin(losses)
            left.plot(steps[least], losses[least], "o", color=_VALIDATION, label="smallest")
            left.legend(frameon=False)
        left.set(xlabel="training step", yscale="log")
        left.set_ylabel("loss" if len(steps) else "training loss", color=_LOSS)
        left.tick_params(axis="y", colors=_LOSS, which="both")
        steps, percents = _column(records, test)
        if len(steps):
            right = left.twinx()
            right.plot(steps, percents, color=_TEST, marker="o", markersize=3.5)
            right.set_yscale("log")
            right.set_ylabel("relative L1 error of the test set (%)", color=_TEST)
            right.tick_params(axis="y", colors=_TEST, which="both")
            right.spines["right"].set_visible(True)
            readable_log(right.yaxis)
    return figure


def _column(
    records: Sequence[Mapping[str, Any]], key: str
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Steps and values of the records that have the key, positive ones only."""
    points = [(r["step"], r[key]) for r in records if r.get(key) is not None and r[key] > 0]
    steps, values = np.array(points, dtype=float).reshape(-1, 2).T
    return steps, values
