"""Predicted against measured values."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from impindiff.errors import InputError
from impindiff.report.style import SERIES_COLOURS, styled

Pair = tuple[Float[np.ndarray, " value"], Float[np.ndarray, " value"]]


def agreement_figure(panels: Mapping[str, Mapping[str, Pair]]) -> Figure:
    """A panel per quantity: a point per value, predicted against measured; the line is agreement.

    **Arguments:**

    - `panels`: by the quantity's label, by set, such as "train": (measured, predicted), one value
      per point.

    **Raises:** `InputError` for no panel.
    """
    if not panels:
        raise InputError("agreement: there is nothing to draw; give at least one quantity")
    with styled():
        figure = Figure(figsize=(4.2 * len(panels) + 0.4, 4.4), layout="constrained")
        axes = figure.subplots(1, len(panels), squeeze=False)[0]
        for ax, (name, sets) in zip(axes, panels.items(), strict=True):
            every = np.concatenate([values for pair in sets.values() for values in pair])
            ends = float(np.nanmin(every)), float(np.nanmax(every))
            ax.plot(ends, ends, color="0.6", linewidth=1.0, zorder=1)
            for colour, (text, (measured, predicted)) in zip(
                SERIES_COLOURS, sets.items(), strict=False
            ):
                ax.scatter(
                    measured,
                    predicted,
                    s=9,
                    color=colour,
                    alpha=0.6,
                    linewidths=0,
                    label=f"{text.replace('_', ' ')} ({len(measured)})",
                )
            ax.set_xlabel(f"{name}, measured")
            ax.set_ylabel(f"{name}, predicted")
            ax.legend(frameon=False, loc="upper left")
    return figure
