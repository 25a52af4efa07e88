import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection, QuadMesh
from matplotlib.container import ErrorbarContainer
from matplotlib.figure import Figure
from matplotlib.image import imread

from impindiff.data import forecast_dataset
from impindiff.errors import InputError
from impindiff.report import (
    identified_figure,
    profiles_figure,
    save,
    space_time_figure,
)

X = -1.0 + (np.arange(40) + 0.5) / 20
# Not evenly spaced, as data often are.
T = np.concatenate([np.linspace(0.0, 0.4, 9), [0.6, 0.7, 1.0]])
POINTS = np.array([[T[3], -0.5], [T[3], 0.75], [T[6], 0.0], [T[-1], 1.0]])


def forecast(times: np.ndarray = T, with_truth: bool = True) -> xr.Dataset:
    truth = np.stack([-np.sin(np.pi * X) * np.exp(-s * times[:, None]) for s in (0.5, 1.0)])
    found = truth + 0.02 * times[:, None] * np.sin(3 * X)
    return forecast_dataset(
        found,
        times,
        {"x": X},
        np.array([False, True]),
        truth if with_truth else None,
        "u",
        variable_attrs={
            "u": {"long_name": "velocity", "units": "m/s"},
            "time": {"long_name": "time", "units": "s"},
            "x": {"long_name": "x", "units": "m"},
        },
    )


def history() -> list[dict]:
    decay = [float(np.exp(-step / 80)) for step in range(0, 500, 10)]
    return [
        {
            "step": 10 * i,
            "loss": 1.0,
            "identified": {"nu": 0.003 * (1 + 40 * d), "lambda": 1.01 - 0.5 * d},
        }
        for i, d in enumerate(decay)
    ]


def maps(figure: Figure) -> list[QuadMesh]:
    return [
        mesh
        for ax in figure.axes
        if ax.get_label() != "<colorbar>"
        for mesh in ax.collections
        if isinstance(mesh, QuadMesh)
    ]


def curve(ax: Axes, name: str) -> tuple[np.ndarray, np.ndarray]:
    (line,) = [line for line in ax.lines if line.get_label() == name]
    return np.asarray(line.get_xdata()), np.asarray(line.get_ydata())


def labels(figure: Figure) -> list[str]:
    (legend,) = figure.legends
    return [text.get_text() for text in legend.get_texts()]


def check_picture(path) -> None:
    pixels = imread(path)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 300
    assert pixels[..., :3].std() > 0.05


def test_measured_fields_are_data_and_no_truth():
    measured = forecast()
    measured["u_truth"].attrs["source"] = "measurements"
    assert labels(profiles_figure(measured, 0, "u")) == ["data", "forecast"]
    assert space_time_figure(measured, 0, "u").axes[0].get_title(loc="left") == "data"


def test_profiles_show_truth_forecast_and_error_at_the_stated_times():
    dataset = forecast()
    axes = profiles_figure(dataset, 1, "u").axes
    assert len(axes) == 8
    for column, index in enumerate((3, 6, 8, 11)):
        there = dataset.isel(sample=1, time=index)
        upper, lower = axes[column], axes[4 + column]
        difference = there.u_forecast - there.u_truth
        percent = 100 * float(np.abs(difference).sum() / np.abs(there.u_truth).sum())
        assert upper.get_title() == f"t = {T[index]:g} s\nrelative L1 {percent:.2g} %"
        np.testing.assert_array_equal(curve(upper, "truth"), (X, there.u_truth))
        np.testing.assert_array_equal(curve(upper, "forecast"), (X, there.u_forecast))
        np.testing.assert_array_equal(lower.lines[-1].get_ydata(), difference)
        assert lower.get_xlabel() == "x (m)"
        low, high = lower.get_ylim()
        assert low == -high
        assert high > float(np.abs(difference).max())
    assert axes[0].get_ylabel() == "velocity (m/s)"


def test_profiles_mark_the_points_of_their_own_time():
    figure = profiles_figure(forecast(), 0, "u", POINTS)
    expected = ([-0.5, 0.75], [0.0], [], [1.0])
    for ax, positions in zip(figure.axes, expected, strict=False):
        np.testing.assert_array_equal(curve(ax, "measured here")[0], positions)
        # Above the marks, at 3 % of the height with 8 points' length, the curves have room.
        low, high = ax.get_ylim()
        assert min(curve(ax, "truth")[1].min(), 0.0) > low + 0.08 * (high - low)
    assert labels(figure) == ["truth", "forecast", "measured here"]
    assert labels(profiles_figure(forecast(), 0, "u")) == ["truth", "forecast"]


@pytest.mark.parametrize(("times", "columns"), [(T[-1:], 1), (T[:2], 2), (T[:5], 4)])
def test_forecasts_of_few_times_or_without_truth(times, columns):
    assert len(profiles_figure(forecast(times), 0, "u").axes) == 2 * columns
    bare = forecast(times, with_truth=False)
    assert len(maps(space_time_figure(forecast(times), 0, "u"))) == 3
    profiles = profiles_figure(bare, 0, "u", POINTS)
    assert len(profiles.axes) == columns
    space_time = space_time_figure(bare, 0, "u", POINTS)
    assert len(maps(space_time)) == 1
    for figure in (profiles, space_time):
        figure.draw_without_rendering()


def test_maps_share_one_scale_and_the_error_is_symmetric():
    dataset = forecast()
    truth, found, error = maps(space_time_figure(dataset, 1, "u"))
    chosen = dataset.isel(sample=1)
    both = chosen[["u_truth", "u_forecast"]].to_array()
    assert truth.get_clim() == found.get_clim() == (float(both.min()), float(both.max()))
    difference = chosen.u_forecast - chosen.u_truth
    limit = float(np.abs(difference).max())
    assert error.get_clim() == (-limit, limit)
    for mesh, field in ((truth, chosen.u_truth), (found, chosen.u_forecast), (error, difference)):
        np.testing.assert_array_equal(np.asarray(mesh.get_array()), field.T)


def test_maps_put_values_at_their_times_and_places():
    """The edges lie halfway between times and between centres; time does not pass its ends."""
    figure = space_time_figure(forecast(), 0, "u")
    edges = np.asarray(maps(figure)[0].get_coordinates())
    assert edges.shape == (41, 13, 2)
    np.testing.assert_allclose(edges[0, 1:-1, 0], 0.5 * (T[1:] + T[:-1]))
    np.testing.assert_array_equal(edges[0, [0, -1], 0], [0.0, 1.0])
    np.testing.assert_allclose(edges[:, 0, 1], np.linspace(-1.0, 1.0, 41), atol=1e-14)
    assert figure.axes[2].get_xlabel() == "time (s)"
    assert figure.axes[0].get_ylabel() == "x (m)"


def test_maps_state_the_error_and_where_the_truth_was_measured():
    dataset = forecast()
    figure = space_time_figure(dataset, 1, "u", POINTS)
    _, dots = figure.axes[0].collections
    np.testing.assert_array_equal(dots.get_offsets(), POINTS)
    assert [len(ax.collections) for ax in figure.axes[1:3]] == [1, 1]
    assert figure.axes[0].get_title(loc="right") == "4 measured points"
    chosen = dataset.isel(sample=1)
    difference = np.abs(chosen.u_forecast - chosen.u_truth).sum()
    percent = 100 * float(difference / np.abs(chosen.u_truth).sum())
    heading = figure.get_suptitle()
    assert heading.startswith("velocity (m/s), sample 1 (test)\n")
    assert f"relative L1 {percent:.2g} %" in heading


@pytest.mark.slow
def test_a_forecast_that_failed_or_is_exact_can_still_be_drawn(tmp_path):
    exact = forecast()
    exact["u_forecast"] = exact.u_truth.copy(deep=True)
    failed = exact.copy(deep=True)
    failed.u_forecast[0, 1:] = np.nan
    constant = exact.map(lambda v: v.where(False, 0.5).assign_attrs(v.attrs))
    for dataset in (exact, failed, constant):
        profiles, space_time = (
            draw(dataset, 0, "u") for draw in (profiles_figure, space_time_figure)
        )
        for low, high in (profiles.axes[4].get_ylim(), maps(space_time)[2].get_clim()):
            assert low == -high < 0
    save(profiles_figure(failed, 0, "u"), tmp_path / "profiles.png")
    save(space_time_figure(failed, 0, "u"), tmp_path / "space_time.png")
    for name in ("profiles.png", "space_time.png"):
        check_picture(tmp_path / name)


def test_identified_parameters_are_followed_to_their_last_value():
    records = [{"step": 0, "loss": 2.0}, *history(), {"step": 500, "identified": None}]
    truths, errors = {"nu": 0.01 / np.pi, "lambda": 1.0}, {"lambda": 0.02}
    figure = identified_figure(records, ["nu", "lambda"], truths, errors)
    nu, strength = figure.axes
    steps, values = curve(strength, "identified")
    np.testing.assert_array_equal(steps, np.arange(0, 500, 10))
    np.testing.assert_array_equal(values, [r["identified"]["lambda"] for r in history()])
    np.testing.assert_array_equal(curve(nu, "truth")[1], 0.01 / np.pi)
    off = 100 * (values[-1] - 1.0)
    assert strength.get_title() == (
        f"lambda = {values[-1]:.4g} ± 0.02\ntruth 1, off by {off:+.2g} %"
    )
    (marked,) = [c for c in strength.containers if isinstance(c, ErrorbarContainer)]
    ((below, above),) = marked.lines[2][0].get_segments()
    np.testing.assert_allclose(below, (490, values[-1] - 0.02))
    np.testing.assert_allclose(above, (490, values[-1] + 0.02))
    assert "±" not in nu.get_title()
    assert labels(figure) == ["identified", "truth", "last", "last, ± standard error"]


def test_a_wide_path_of_positive_values_is_logarithmic():
    nu, strength = identified_figure(history(), ["nu", "lambda"], {}).axes
    assert (nu.get_yscale(), strength.get_yscale()) == ("log", "linear")
    assert nu.get_title().startswith("nu = 0.003")
    assert "truth" not in nu.get_title()


def test_ticks_of_a_short_path_differ_from_each_other():
    records = [{"step": i, "identified": {"k": 1.0 + 1e-6 * i}} for i in range(5)]
    figure = identified_figure(records, ["k"], {})
    figure.draw_without_rendering()
    shown = [tick.get_text() for tick in figure.axes[0].get_yticklabels()]
    assert len(set(shown)) == len(shown) > 2


def test_parameters_that_diverged_can_still_be_drawn(tmp_path):
    records = [*history(), {"step": 500, "identified": {"nu": np.nan, "lambda": np.inf}}]
    errors = {"nu": np.nan, "lambda": np.inf}
    save(
        identified_figure(records, ["nu", "lambda"], {"nu": 0.0, "lambda": 1.0}, errors),
        tmp_path / "f.png",
    )
    check_picture(tmp_path / "f.png")


def test_a_parameter_that_was_never_recorded_is_refused():
    with pytest.raises(InputError, match=r"^history: none of 50 records has a value of 'mu'"):
        identified_figure(history(), ["nu", "mu"], {})
    with pytest.raises(InputError, match=r"none of 0 records"):
        identified_figure([], ["nu"], {})


def test_every_figure_is_written_whole(tmp_path):
    save(profiles_figure(forecast(), 1, "u", POINTS), tmp_path / "profiles.png")
    save(space_time_figure(forecast(), 1, "u", POINTS), tmp_path / "space_time.png")
    save(
        identified_figure(history(), ["nu"], {"nu": 0.003}, {"nu": 1e-4}),
        tmp_path / "identified.png",
    )
    names = {"profiles.png", "space_time.png", "identified.png"}
    assert {f.name for f in tmp_path.iterdir()} == names
    for name in names:
        check_picture(tmp_path / name)
    with pytest.raises(InputError, match="there is no folder"):
        save(profiles_figure(forecast(), 0, "u"), tmp_path / "absent" / "f.png")


def test_an_ensemble_s_profiles_have_a_band_of_two_deviations():
    dataset = forecast()
    spread = 0.05 * np.ones(dataset["u_forecast"].shape)
    dataset["u_spread"] = (dataset["u_forecast"].dims, spread)
    ax = profiles_figure(dataset, 1, "u").axes[0]
    (band,) = [found for found in ax.collections if isinstance(found, PolyCollection)]
    outline = np.asarray(band.get_paths()[0].vertices)
    _, middle = curve(ax, "forecast")
    assert outline[:, 1].max() == pytest.approx(middle.max() + 0.1)
    assert outline[:, 1].min() == pytest.approx(middle.min() - 0.1)
