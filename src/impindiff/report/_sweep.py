"""Figures of a scalar along a parameter sweep."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.figure import Figure

from impindiff.errors import InputError
from impindiff.report.style import (
    MODEL_COLOUR,
    TRUTH_COLOUR,
    readable_log,
    shared_legend,
    styled,
)


def sweep_figure(
    x: Float[np.ndarray, "..."],
    predicted: Float[np.ndarray, "..."],
    truth: Float[np.ndarray, "..."] | None,
    x_label: str,
    y_label: str,
    log_x: bool = True,
    trained_x: Sequence[float] = (),
) -> Figure:
    """Predicted and true values against the parameter, with the training specimens marked.

    The title states the largest error and its parameter.

    **Arguments:**

    - `x`: the parameter, in any order; `predicted`, and `truth` if known: values there.
    - `x_label`, `y_label`: with units.
    - `log_x`: a logarithmic axis for the parameter.
    - `trained_x`: the parameters of the training specimens, vertical lines.

    **Raises:** `InputError` for values without a parameter, and for a parameter that is not
    positive on a logarithmic axis.
    """
    for name, values in {"predicted": predicted, "truth": truth}.items():
        if values is not None and values.shape != x.shape:
            raise InputError(
                f"sweep: {name} has shape {values.shape}, the parameter {x.shape}; give one value "
                f"for each"
            )
    least = min([*x, *trained_x], default=1.0)
    if log_x and least <= 0:
        raise InputError(
            f"sweep: {x_label} is {least:g} at one point, and a logarithmic axis has positive "
            f"values only; leave the point out, or draw with log_x=False"
        )
    order = np.argsort(x)
    with styled():
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        ax = figure.subplots()
        for i, trained in enumerate(trained_x):
            text = "specimens seen by training" if i == 0 else "_"
            ax.axvline(trained, color="0.6", linestyle="--", linewidth=1.2, zorder=0, label=text)
        if truth is not None:
            ax.plot(
                x[order],
                truth[order],
                color=TRUTH_COLOUR,
                marker="o",
                markersize=8,
                fillstyle="none",
                linewidth=1.0,
                label="truth",
            )
            errors = np.abs(predicted - truth)
            if np.isfinite(errors).any():
                worst = int(np.nanargmax(errors))
                ax.set_title(f"largest error {errors[worst]:.2g}, at {x_label} = {x[worst]:.3g}")
        ax.plot(
            x[order],
            predicted[order],
            color=MODEL_COLOUR,
            marker="o",
            markersize=4.5,
            linestyle="--",
            linewidth=1.6,
            label="predicted",
        )
        ax.set(xlabel=x_label, ylabel=y_label)
        if log_x:
            ax.set_xscale("log")
            readable_log(ax.xaxis)
        ax.grid(axis="y", color="0.92")
        shared_legend(figure, [ax])
    return figure
