"""Maps of fields: forecasts and latent fields."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from impindiff.data import FORECAST_SUFFIX, SPREAD_SUFFIX, TRUTH_SUFFIX, cell_volumes
from impindiff.observations import relative_l1_percent
from impindiff.report.style import (
    DEVIATION_MAP,
    DIFFERENCE_MAP,
    FIELD_MAP,
    colour_bar,
    heading,
    label,
    scale_from_zero,
    shared_scale,
    styled,
    symmetric_scale,
    unit,
)


class Extent(NamedTuple):
    """Lower and upper bound along x, then along y.

    - `x_pixels`, `y_pixels`: of unevenly spaced cells, those of equal pixels along an axis.
    """

    left: float
    right: float
    bottom: float
    top: float
    x_pixels: Int[np.ndarray, " pixel"] | None = None
    y_pixels: Int[np.ndarray, " pixel"] | None = None

    def pixels(self, field: Float[np.ndarray, "x y"]) -> Float[np.ndarray, "x y"]:
        """The field on pixels of equal size: itself where its cells are."""
        field = field if self.x_pixels is None else field[self.x_pixels]
        return field if self.y_pixels is None else field[:, self.y_pixels]


_COLUMNS = 4
_MOST_PIXELS = 2000  # along an axis of uneven cells
_PANEL = 3.0  # inches


def forecast_figure(
    forecast: xr.Dataset,
    sample: int,
    sensors: Float[np.ndarray, "sensor 2"] | None = None,
    variable: str = "phi",
    where: str = "",
) -> Figure:
    """Truth, forecast and error (rows) at up to four times, ending with the last (columns).

    Truth and forecast share one colour scale; the error has its own, symmetric about zero. Without
    a truth only the forecast is drawn. The last row is the forecast's standard deviation, if there
    is one. Values that are not finite are grey.

    **Arguments:**

    - `forecast`: the layout of `forecast_dataset`, with two spatial dimensions.
    - `sample`: index of the trajectory.
    - `sensors`: measured positions, drawn as dots on the first row.
    - `variable`: prefix of `_forecast`, `_truth` and `_spread`.
    - `where`: for the title, the plane of a 3-D field.
    """
    chosen = forecast.isel(sample=sample, time=_spread(forecast.sizes["time"]))
    found = chosen[variable + FORECAST_SUFFIX]
    x, y = (chosen[name] for name in found.dims[1:])
    times = chosen["time"]
    rows = {"forecast": found.to_numpy()}
    titles = [f"t = {t:g}{unit(times.attrs, before=' ')}" for t in times.to_numpy()]
    if variable + TRUTH_SUFFIX in chosen:
        truth = chosen[variable + TRUTH_SUFFIX].to_numpy()
        percents = relative_l1_percent(
            rows["forecast"], truth, space_axes=2, volumes=cell_volumes(chosen)
        )
        titles = [f"{t}\nrelative L1 {p:.2g} %" for t, p in zip(titles, percents, strict=True)]
        rows = {"truth": truth, **rows, "error": rows["forecast"] - truth}
    compared = [name for name in rows if name != "error"]
    if variable + SPREAD_SUFFIX in chosen:
        rows["deviation"] = chosen[variable + SPREAD_SUFFIX].to_numpy()
    values = shared_scale(*(rows[name] for name in compared))
    extent = extent_of(x.to_numpy(), y.to_numpy())
    quantity = label(found.attrs, variable)
    with styled():
        figure, axes = panels(len(rows), len(titles), extent)
        for column, title in enumerate(titles):
            axes[0, column].set_title(title)
            axes[-1, column].set_xlabel(label(x.attrs, str(x.name)))
            for row, name in enumerate(compared):
                draw_field(axes[row, column], rows[name][column], extent, FIELD_MAP, values)
            if sensors is not None:
                _dots(axes[0, column], sensors)
        for row, name in enumerate(rows):
            axes[row, 0].set_ylabel(label(y.attrs, str(y.name)))
            _name_row(axes[row, 0], name)
        colour_bar(figure, axes[: len(compared)], FIELD_MAP, values, quantity)
        others = {"error": (symmetric_scale, DIFFERENCE_MAP, "forecast - truth"),
                  "deviation": (scale_from_zero, DEVIATION_MAP, "standard deviation")}  # fmt: skip
        for row, name in enumerate(rows):
            if name in others:
                scale_of, colours, text = others[name]
                scale = scale_of(rows[name])
                for ax, field in zip(axes[row], rows[name], strict=True):
                    draw_field(ax, field, extent, colours, scale)
                colour_bar(figure, axes[row : row + 1], colours, scale, text)
        figure.suptitle(heading(forecast, sample, variable, where))
    return figure


def latent_figure(
    pairs: Mapping[str, tuple[Float[np.ndarray, "x y"], Float[np.ndarray, "x y"] | None]],
    extent: Extent | tuple[float, float, float, float],
    axis_labels: tuple[str, str] = ("x", "y"),
    where: str = "",
    deviations: Mapping[str, Float[np.ndarray, "x y"]] | None = None,
    volumes: Float[np.ndarray, "x y"] | None = None,
) -> Figure:
    """One row per latent field: true, found, found minus true, and the standard deviation.

    True and found share one colour scale. Without a truth or a standard deviation these are left
    out.

    **Arguments:**

    - `pairs`: (found, true) fields by label.
    - `extent`: of the domain.
    - `axis_labels`: with units, if there are any.
    - `where`: for the title, the plane of 3-D fields.
    - `deviations`: by label, the standard deviation of the found field.
    - `volumes`: of the cells, by which errors are weighted, where they differ.
    """
    extent = extent if isinstance(extent, Extent) else Extent(*extent)
    deviations = deviations or {}
    known = any(truth is not None for _, truth in pairs.values())
    with styled():
        compared = 3 if known else 1
        figure, axes = panels(len(pairs), compared + bool(deviations), extent)
        middle = 1 if known else 0
        for row, (name, (found, truth)) in zip(axes, pairs.items(), strict=True):
            fields = [found] if truth is None else [truth, found]
            scale = shared_scale(*fields)
            draw_field(row[middle], found, extent, FIELD_MAP, scale)
            row[middle].set_title(f"{name}, found")
            if truth is not None:
                percent = float(relative_l1_percent(found, truth, space_axes=2, volumes=volumes))
                difference = symmetric_scale(found - truth)
                draw_field(row[0], truth, extent, FIELD_MAP, scale)
                row[0].set_title(f"{name}, true")
                draw_field(row[2], found - truth, extent, DIFFERENCE_MAP, difference)
                row[2].set_title(f"found - true: relative L1 {percent:.2g} %")
                colour_bar(figure, row[2:3], DIFFERENCE_MAP, difference, "found - true")
            elif known:
                row[0].set_visible(False)
                row[2].set_visible(False)
            if name in deviations:
                last, scale_of = row[compared:], scale_from_zero(deviations[name])
                draw_field(last[0], deviations[name], extent, DEVIATION_MAP, scale_of)
                last[0].set_title("standard deviation")
                colour_bar(figure, last, DEVIATION_MAP, scale_of, "")
            elif deviations:
                row[compared].set_visible(False)
            # the titles name the field; repeated along the bar it would not fit
            colour_bar(figure, row[: middle + 1], FIELD_MAP, scale, "")
            first = row[0 if truth is not None else middle]
            first.set_ylabel(axis_labels[1])
            first.tick_params(labelleft=True)
        for ax in axes[-1]:
            ax.set_xlabel(axis_labels[0])
        if where:
            figure.suptitle(where)
    return figure


def _spread(times: int) -> Int[np.ndarray, " column"]:
    """Up to four evenly spread snapshots; the first is left out where it is one of many."""
    last = times - 1
    return np.unique(np.round(np.linspace(last / _COLUMNS, last, _COLUMNS)).astype(int))


def extent_of(x: Float[np.ndarray, " x"], y: Float[np.ndarray, " y"]) -> Extent:
    """Extent from cell centres to the outer faces."""
    bounds, pixels = [], []
    for centres in (x, y):
        edges = edges_of(centres)
        bounds += [float(edges[0]), float(edges[-1])]
        if is_evenly_spaced(centres):
            pixels.append(None)
            continue
        count = min(_MOST_PIXELS, max(int(np.ptp(edges) / np.diff(edges).min()), len(centres)))
        at = edges[0] + np.ptp(edges) * (np.arange(count) + 0.5) / count
        pixels.append(np.searchsorted(edges[1:-1], at))
    return Extent(*bounds, *pixels)


def is_evenly_spaced(centres: Float[np.ndarray, " x"]) -> bool:
    """True if the gaps between cell centres are equal to a thousandth."""
    gaps = np.diff(centres)
    return not gaps.size or bool(np.ptp(gaps) <= 1e-3 * np.abs(gaps).max())


def edges_of(centres: Float[np.ndarray, " x"]) -> Float[np.ndarray, " edge"]:
    """Faces of cells from their centres: midpoints, and half a gap beyond the outermost."""
    if is_evenly_spaced(centres):
        half = 0.5 * float(centres[-1] - centres[0]) / max(len(centres) - 1, 1)
        return np.append(centres - half, centres[-1] + half)
    middle = 0.5 * (centres[1:] + centres[:-1])
    first, last = 2 * centres[0] - middle[0], 2 * centres[-1] - middle[-1]
    return np.concatenate([[first], middle, [last]])


def panels(
    rows: int, columns: int, extent: Extent, size: float = _PANEL
) -> tuple[Figure, np.ndarray]:
    """A figure of panels in the domain's shape, `size` inches wide, with room for colour bars."""
    tallness = (extent[3] - extent[2]) / (extent[1] - extent[0])
    height = rows * (size * min(max(tallness, 0.3), 1.5) + 0.35) + 0.8
    figure = Figure(figsize=(columns * size + 1.6, height), layout="compressed")
    return figure, figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)


def draw_field(
    ax: Axes, field: Float[np.ndarray, "x y"], extent: Extent, colours: str, scale: Normalize
) -> AxesImage:
    """A field in colours, in the domain's shape."""
    # grey background: a hole must not pass for a small difference
    ax.set_facecolor("0.6")
    return ax.imshow(
        Extent(*extent).pixels(field).T,
        origin="lower",
        extent=extent[:4],
        aspect="equal",
        cmap=colours,
        norm=scale,
        interpolation="nearest",
    )


def _dots(ax: Axes, sensors: Float[np.ndarray, "sensor 2"]) -> None:
    ax.scatter(*sensors.T, s=7, c="white", edgecolors="black", linewidths=0.5, label="sensors")


def _name_row(ax: Axes, name: str) -> None:
    ax.annotate(
        name,
        (0.03, 0.95),
        xycoords="axes fraction",
        va="top",
        fontweight="bold",
        bbox={"boxstyle": "round,pad=0.25", "facecolor": "white", "alpha": 0.85, "linewidth": 0},
    )
