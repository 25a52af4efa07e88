"""Figures of several fields at several times: how a state evolves, in 1, 2 and 3 dimensions."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from impindiff.data import FORECAST_SUFFIX, SPREAD_SUFFIX, TRUTH_SUFFIX
from impindiff.errors import InputError
from impindiff.observations.checks import same_places, shortest
from impindiff.report.fields import draw_field, extent_of, panels
from impindiff.report.slices import middle_plane, space_of
from impindiff.report.style import (
    DEVIATION_MAP,
    DIFFERENCE_MAP,
    FIELD_MAP,
    TRUTH_COLOUR,
    band_entry,
    colour_bar,
    draw_band,
    label,
    scale_from_zero,
    shared_legend,
    shared_scale,
    styled,
    symmetric_scale,
    unit,
)

_COLUMNS = 5
_SAMPLE_COLUMNS = 3
_PANEL = 2.4  # inches
# the yellow end of the colour map is hard to see as a line on white
_LAST_COLOUR = 0.85


def snapshots_figure(
    fields: xr.Dataset,
    truth: xr.Dataset | None = None,
    levels: Mapping[str, float] | None = None,
    points: Mapping[str, Float[np.ndarray, "point 3"]] | None = None,
    deviations: xr.Dataset | None = None,
) -> Figure:
    """Fields at up to five times, spread evenly from the first to the last.

    In one dimension a panel per field with a curve per time; otherwise maps, a row per field and a
    column per time, of three dimensions the middle slice along the last. With a truth, rows of
    model, truth (on one colour scale) and their difference, symmetric about zero. Standard
    deviations are bands of two around the curves, and rows of maps.

    **Arguments:**

    - `fields`: one variable per field, all on (`time`, space), with one to three spatial dimensions
      and cell centres as coordinates; `long_name` and `units` or `scaling` label the axes.
    - `truth`: the same variables of the true fields, at the same times and places.
    - `levels`: by variable, a value to draw as a contour, such as the porosity of a front.
    - `points`: of one dimension, by variable, measured values, a row (t, x, value) each; those at
      the time of a curve are dots in its colour.
    - `deviations`: standard deviations of some of the variables, at the same times and places.

    **Raises:** `InputError` for variables on other dimensions, a truth of another shape, and a
    level of an unknown variable.
    """
    _check(fields, truth, levels or {})
    last = fields.sizes["time"] - 1
    shown: dict[Any, Any] = {
        "time": np.unique(np.round(np.linspace(0, last, _COLUMNS)).astype(int))
    }
    space = space_of(next(iter(fields.values())))
    where = ""
    if len(space) == 3:
        plane = middle_plane(space, list(space)[2])
        shown[plane.across], where = plane.cell, plane.where
    chosen = fields.isel(shown)
    true = None if truth is None else truth.isel(shown)
    sure = xr.Dataset() if deviations is None else deviations.isel(shown, missing_dims="ignore")
    with styled():
        if len(space) == 1:
            figure = _curves(chosen, true, levels or {}, points or {}, sure)
        else:
            figure = _maps(chosen, true, levels or {}, sure)
        drawn = [f"line: {name} = {level:.3g}" for name, level in (levels or {}).items()]
        title = ", ".join([where] * bool(where) + drawn)
        if title:
            figure.suptitle(title)
    return figure


def samples_figure(
    forecast: xr.Dataset, variable: str, titles: Sequence[str] | None = None
) -> Figure:
    """Measured (dots) and forecast (lines) along x, a panel per sample, coloured by time.

    Up to five times, spread evenly from the first to the last.

    **Arguments:**

    - `forecast`: layout of `forecast_dataset` with one spatial dimension and the measured fields as
      `_truth`, NaN where nothing was measured.
    - `variable`: prefix of `_forecast`, `_truth` and, for bands of two standard deviations,
      `_spread`.
    - `titles`: of the panels; by default the numbers of the samples.
    """
    last, samples = forecast.sizes["time"] - 1, forecast.sizes["sample"]
    shown = np.unique(np.round(np.linspace(0, last, _COLUMNS)).astype(int))
    chosen = forecast.isel(time=shown)
    found, measured = chosen[variable + FORECAST_SUFFIX], chosen[variable + TRUTH_SUFFIX]
    sure = chosen.get(variable + SPREAD_SUFFIX)
    x, times = chosen[found.dims[2]], chosen["time"]
    colours = colormaps[FIELD_MAP](np.linspace(0.0, _LAST_COLOUR, len(times)))
    columns = min(samples, _SAMPLE_COLUMNS)
    rows = -(-samples // columns)
    with styled():
        figure = Figure(figsize=(4.2 * columns, 2.9 * rows + 0.4), layout="constrained")
        axes = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
        for ax in axes.ravel()[samples:]:
            ax.set_axis_off()
        for sample, ax in enumerate(axes.ravel()[:samples]):
            ax.set_title(f"sample {sample}" if titles is None else titles[sample])
            for row, (time, colour) in enumerate(zip(times.to_numpy(), colours, strict=True)):
                text = f"t = {time:.4g}{unit(times.attrs, before=' ')}"
                ax.plot(x, found[sample, row], color=colour, linewidth=1.8, label=text)
                ax.plot(x, measured[sample, row], "o", color=colour, markersize=3.2, label="_")
                if sure is not None:
                    draw_band(ax, x, found[sample, row], sure[sample, row], colour)
            ax.plot([], [], "o", color="0.35", markersize=3.2, label="measured")
        for ax in axes[:, 0]:
            ax.set_ylabel(label(found.attrs, variable))
        for ax in axes[-1]:
            ax.set_xlabel(label(x.attrs, str(x.name)))
        shared_legend(figure, axes[0], [] if sure is None else [band_entry()])
    return figure


def _curves(
    fields: xr.Dataset,
    truth: xr.Dataset | None,
    levels: Mapping[str, float],
    points: Mapping[str, Float[np.ndarray, "point 3"]],
    deviations: xr.Dataset,
) -> Figure:
    """1-D fields: a panel per field, with coloured times; differences below."""
    rows = 1 if truth is None else 2
    figure = Figure(
        figsize=(max(4.2 * len(fields), 6.0), 3.4 * (1.0 if truth is None else 1.5) + 0.4),
        layout="constrained",
    )
    axes = figure.subplots(
        rows, len(fields), sharex=True, squeeze=False, height_ratios=[1.0, 0.5][:rows]
    )
    times = fields["time"]
    colours = colormaps[FIELD_MAP](np.linspace(0.0, _LAST_COLOUR, len(times)))
    for column, (name, field) in enumerate(fields.items()):
        upper, x = axes[0, column], fields[field.dims[1]]
        for row, (time, colour) in enumerate(zip(times.to_numpy(), colours, strict=True)):
            text = f"t = {time:.4g}{unit(times.attrs, before=' ')}"
            upper.plot(x, field[row], color=colour, linewidth=2.0, label=text)
            if name in deviations:
                draw_band(upper, x, field[row], deviations[name][row], colour)
            if name in points:
                measured = points[str(name)]
                there = same_places(measured[:, 0], time, shortest(times.to_numpy()))
                upper.plot(
                    measured[there, 1],
                    measured[there, 2],
                    color=colour,
                    marker="o",
                    markersize=4.5,
                    markeredgecolor="black",
                    markeredgewidth=0.5,
                    linestyle="none",
                    label="_",
                )
            if truth is not None:
                upper.plot(
                    x,
                    truth[name][row],
                    color=TRUTH_COLOUR,
                    linestyle=(0, (3, 2)),
                    linewidth=1.0,
                    label="truth" if row == len(times) - 1 else "_",
                )
                axes[1, column].plot(x, field[row] - truth[name][row], color=colour)
        if any(line.get_marker() == "o" and len(line.get_xydata()) for line in upper.lines):
            upper.plot(
                [], [], color="0.35", marker="o", linestyle="none", label="measured at that time"
            )
        if name in levels:
            upper.axhline(levels[str(name)], color="0.5", linestyle=":", linewidth=1.2)
        upper.set_ylabel(label(field.attrs, str(name)))
        axes[-1, column].set_xlabel(label(x.attrs, str(x.name)))
        if truth is not None:
            axes[1, column].axhline(0.0, color="0.75", linewidth=0.8, zorder=0)
            axes[1, column].set_ylabel("model - truth")
    shared_legend(figure, axes[0], [band_entry()] if len(deviations) else [])
    return figure


def _maps(
    fields: xr.Dataset,
    truth: xr.Dataset | None,
    levels: Mapping[str, float],
    deviations: xr.Dataset,
) -> Figure:
    """2-D fields: rows of maps, with one colour bar for a field and its truth."""
    x, y = (fields[name] for name in next(iter(fields.values())).dims[1:])
    times = fields["time"]
    extent = extent_of(x.to_numpy(), y.to_numpy())
    each = 1 if truth is None else 3
    sizes = [each + (name in deviations) for name in fields]
    figure, axes = panels(sum(sizes), len(times), extent, _PANEL)
    for ax in axes[:, 0]:
        ax.set_ylabel(label(y.attrs, str(y.name)))
    for ax in axes[-1]:
        ax.set_xlabel(label(x.attrs, str(x.name)))
    for i, (name, field) in enumerate(fields.items()):
        quantity = label(field.attrs, str(name))
        rows = {quantity: field.to_numpy()}
        if truth is not None:
            rows = {f"{quantity}, model": field.to_numpy()}
            rows[f"{quantity}, truth"] = truth[name].to_numpy()
        own = axes[sum(sizes[:i]) : sum(sizes[: i + 1])]
        scale = shared_scale(*rows.values())
        for line, (text, maps) in zip(own, rows.items(), strict=False):
            # above the row: along a colour bar long names would meet those of the next row
            line[0].set_title(text, loc="left")
            for ax, values in zip(line, maps, strict=True):
                draw_field(ax, values, extent, FIELD_MAP, scale)
                if name in levels:
                    _level(ax, x.to_numpy(), y.to_numpy(), values, levels[str(name)])
        colour_bar(figure, own[: len(rows)], FIELD_MAP, scale, "")
        if truth is not None:
            difference = np.subtract(*rows.values())
            scale = symmetric_scale(difference)
            for ax, values in zip(own[2], difference, strict=True):
                draw_field(ax, values, extent, DIFFERENCE_MAP, scale)
            own[2, 0].set_title(f"{quantity}, model - truth", loc="left")
            colour_bar(figure, own[2:3], DIFFERENCE_MAP, scale, "")
        if name in deviations:
            maps = deviations[name].to_numpy()
            scale = scale_from_zero(maps)
            for ax, values in zip(own[each], maps, strict=True):
                draw_field(ax, values, extent, DEVIATION_MAP, scale)
            own[each, 0].set_title(f"{quantity}, standard deviation", loc="left")
            colour_bar(figure, own[each:], DEVIATION_MAP, scale, "")
    for ax, time in zip(axes[0], times.to_numpy(), strict=True):
        above = ax.get_title(loc="left")
        text = f"t = {time:.4g}{unit(times.attrs, before=' ')}"
        ax.set_title(f"{above}\n{text}" if above else text, loc="left")
    return figure


def _level(
    ax: Axes,
    x: Float[np.ndarray, " x"],
    y: Float[np.ndarray, " y"],
    field: Float[np.ndarray, "x y"],
    level: float,
) -> None:
    """White contour with a black rim, visible on every colour."""
    finite = field[np.isfinite(field)]
    if min(field.shape) > 1 and finite.size and finite.min() < level < finite.max():
        lines = ax.contour(x, y, np.ma.masked_invalid(field.T), [level], colors="white")
        lines.set(linewidth=1.6, path_effects=[withStroke(linewidth=3.0, foreground="black")])


def _check(fields: xr.Dataset, truth: xr.Dataset | None, levels: Mapping[str, float]) -> None:
    if not len(fields):
        raise InputError("snapshots: no variable to draw; give fields as variables of the dataset")
    dimensions = next(iter(fields.values())).dims
    for name, field in fields.items():
        if field.dims != dimensions or field.dims[0] != "time" or not 2 <= field.ndim <= 4:
            raise InputError(
                f"snapshots: variable '{name}' is on {field.dims}; expected ('time', and one to "
                f"three dimensions of space), the same for every variable"
            )
        if truth is not None and (name not in truth or truth[name].shape != field.shape):
            of = truth[name].shape if name in truth else "missing"
            raise InputError(
                f"snapshots: the truth of '{name}' is {of}; expected shape {field.shape}, at the "
                f"model's times and places"
            )
    for name in levels:
        if name not in fields:
            raise InputError(
                f"snapshots: no variable '{name}' for a level; there are {list(fields)}"
            )
