"""Animation of a forecast: MP4 if ffmpeg is available, GIF otherwise."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float, Int
from matplotlib.animation import FFMpegWriter
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from impindiff.data import FORECAST_SUFFIX, TRUTH_SUFFIX, written_whole
from impindiff.errors import InputError
from impindiff.report.fields import draw_field, extent_of, panels
from impindiff.report.slices import planes_of, space_of
from impindiff.report.style import (
    DIFFERENCE_MAP,
    FIELD_MAP,
    MODEL_COLOUR,
    TRUTH_COLOUR,
    colour_bar,
    heading,
    label,
    shared_scale,
    styled,
    symmetric_scale,
    unit,
)

_FRAMES_PER_SECOND = 20
_MOST_FRAMES = 200
_DPI = 100

_Show = Callable[[int], None]
"""Puts the fields of one time into the figure."""


def animation_path(path: Path) -> Path:
    """The path of the animation requested at `path`: there, or with suffix .gif without ffmpeg.

    **Raises:** `InputError` for a suffix other than .mp4 and .gif.
    """
    suffix = path.suffix.lower()
    if suffix not in (".mp4", ".gif"):
        raise InputError(f"{path}: an animation is an .mp4 or a .gif; got the suffix '{suffix}'")
    if suffix == ".mp4" and not FFMpegWriter.isAvailable():
        return path.with_suffix(".gif")
    return path


def animate_forecast(
    forecast: xr.Dataset,
    sample: int,
    path: Path,
    variable: str = "phi",
    horizon: float | None = None,
    frames_per_second: int = _FRAMES_PER_SECOND,
) -> Path:
    """Animate truth, forecast and their difference, side by side.

    A 1-D field is drawn as profiles of truth and forecast; a 3-D one on the middle plane across the
    last axis. Colours and axes are the same at all times; without a truth only the forecast is
    shown; values that are not finite are grey, or gaps in a profile. There is one frame per stored
    time, or an even choice of 200 that ends with the last. The file is written atomically.

    **Arguments:**

    - `forecast`: the layout of `forecast_dataset`, with one to three spatial dimensions.
    - `sample`: index of the trajectory.
    - `path`: .mp4, written by ffmpeg, or .gif.
    - `variable`: prefix of `_forecast` and `_truth`.
    - `horizon`: the last training time; the title marks times beyond.
    - `frames_per_second`: from 1 to 100, the limit of .gif.

    **Returns:** the file's path, `animation_path(path)`.

    **Raises:** `InputError` for another suffix or frame rate, a path that cannot be written, or if
    ffmpeg fails.
    """
    written = animation_path(path)
    if not 1 <= frames_per_second <= 100:
        raise InputError(
            f"{path}: {frames_per_second} frames a second cannot be shown; give a number from 1 to "
            f"100"
        )
    chosen = forecast.isel(sample=sample, time=_thinned(forecast.sizes["time"]))
    space = space_of(chosen[variable + FORECAST_SUFFIX])
    where = ""
    if len(space) == 3:
        plane = planes_of(space)[-1]
        chosen, where = plane.cut(chosen), plane.where
    times = chosen["time"]
    clock = unit(times.attrs, before=" ")
    with styled():
        figure, show = (_line if len(space) == 1 else _plane)(chosen, variable)
        # left-aligned, so that the clock does not move as its digits change
        title = figure.suptitle("", x=0.02, ha="left")

        def draw(frame: int) -> None:
            t = float(times[frame])
            beyond = horizon is not None and t > horizon * (1 + 1e-9)
            show(frame)
            title.set_text(
                f"{heading(forecast, sample, variable, where)}\n"
                f"t = {t:g}{clock}{', beyond the training horizon' if beyond else ''}"
            )

        draw(0)
        figure.set_dpi(_DPI)
        figure.draw_without_rendering()
        # all frames share the first one's layout: panels must not move as the title changes
        figure.set_layout_engine("none")
        write = _write_mp4 if written.suffix.lower() == ".mp4" else _write_gif
        with written_whole(written) as partial:
            write(figure, draw, len(times), partial, frames_per_second)
    return written


def _thinned(times: int) -> Int[np.ndarray, " frame"]:
    return np.unique(np.round(np.linspace(0, times - 1, min(times, _MOST_FRAMES))).astype(int))


def _write_mp4(figure: Figure, draw: _Show, frames: int, path: Path, speed: int) -> None:
    writer = FFMpegWriter(fps=speed)
    try:
        with writer.saving(figure, path, _DPI):
            for frame in range(frames):
                draw(frame)
                writer.grab_frame()
    except subprocess.CalledProcessError as error:
        reason = " ".join(error.stderr.split()) or f"exit code {error.returncode}"
        raise InputError(f"ffmpeg failed ({reason}); ask for a .gif in place of an .mp4") from None


def _write_gif(figure: Figure, draw: _Show, frames: int, path: Path, speed: int) -> None:
    """Write a GIF with one palette for all frames; Matplotlib's one palette per frame flickers.

    The palette is that of the last frame, whose colour bars contain every colour. Its brightest
    colour becomes white and is assigned to white pixels, since Pillow's coarse colour look-up would
    tint the background.
    """
    canvas = FigureCanvasAgg(figure)

    def picture(frame: int) -> Image.Image:
        draw(frame)
        canvas.draw()
        return Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")

    # the usual median cut spends the palette on the most common colours
    palette = picture(frames - 1).quantize(256, Image.Quantize.MAXCOVERAGE)
    colours = np.array(palette.getpalette()).reshape(-1, 3)
    white = int(colours.sum(axis=1).argmax())
    colours[white] = 255
    palette.putpalette(colours.ravel().tolist())

    def coloured(image: Image.Image) -> Image.Image:
        paper = Image.fromarray((np.asarray(image) == 255).all(axis=-1))
        limited = image.quantize(palette=palette, dither=Image.Dither.NONE)
        limited.paste(white, mask=paper)
        return limited

    film = [coloured(picture(frame)) for frame in range(frames)]
    film[0].save(
        path,
        save_all=True,
        append_images=film[1:],
        duration=1000 // speed,
        loop=0,
    )


def _plane(chosen: xr.Dataset, variable: str) -> tuple[Figure, _Show]:
    """Panels in a row, with a colour bar for the fields and one for the difference."""
    fields = _fields(chosen, variable)
    found = chosen[variable + FORECAST_SUFFIX]
    x, y = (chosen[name] for name in found.dims[1:])
    extent = extent_of(x.to_numpy(), y.to_numpy())
    values = shared_scale(*fields.values())
    figure, axes = panels(1, 3 if len(fields) == 2 else 1, extent)
    bars = [(axes[0, : len(fields)], FIELD_MAP, values, label(found.attrs, variable))]
    if len(fields) == 2:
        difference = fields["forecast"] - fields["truth"]
        fields["difference"] = difference
        bars.append((axes[0, 2:], DIFFERENCE_MAP, symmetric_scale(difference), "forecast - truth"))
    images = []
    for ax, (name, field) in zip(axes[0], fields.items(), strict=True):
        _, colours, scale, _ = bars[name == "difference"]
        images.append(draw_field(ax, field[0], extent, colours, scale))
        ax.set(title=name, xlabel=label(x.attrs, str(x.name)))
        if extent[1] - extent[0] > extent[3] - extent[2]:
            ax.locator_params(axis="x", nbins=5)  # more would overlap where labels are long
    axes[0, 0].set_ylabel(label(y.attrs, str(y.name)))
    for bar in bars:
        colour_bar(figure, *bar)

    def show(frame: int) -> None:
        for image, field in zip(images, fields.values(), strict=True):
            image.set_data(extent.pixels(field[frame]).T)

    return figure, show


def _line(chosen: xr.Dataset, variable: str) -> tuple[Figure, _Show]:
    """Profiles along x."""
    fields = _fields(chosen, variable)
    found = chosen[variable + FORECAST_SUFFIX]
    x = chosen[found.dims[1]]
    values = shared_scale(*fields.values())
    low, high = values.inverse(-0.05), values.inverse(1.05)
    figure = Figure(figsize=(7.0, 4.2), layout="constrained")
    ax = figure.subplots()
    styles = {
        "truth": {"color": TRUTH_COLOUR, "linewidth": 1.0},
        "forecast": {"color": MODEL_COLOUR, "linewidth": 2.0, "linestyle": "--"},
    }
    curves = [
        ax.plot(x.to_numpy(), field[0], label=name, **styles[name])[0]
        for name, field in fields.items()
    ]
    ax.set(xlabel=label(x.attrs, "x"), ylabel=label(found.attrs, variable), ylim=(low, high))
    figure.legend(loc="outside lower center", ncols=2, frameon=False)

    def show(frame: int) -> None:
        for curve, field in zip(curves, fields.values(), strict=True):
            curve.set_ydata(field[frame])

    return figure, show


def _fields(chosen: xr.Dataset, variable: str) -> dict[str, Float[np.ndarray, "time *space"]]:
    """The forecast, and the truth where known."""
    names = {"truth": variable + TRUTH_SUFFIX, "forecast": variable + FORECAST_SUFFIX}
    return {key: chosen[name].to_numpy() for key, name in names.items() if name in chosen}
