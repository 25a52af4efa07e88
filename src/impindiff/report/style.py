"""Common style and saving of figures, without changes to Matplotlib's global state."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, cast

import matplotlib
import numpy as np
import xarray as xr
from jaxtyping import Float
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from numpy.typing import ArrayLike

from impindiff.data import FORECAST_SUFFIX, TEST, written_whole

FIELD_MAP = "viridis"
DIFFERENCE_MAP = "RdBu_r"  # white at zero difference
DEVIATION_MAP = "cividis"
_BAND = 0.2  # opacity
TRUTH_COLOUR, MODEL_COLOUR = "black", "#c55a11"
# palette of Okabe and Ito, for all kinds of colour vision
SERIES_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")

_FEW_DECADES = 1e3

_STYLE = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.labelsize": 11,
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "legend.fontsize": 10,
    "axes.grid": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def styled() -> Any:
    """A context in which figures are built."""
    return matplotlib.rc_context(cast(Any, _STYLE))


def save(figure: Figure, path: Path) -> None:
    """Write a PNG atomically.

    **Raises:** `InputError` if it cannot be written there.
    """
    with written_whole(path) as partial:
        # layouts of panels with a fixed shape leave margins, or cut labels; tight does neither
        figure.savefig(partial, dpi=130, bbox_inches="tight")


def shared_scale(*fields: Float[np.ndarray, "..."]) -> Normalize:
    """A colour scale from the least to the largest finite value of all the fields."""
    finite = np.concatenate([f[np.isfinite(f)].ravel() for f in fields])
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    # a constant field still needs an interval
    return Normalize(low, high if high > low else low + 1.0)


def scale_from_zero(*fields: Float[np.ndarray, "..."]) -> Normalize:
    """A colour scale from zero to the largest finite value of all the fields."""
    return shared_scale(np.zeros(1), *fields)


def symmetric_scale(*fields: Float[np.ndarray, "..."]) -> Normalize:
    """A colour scale from minus to plus the largest finite magnitude, so that zero is white."""
    finite = np.concatenate([np.abs(f[np.isfinite(f)]).ravel() for f in fields])
    limit = float(finite.max()) if finite.size else 0.0
    return Normalize(-(limit or 1.0), limit or 1.0)


def unit(attrs: Mapping[str, Any], before: str = "") -> str:
    """`before` and the unit, or the scaling in place of one; nothing for a pure number."""
    text = str(attrs.get("units", attrs.get("scaling", "")))
    return "" if text in ("", "1", "dimensionless") else before + text


def label(attrs: Mapping[str, Any], name: str) -> str:
    """`long name (unit)` for an axis or a colour bar; `name` without a long name."""
    text = unit(attrs)
    long_name = str(attrs.get("long_name", name))
    return f"{long_name} ({text})" if text else long_name


def truth_name(attrs: Mapping[str, Any]) -> str:
    """The word for a variable `NAME_truth`: "data" if it was measured, which is not the truth."""
    return "data" if attrs.get("source") == "measurements" else "truth"


def heading(forecast: xr.Dataset, sample: int, variable: str, where: str = "") -> str:
    """Title: the quantity; of several samples, which one and its set; and the plane, if any."""
    parts = [label(forecast[variable + FORECAST_SUFFIX].attrs, variable)]
    if forecast.sizes["sample"] > 1:
        kept_back = ""
        if TEST in forecast.coords:
            kept_back = " (test)" if bool(forecast[TEST][sample]) else " (training)"
        parts.append(f"sample {sample}{kept_back}")
    return ", ".join([*parts, *[where] * bool(where)])


def draw_band(ax: Axes, x: ArrayLike, middle: ArrayLike, deviation: ArrayLike, colour: Any) -> None:
    """A band of two standard deviations around a curve, without an entry in the legend."""
    middle, two = np.asarray(middle), 2 * np.asarray(deviation)
    ax.fill_between(
        np.asarray(x), middle - two, middle + two, color=colour, alpha=_BAND, linewidth=0
    )


def band_entry() -> Patch:
    """The entry of a legend for the bands of all colours."""
    return Patch(color="0.35", alpha=_BAND, label="± 2 standard deviations")


def shared_legend(figure: Figure, axes: Iterable[Axes], more: Iterable[Artist] = ()) -> None:
    """One legend for all of `axes`, below them, with each label once, and `more` entries."""
    entries: dict[str, Artist] = {}
    for ax in axes:
        for handle, name in zip(*ax.get_legend_handles_labels(), strict=True):
            entries.setdefault(name, handle)
    entries |= {str(artist.get_label()): artist for artist in more}
    if entries:
        figure.legend(
            list(entries.values()),
            list(entries),
            loc="outside lower center",
            ncols=len(entries),
            frameon=False,
        )


def readable_log(axis: Axis) -> None:
    """Plain numbers on a logarithmic axis: at 1, 2 and 5 where it spans few decades."""
    low, high = axis.get_view_interval()
    subs = (1.0, 2.0, 5.0) if high < _FEW_DECADES * low else (1.0,)
    axis.set_major_locator(LogLocator(subs=subs))
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axis.set_minor_formatter(NullFormatter())


def colour_bar(figure: Figure, axes: np.ndarray, colours: str, scale: Normalize, text: str) -> None:
    """One colour bar for all of `axes`."""
    figure.colorbar(
        ScalarMappable(scale, colours),
        ax=list(axes.ravel()),
        label=text,
        pad=0.015,
        # full values at the ticks: a common factor above the bar is easily missed
        format=FuncFormatter(lambda value, _: f"{value:g}"),
    )
