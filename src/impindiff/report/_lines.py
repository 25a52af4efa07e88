"""Figures of 1-D fields, and of identified parameters."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from impindiff.data import FORECAST_SUFFIX, SPREAD_SUFFIX, TRUTH_SUFFIX, cell_volumes
from impindiff.errors import InputError
from impindiff.observations import relative_l1_percent
from impindiff.observations.checks import same_places, shortest
from impindiff.report.fields import edges_of
from impindiff.report.style import (
    DIFFERENCE_MAP,
    FIELD_MAP,
    MODEL_COLOUR,
    TRUTH_COLOUR,
    band_entry,
    colour_bar,
    draw_band,
    heading,
    label,
    shared_legend,
    shared_scale,
    styled,
    symmetric_scale,
    truth_name,
    unit,
)

_COLUMNS = 4
# parameters that vary by more than this ratio get a logarithmic axis
_WIDE = 30.0
# fraction of a panel's height kept free below the curves
_ROOM_FOR_TICKS = 0.06


def profiles_figure(
    forecast: xr.Dataset,
    sample: int,
    variable: str = "phi",
    points: Float[np.ndarray, "point 2"] | None = None,
) -> Figure:
    """Truth (black) and forecast (dashed) along x, the error below, at up to four times.

    The times are spread evenly and end with the last. Without a truth only the forecast is drawn.
    An ensemble's forecast has a band of two standard deviations of its members.
    Values that are not finite are gaps.

    **Arguments:**

    - `forecast`: the layout of `forecast_dataset`, with one spatial dimension.
    - `sample`: index of the trajectory.
    - `variable`: prefix of `_forecast` and `_truth`.
    - `points`: measured points, a row (t, x) each; those at a panel's time are ticks along its
      lower edge.
    """
    last = forecast.sizes["time"] - 1
    # the initial state is known; it is shown only where there are few other times
    shown = np.unique(np.round(np.linspace(last / _COLUMNS, last, _COLUMNS)).astype(int))
    found, truth, x, times = _read(forecast.isel(time=shown), sample, variable)
    titles = [f"t = {t:g}{unit(times.attrs, before=' ')}" for t in times.to_numpy()]
    heights = [1.0]
    if truth is not None:
        percents = relative_l1_percent(
            found.to_numpy(), truth, space_axes=1, volumes=cell_volumes(forecast)
        )
        titles = [f"{t}\nrelative L1 {p:.2g} %" for t, p in zip(titles, percents, strict=True)]
        heights = [1.0, 0.42]
    centres = x.to_numpy()
    known = _known(forecast, variable)
    with styled():
        figure = Figure(figsize=(3.0 * len(shown) + 0.8, 3.1 * sum(heights)), layout="constrained")
        axes = figure.subplots(
            len(heights),
            len(shown),
            sharex=True,
            sharey="row",
            squeeze=False,
            height_ratios=heights,
        )
        for column, (ax, title) in enumerate(zip(axes[0], titles, strict=True)):
            ax.set_title(title)
            if truth is not None:
                error = found.to_numpy()[column] - truth[column]
                ax.plot(centres, truth[column], color=TRUTH_COLOUR, linewidth=1.0, label=known)
                axes[1, column].axhline(0.0, color="0.75", linewidth=0.8)
                axes[1, column].plot(centres, error, color=MODEL_COLOUR, linewidth=1.2)
            model = found.to_numpy()[column]
            if variable + SPREAD_SUFFIX in forecast:
                chosen = forecast[variable + SPREAD_SUFFIX].isel(sample=sample, time=shown[column])
                draw_band(ax, centres, model, chosen, MODEL_COLOUR)
            ax.plot(
                centres, model, color=MODEL_COLOUR, linestyle="--", linewidth=2.0, label="forecast"
            )
            if points is not None:
                _ticks(ax, points, float(times[column]), times.to_numpy())
            axes[-1, column].set_xlabel(label(x.attrs, "x"))
        axes[0, 0].set_ylabel(label(found.attrs, variable))
        if points is not None:
            low, high = axes[0, 0].get_ylim()
            axes[0, 0].set_ylim(low - _ROOM_FOR_TICKS * (high - low), high)
        if truth is not None:
            limit = symmetric_scale(found.to_numpy() - truth).vmax or 1.0
            off = "error" if known == "truth" else f"forecast - {known}"
            axes[1, 0].set(ylabel=off, ylim=(-1.1 * limit, 1.1 * limit))
            axes[1, 0].yaxis.set_major_locator(MaxNLocator(3, symmetric=True))
            axes[1, 0].yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
        banded = variable + SPREAD_SUFFIX in forecast
        shared_legend(figure, axes[0], [band_entry()] if banded else [])
        figure.suptitle(heading(forecast, sample, variable))
    return figure


def space_time_figure(
    forecast: xr.Dataset,
    sample: int,
    variable: str = "phi",
    points: Float[np.ndarray, "point 2"] | None = None,
) -> Figure:
    """Truth, forecast and error (rows) as maps of x against time.

    Truth and forecast share one colour scale; the error has its own, symmetric about zero. Without
    a truth only the forecast is drawn. Values that are not finite are grey. Times need not be
    evenly spaced.

    **Arguments:** as for `profiles_figure`; the `points` are dots on the first row.
    """
    found, truth, x, times = _read(forecast, sample, variable)
    rows = {"forecast": found.to_numpy()}
    quantity = label(found.attrs, variable)
    title, known = heading(forecast, sample, variable), _known(forecast, variable)
    if truth is not None:
        percent = float(
            relative_l1_percent(
                rows["forecast"], truth, space_axes=2, volumes=cell_volumes(forecast)
            )
        )
        title = f"{title}\nrelative L1 {percent:.2g} % over all x and times"
        rows = {known: truth, **rows, "error": rows["forecast"] - truth}
    compared = [name for name in rows if name != "error"]
    values = shared_scale(*(rows[name] for name in compared))
    edges = _time_edges(times.to_numpy()), edges_of(x.to_numpy())
    with styled():
        figure = Figure(figsize=(8.0, 2.1 * len(rows) + 1.0), layout="constrained")
        axes = figure.subplots(len(rows), 1, sharex=True, sharey=True, squeeze=False)[:, 0]
        for ax, name in zip(axes, rows, strict=True):
            ax.set_ylabel(label(x.attrs, "x"))
            ax.set_title(name, loc="left", fontweight="bold")
        for ax, name in zip(axes, compared, strict=False):
            _map(ax, edges, rows[name], FIELD_MAP, values)
        colour_bar(figure, axes[: len(compared)], FIELD_MAP, values, quantity)
        if "error" in rows:
            errors = symmetric_scale(rows["error"])
            _map(axes[-1], edges, rows["error"], DIFFERENCE_MAP, errors)
            colour_bar(figure, axes[-1:], DIFFERENCE_MAP, errors, f"forecast - {known}")
        if points is not None:
            # tiny, so that thousands leave the map legible; not clipped at an edge
            axes[0].scatter(
                *points.T, s=2.5, c="white", edgecolors="black", linewidths=0.3, clip_on=False
            )
            axes[0].set_title(f"{len(points)} measured points", loc="right", fontsize=10)
        axes[-1].set_xlabel(label(times.attrs, "time"))
        figure.suptitle(title)
    return figure


def identified_figure(
    records: Sequence[Mapping[str, Any]],
    names: Sequence[str],
    truths: Mapping[str, float],
    standard_errors: Mapping[str, float] | None = None,
) -> Figure:
    """The path of each identified parameter over the training steps, one panel each, in rows.

    The last value is stated in the title and marked, with a bar of one standard error to each side
    if known. A path of positive values with a ratio above 30 has a logarithmic axis.

    **Arguments:**

    - `records`: the lines of `history.jsonl`; those with `identified`, values by name, are shown.
    - `names`: the parameters, in order.
    - `truths`: true values by name, dashed lines; a parameter without one has none.
    - `standard_errors`: of the last values, by name.

    **Raises:** `InputError` for a parameter that no record has.
    """
    with styled():
        columns = min(len(names), _COLUMNS)
        rows = -(-len(names) // columns)
        figure = Figure(figsize=(4.4 * columns + 0.4, 3.6 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False).ravel()
        for unused in axes[len(names) :]:
            unused.remove()
        axes = axes[: len(names)]
        for ax, name in zip(axes, names, strict=True):
            steps, path = _path(records, name)
            ax.plot(steps, path, color=MODEL_COLOUR, linewidth=1.6, label="identified")
            drawn = list(path[np.isfinite(path)])
            text = f"{name} = {path[-1]:.4g}"
            bar = (standard_errors or {}).get(name)
            if bar is not None and np.isfinite(bar):
                text = f"{name} = {path[-1]:.4g} ± {bar:.2g}"
            else:
                bar = None
            ax.errorbar(
                steps[-1:],
                path[-1:],
                yerr=None if bar is None else [bar],
                color=MODEL_COLOUR,
                fmt="o",
                markersize=5,
                capsize=5,
                clip_on=False,
                zorder=3,
                label="last" if bar is None else "last, ± standard error",
            )
            if name in truths:
                true = truths[name]
                drawn.append(true)
                ax.axhline(true, color=TRUTH_COLOUR, linestyle="--", linewidth=1.2, label="truth")
                text = f"{text}\ntruth {true:.4g}{_off_by(path[-1], true)}"
            ax.set(xlabel="training step", ylabel=name, title=text)
            ax.xaxis.set_major_locator(MaxNLocator(6, integer=True))
            if drawn and min(drawn) > 0 and max(drawn) / min(drawn) > _WIDE:
                ax.set_yscale("log")
                ax.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
                ax.yaxis.set_minor_formatter(NullFormatter())
            # full values at the ticks: a common offset or factor is easily missed
            ax.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.10g}"))
            ax.grid(axis="y", color="0.92")
        shared_legend(figure, axes)
    return figure


def _known(forecast: xr.Dataset, variable: str) -> str:
    name = variable + TRUTH_SUFFIX
    return truth_name(forecast[name].attrs if name in forecast else {})


def _read(
    forecast: xr.Dataset, sample: int, variable: str
) -> tuple[xr.DataArray, Float[np.ndarray, "time x"] | None, xr.DataArray, xr.DataArray]:
    """Forecast (time, x), truth or `None`, spatial coordinate, times."""
    chosen = forecast.isel(sample=sample)
    found = chosen[variable + FORECAST_SUFFIX]
    name = variable + TRUTH_SUFFIX
    truth = chosen[name].to_numpy() if name in chosen else None
    return found, truth, chosen[found.dims[1]], chosen["time"]


def _ticks(
    ax: Axes, points: Float[np.ndarray, "point 2"], time: float, times: Float[np.ndarray, " time"]
) -> None:
    """Mark the points measured at this time, up to round-off."""
    there = same_places(points[:, 0], time, shortest(times))
    ax.plot(
        points[there, 1],
        np.full(int(there.sum()), 0.03),
        transform=ax.get_xaxis_transform(),
        color="0.35",
        marker="|",
        markersize=8,
        linestyle="none",
        label="measured here",
    )


def _time_edges(times: Float[np.ndarray, " time"]) -> Float[np.ndarray, " edge"]:
    """Midpoints between times; the first and last times are edges themselves."""
    if len(times) == 1:
        return times[0] + np.array([-0.5, 0.5])
    return np.concatenate([times[:1], 0.5 * (times[1:] + times[:-1]), times[-1:]])


def _map(
    ax: Axes,
    edges: tuple[Float[np.ndarray, " edge"], Float[np.ndarray, " face"]],
    field: Float[np.ndarray, "time x"],
    colours: str,
    scale: Normalize,
) -> None:
    # grey background: a hole must not pass for a small difference
    ax.set_facecolor("0.6")
    ax.pcolormesh(*edges, np.ma.masked_invalid(field.T), cmap=colours, norm=scale, rasterized=True)


def _path(
    records: Sequence[Mapping[str, Any]], name: str
) -> tuple[Float[np.ndarray, " n"], Float[np.ndarray, " n"]]:
    """Steps and values of the records that have the parameter."""
    pairs = [
        (record["step"], record["identified"][name])
        for record in records
        if (record.get("identified") or {}).get(name) is not None
    ]
    if not pairs:
        raise InputError(
            f"history: none of {len(records)} records has a value of '{name}' under 'identified'; "
            f"give the name of a parameter that training recorded"
        )
    steps, values = np.array(pairs, dtype=float).T
    return steps, values


def _off_by(value: float, true: float) -> str:
    return f", off by {100 * (value - true) / abs(true):+.2g} %" if true else ""
