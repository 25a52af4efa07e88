"""Figures of identifiability: correlations of the parameters, and singular values."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from impindiff.errors import InputError
from impindiff.inference import Identifiability
from impindiff.report.style import DIFFERENCE_MAP, SERIES_COLOURS, readable_log, styled

# larger matrices have no room for numbers in their cells
_WITH_VALUES = 10
_COMPONENTS = 4
# free space above the bars for annotations, as a fraction of their height on the logarithmic axis
_ROOM = 0.5


def identifiability_figure(found: Identifiability) -> Figure:
    """Correlations of the parameters' errors, and singular values of the scaled Jacobian.

    Correlations of a parameter without influence on the data are grey. Next to the singular values,
    which end with the weakest direction, are the components of that direction. The title is
    `Identifiability.weakest`.

    **Raises:** `InputError` if no parameter influences the data.
    """
    if not len(found.singular_values):
        raise InputError(f"identifiability: nothing to draw, {found.weakest()}")
    n = len(found.names)
    size = max((0.55 if n <= _WITH_VALUES else 0.25) * n + 1.6, 4.0)
    with styled():
        figure = Figure(figsize=(2 * size + 1.4, size + 0.9), layout="constrained")
        left, right = figure.subplots(1, 2)
        _correlations(figure, left, found)
        _singular_values(right, found)
        figure.suptitle(found.weakest())
    return figure


def _correlations(figure: Figure, ax: Axes, found: Identifiability) -> None:
    n = len(found.names)
    ax.set_facecolor("0.75")
    image = ax.imshow(
        np.ma.masked_invalid(found.correlation), cmap=DIFFERENCE_MAP, norm=Normalize(-1.0, 1.0)
    )
    ax.set_xticks(range(n), found.names, rotation=40, ha="right", rotation_mode="anchor")
    ax.set_yticks(range(n), found.names)
    if n <= _WITH_VALUES:
        for (i, j), value in np.ndenumerate(found.correlation):
            # adding 0 turns the -0 of round-off into 0
            text = f"{round(value, 2) + 0:.2f}" if np.isfinite(value) else "-"
            colour = "white" if abs(value) > 0.6 else "black"
            ax.text(j, i, text, ha="center", va="center", color=colour, fontsize=9)
    ax.set_title("correlation of the parameters' errors")
    figure.colorbar(image, ax=ax, shrink=0.85, ticks=[-1, -0.5, 0, 0.5, 1])


def _singular_values(ax: Axes, found: Identifiability) -> None:
    values = found.singular_values
    floor = 0.3 * float(values[values > 0].min())
    # a value of 0 cannot stand on a logarithmic axis: its bar is missing, with a note
    ax.bar(range(1, len(values) + 1), values, color=SERIES_COLOURS[0], log=True)
    ax.set_ylim(floor, values[0] * (values[0] / floor) ** _ROOM)
    readable_log(ax.yaxis)
    if len(values) <= _WITH_VALUES:
        for i, value in enumerate(values):
            at = max(value, floor)
            ax.annotate(
                f"{value:.2g}",
                (i + 1, at),
                (0, 3),
                textcoords="offset points",
                ha="center",
                fontsize=9,
            )
    ax.set(xlabel="direction, best determined first", ylabel="singular value")
    ax.set_xlim(0.4, len(values) + 0.6)
    ax.xaxis.set_major_locator(MaxNLocator(10, integer=True, min_n_ticks=1))
    ax.set_title("singular values of the scaled Jacobian")
    if len(values) > 1:
        shares = [(name, share) for name, share in found.composition().items() if share > 0.005]
        lines = [f"{name} {100 * share:.0f} %" for name, share in shares[:_COMPONENTS]]
        if len(shares) > _COMPONENTS:
            lines.append(f"others {100 * sum(share for _, share in shares[_COMPONENTS:]):.0f} %")
        ax.annotate(
            "weakest direction:\n" + "\n".join(lines),
            (0.98, 0.97),
            xycoords="axes fraction",
            ha="right",
            va="top",
            fontsize=9,
            bbox={"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.7"},
        )
