"""Images as data URIs: figures and films inside the page."""

import base64
import io
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import xarray as xr
from PIL import Image

from impindiff.data import FORECAST_SUFFIX, TEST
from impindiff.errors import InputError
from impindiff.experiment.directory import pictures
from impindiff.experiment.figures import middle_sample
from impindiff.pages._blocks import Picture
from impindiff.pages._words import Labels, caption, figure_order
from impindiff.report import animate_forecast

_MOST_BYTES = 3_000_000
_FILM_SECONDS = 4.0
_SLOWEST, _FASTEST = 5, 20  # frames a second


def figures_in(folder: Path, labels: Labels) -> list[Picture]:
    """The PNG files of a folder with their captions; none if the folder does not exist.

    **Raises:** `InputError` for a file that is not an image.
    """
    files = sorted(pictures(folder), key=lambda file: figure_order(file.stem, labels))
    return [picture(file, caption(file.stem, labels)) for file in files]


def picture(path: Path, text: str) -> Picture:
    """The PNG at `path` with a caption, also used as alternative text.

    **Raises:** `InputError` for a file that is not an image.
    """
    data = path.read_bytes()
    try:
        with Image.open(io.BytesIO(data)) as image:
            width, height = image.size
    except OSError:
        raise InputError(
            f"{path}: is not a PNG image; remove it, or run again to have it drawn anew"
        ) from None
    return Picture(_data_uri(data, "image/png"), width, height, text.rstrip("."), text)


def drawn(draw: Callable[[Path], None], text: str) -> Picture:
    """The figure written by `draw` to the path that it receives."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "figure.png"
        draw(path)
        return picture(path, text)


def film(forecast: xr.Dataset, horizon: float | None) -> Picture:
    """Animate the forecast of the middle test sample.

    Without a test set, the middle training sample is shown. Above 3 MB, every second time is
    dropped until the film fits.

    **Arguments:**

    - `forecast`: the layout of `forecast_dataset`.
    - `horizon`: the last training time, or None (see `animate_forecast`).
    """
    name = next(str(name) for name in forecast.data_vars if str(name).endswith(FORECAST_SUFFIX))
    variable = name.removesuffix(FORECAST_SUFFIX)
    test = [int(i) for i in np.flatnonzero(forecast[TEST].to_numpy())]
    sample = middle_sample(test or list(range(forecast.sizes["sample"])))
    data = _gif(forecast, sample, variable, horizon)
    while len(data) > _MOST_BYTES and forecast.sizes["time"] > 2:
        # from the end, so that the last time stays
        forecast = forecast.isel(time=slice(None, None, -2)).isel(time=slice(None, None, -1))
        data = _gif(forecast, sample, variable, horizon)
    with Image.open(io.BytesIO(data)) as image:
        width, height = image.size
        image.seek(getattr(image, "n_frames", 1) - 1)
        last = io.BytesIO()
        image.convert("RGB").save(last, "PNG", optimize=True)
    seen = "that training did not see" if test else "of training"
    which = f"Sample {sample}, {seen}, from" if forecast.sizes["sample"] > 1 else "From"
    text = f"{which} t = {_time(forecast, 0)} to {_time(forecast, -1)}."
    return Picture(
        _data_uri(data, "image/gif"),
        width,
        height,
        f"Animation of truth, forecast and difference. {text}",
        text,
        still=_data_uri(last.getvalue(), "image/png"),
    )


def _gif(forecast: xr.Dataset, sample: int, variable: str, horizon: float | None) -> bytes:
    speed = int(np.clip(forecast.sizes["time"] / _FILM_SECONDS, _SLOWEST, _FASTEST))
    with TemporaryDirectory() as folder:
        path = Path(folder) / "film.gif"
        animate_forecast(forecast, sample, path, variable, horizon, frames_per_second=speed)
        return path.read_bytes()


def _time(forecast: xr.Dataset, index: int) -> str:
    return f"{float(forecast['time'][index]):g}"


def _data_uri(data: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"
