import itertools

import matplotlib
import numpy as np
import pytest
import xarray as xr
from PIL import Image, ImageSequence

from impindiff.data import forecast_dataset
from impindiff.errors import InputError
from impindiff.report import _animation as animation
from impindiff.report import animate_forecast, animation_path

TIMES = 4
ATTRIBUTES = {
    "phi": {"long_name": "concentration", "units": "mg/L"},
    "time": {"long_name": "time", "units": "s"},
    "x": {"long_name": "x", "units": "m"},
    "y": {"long_name": "y", "units": "m"},
}


def forecast(*cells: int, times: int = TIMES, with_truth: bool = True) -> xr.Dataset:
    """A wave that moves one cell along x a time; the forecast of it grows."""
    coordinates = {name: (np.arange(n) + 0.5) / n for name, n in zip("xyz", cells, strict=False)}
    x = coordinates["x"].reshape(-1, *[1] * (len(cells) - 1))
    t = np.linspace(0.0, 0.3, times)
    moved = [0.5 + np.sin(2 * np.pi * (x - i / cells[0])) + np.zeros(cells) for i in range(times)]
    truth = np.stack([moved, moved])
    found = truth * (1 + 0.3 * t).reshape(-1, *[1] * len(cells))
    return forecast_dataset(
        found, t, coordinates, np.array([False, True]), truth if with_truth else None,
        variable_attrs=ATTRIBUTES,
    )  # fmt: skip


def frames(path, milliseconds: int = 50) -> list[np.ndarray]:
    with Image.open(path) as film:
        assert film.format == "GIF"
        assert film.info["duration"] == milliseconds
        assert film.info["loop"] == 0
        return [np.asarray(frame.convert("RGB"), float) for frame in ImageSequence.Iterator(film)]


@pytest.fixture
def recorded(monkeypatch):
    """What each frame shows, in place of a film: titles, images and curves."""
    seen = []

    def write(figure, draw, count, path, speed):
        path.touch()
        for frame in range(count):
            draw(frame)
            seen.append(
                {
                    "title": figure.get_suptitle(),
                    "panels": [ax.get_title() for ax in figure.axes if ax.images],
                    "images": [np.asarray(ax.images[0].get_array()).T for ax in figure.axes
                               if ax.images],
                    "limits": [ax.images[0].get_clim() for ax in figure.axes if ax.images],
                    "curves": {line.get_label(): np.asarray(line.get_ydata())
                               for line in figure.axes[0].lines},
                    "view": (figure.axes[0].get_xlim(), figure.axes[0].get_ylim()),
                    "labels": (figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()),
                }
            )  # fmt: skip

    monkeypatch.setattr(animation, "_write_gif", write)
    return seen


@pytest.mark.few(1)
@pytest.mark.parametrize("cells", [(12,), (12, 6)])
def test_a_film_has_a_frame_a_time_and_moves(tmp_path, cells):
    before = dict(matplotlib.rcParams)
    written = animate_forecast(forecast(*cells), 1, tmp_path / "f.gif")
    assert written == tmp_path / "f.gif"
    assert [p.name for p in tmp_path.iterdir()] == ["f.gif"]
    film = frames(written)
    assert len(film) == TIMES
    for earlier, later in itertools.pairwise(film):
        # the fields themselves, below the titles
        assert np.abs(later - earlier)[80:].max() > 100
    assert written.stat().st_size < 5e6 / 50 * TIMES
    assert dict(matplotlib.rcParams) == before


@pytest.mark.slow
def test_a_film_is_in_the_colours_of_the_map(tmp_path):
    """256 colours for two maps and the text: none further off than the eye forgives."""
    film = frames(animate_forecast(forecast(12, 6), 1, tmp_path / "f.gif"))
    shown = np.unique(film[1].reshape(-1, 3), axis=0)
    for name in ("viridis", "RdBu_r"):
        for colour in 255 * matplotlib.colormaps[name](np.linspace(0, 1, 20))[:, :3]:
            assert np.abs(shown - colour).max(axis=1).min() < 12


@pytest.mark.slow
@pytest.mark.parametrize("cells", [(12,), (12, 6)])
def test_the_paper_is_white(tmp_path, cells):
    for frame in frames(animate_forecast(forecast(*cells), 1, tmp_path / "f.gif")):
        colours, counts = np.unique(frame.reshape(-1, 3), axis=0, return_counts=True)
        np.testing.assert_array_equal(colours[counts.argmax()], 255)


def test_a_film_is_as_fast_as_asked(tmp_path):
    dataset = forecast(12, times=2)
    written = animate_forecast(dataset, 0, tmp_path / "f.gif", frames_per_second=5)
    assert len(frames(written, milliseconds=200)) == 2
    for speed in (0, 101):
        with pytest.raises(InputError, match=f"{speed} frames a second"):
            animate_forecast(dataset, 0, tmp_path / "f.gif", frames_per_second=speed)


def test_fields_beside_each_other_on_fixed_scales(tmp_path, recorded):
    dataset = forecast(12, 6)
    animate_forecast(dataset, 1, tmp_path / "f.gif", horizon=0.1)
    truth, found = (dataset[f"phi_{name}"][1].to_numpy() for name in ("truth", "forecast"))
    for i, frame in enumerate(recorded):
        assert frame["panels"] == ["truth", "forecast", "difference"]
        for image, field in zip(
            frame["images"], (truth[i], found[i], found[i] - truth[i]), strict=True
        ):
            np.testing.assert_array_equal(image, field)
        shared = (found.min(), found.max())
        limit = np.abs(found - truth).max()
        assert frame["limits"] == [shared, shared, (-limit, limit)]
        assert frame["labels"] == ("x (m)", "y (m)")
        assert frame["view"] == recorded[0]["view"]
    assert recorded[0]["title"] == "concentration (mg/L), sample 1 (test)\nt = 0 s"


def test_a_profile_on_fixed_axes(tmp_path, recorded):
    dataset = forecast(12)
    animate_forecast(dataset, 0, tmp_path / "f.gif")
    for i, frame in enumerate(recorded):
        assert set(frame["curves"]) == {"truth", "forecast"}
        for name, values in frame["curves"].items():
            np.testing.assert_array_equal(values, dataset[f"phi_{name}"][0, i])
        assert frame["labels"] == ("x (m)", "concentration (mg/L)")
        assert frame["view"] == recorded[0]["view"]
        low, high = frame["view"][1]
        assert low < float(dataset["phi_forecast"].min())
        assert high > float(dataset["phi_forecast"].max())


def test_times_beyond_the_training_horizon_are_marked(tmp_path, recorded):
    # the horizon is the third time, up to rounding
    animate_forecast(forecast(12), 0, tmp_path / "f.gif", horizon=0.2 * (1 - 1e-12))
    assert [frame["title"].splitlines()[1] for frame in recorded] == [
        "t = 0 s", "t = 0.1 s", "t = 0.2 s", "t = 0.3 s, beyond the training horizon",
    ]  # fmt: skip
    recorded.clear()
    animate_forecast(forecast(12), 0, tmp_path / "f.gif")
    assert not any("beyond" in frame["title"] for frame in recorded)


@pytest.mark.parametrize("cells", [(12,), (12, 6)])
def test_a_forecast_without_truth_stands_alone(tmp_path, recorded, cells):
    dataset = forecast(*cells, with_truth=False)
    animate_forecast(dataset, 0, tmp_path / "f.gif")
    assert len(recorded) == TIMES
    for i, frame in enumerate(recorded):
        shown = frame["images"] if len(cells) == 2 else list(frame["curves"].values())
        (only,) = shown
        np.testing.assert_array_equal(only, dataset["phi_forecast"][0, i])


def test_many_times_are_thinned_evenly_to_the_last(tmp_path, recorded):
    animate_forecast(forecast(4, times=1001), 0, tmp_path / "f.gif")
    times = [float(frame["title"].split("t = ")[1].split()[0]) for frame in recorded]
    assert len(times) == 200
    assert (times[0], times[-1]) == (0.0, 0.3)
    np.testing.assert_allclose(np.diff(times), 0.3 / 199, atol=0.3 / 1000 + 1e-9)


@pytest.mark.slow
def test_a_forecast_that_failed_or_is_constant_can_still_be_shown(tmp_path):
    for cells in ((12,), (12, 6)):
        dataset = forecast(*cells, times=2)
        dataset["phi_forecast"][0, 1:] = np.nan
        assert len(frames(animate_forecast(dataset, 0, tmp_path / "failed.gif"))) == 2
        constant = dataset.map(lambda v: v.where(False, 0.5).assign_attrs(v.attrs))
        assert len(frames(animate_forecast(constant, 0, tmp_path / "constant.gif"))) == 2


def test_without_ffmpeg_an_mp4_becomes_a_gif_beside(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert animation_path(tmp_path / "f.mp4") == tmp_path / "f.gif"
    written = animate_forecast(forecast(12, times=2), 0, tmp_path / "f.mp4")
    assert written == tmp_path / "f.gif"
    assert [p.name for p in tmp_path.iterdir()] == ["f.gif"]
    assert len(frames(written)) == 2


@pytest.fixture
def ffmpeg(tmp_path_factory, monkeypatch):
    """A stand-in on the PATH: it reads all frames and does as told."""
    folder = tmp_path_factory.mktemp("bin")

    def install(ending: str) -> None:
        script = folder / "ffmpeg"
        script.write_text(f'#!/bin/sh\nfor out; do :; done\ncat > "$out"\n{ending}\n')
        script.chmod(0o755)

    monkeypatch.setenv("PATH", str(folder), prepend=":")
    return install


def test_ffmpeg_is_handed_every_frame(tmp_path, ffmpeg):
    ffmpeg("exit 0")
    written = animate_forecast(forecast(12), 0, tmp_path / "f.mp4")
    assert written == tmp_path / "f.mp4"
    width, height = 700, 420
    assert written.stat().st_size == TIMES * width * height * 4


def test_nothing_is_left_of_a_film_that_failed(tmp_path, ffmpeg, monkeypatch):
    ffmpeg('echo "Unknown encoder" >&2; exit 1')
    with pytest.raises(InputError, match=r"ffmpeg failed \(Unknown encoder\); ask for a \.gif"):
        animate_forecast(forecast(12), 0, tmp_path / "f.mp4")
    assert not list(tmp_path.iterdir())

    def save(image, path, **options):
        path.write_bytes(b"GIF89a")
        raise OSError("no space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="no space"):
        animate_forecast(forecast(12), 0, tmp_path / "f.gif")
    assert not list(tmp_path.iterdir())


def test_of_three_dimensions_the_middle_plane_is_shown(tmp_path, recorded):
    of = forecast(12, 6, 4)
    animate_forecast(of, 1, tmp_path / "f.gif")
    last = recorded[-1]
    assert "slice at z = 0.625" in last["title"]
    truth = of["phi_truth"].to_numpy()[1, -1, :, :, 2]
    np.testing.assert_allclose(last["images"][0], truth)
    assert last["labels"] == ("x (m)", "y (m)")


def test_what_cannot_be_animated_is_refused(tmp_path):
    for name in ("f.avi", "f"):
        with pytest.raises(InputError, match=r"an \.mp4 or a \.gif"):
            animate_forecast(forecast(12), 0, tmp_path / name)
    with pytest.raises(InputError, match="there is no folder"):
        animate_forecast(forecast(12), 0, tmp_path / "absent" / "f.gif")
    assert not list(tmp_path.iterdir())
