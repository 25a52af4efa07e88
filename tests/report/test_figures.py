from collections.abc import Iterable

import numpy as np
import pytest
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

from impindiff.data import forecast_dataset
from impindiff.errors import InputError
from impindiff.observations import Sensors
from impindiff.problems.random_fields import gaussian_random_field, random_waves
from impindiff.report import (
    error_vs_time_figure,
    forecast_figure,
    history_figure,
    latent_figure,
    save,
)
from impindiff.report.fields import extent_of

LOWER, UPPER, CELLS = (-1.0, 0.0), (1.0, 1.0), (64, 32)
EXTENT = (-1.0, 1.0, 0.0, 1.0)
X = -1.0 + (np.arange(64) + 0.5) / 32
Y = (np.arange(32) + 0.5) / 32


def forecast(times: int = 21, samples: int = 2, with_truth: bool = True) -> xr.Dataset:
    rng = np.random.default_rng(0)
    t = np.linspace(0.0, 0.2, times) if times > 1 else np.array([0.2])
    fields = [gaussian_random_field(0.2, LOWER, UPPER, CELLS, rng) for _ in range(samples)]
    truth = np.stack([[f(X - 2 * s, Y - s) for s in t] for f in fields])
    wrong = random_waves(20, 8, LOWER, UPPER, CELLS, rng).on_cells(CELLS) - 0.5
    found = truth + 0.02 * t[:, None, None] * wrong
    return forecast_dataset(
        found,
        t,
        {"x": X, "y": Y},
        np.arange(samples) > 0,
        truth if with_truth else None,
        variable_attrs={
            "phi": {"long_name": "concentration", "units": "mg/L"},
            "time": {"long_name": "time", "units": "s"},
            "x": {"long_name": "x", "units": "m"},
            "y": {"long_name": "y", "units": "m"},
        },
    )


def latent(with_truth: bool = True):
    rng = np.random.default_rng(1)
    pairs = {}
    for name in ("velocity_x", "velocity_y"):
        truth = random_waves(30, 3, LOWER, UPPER, CELLS, rng).on_cells(CELLS)
        found = truth + 0.01 * (random_waves(20, 6, LOWER, UPPER, CELLS, rng).on_cells(CELLS) - 0.5)
        pairs[name] = (found, truth if with_truth else None)
    return pairs


def history() -> list[dict]:
    steps = np.arange(0, 1000, 10)
    noise = np.exp(0.15 * np.random.default_rng(0).standard_normal(len(steps)))
    return [
        {"step": int(s), "loss": float(n * (1e-7 + 1e-2 * np.exp(-s / 80)))}
        | ({"test_percent": 0.22 + 20 * np.exp(-s / 120)} if s % 100 == 0 else {})
        for s, n in zip(steps, noise, strict=True)
    ]


def errors():
    t = np.linspace(0.0, 0.2, 21)
    return {"test": (t, 0.9 * t**0.8), "training": (t, 0.5 * t**0.7)}


def panels(figure: Figure) -> list[Axes]:
    return [ax for ax in figure.axes if ax.images]


def limits(axes: Iterable[Axes]) -> set[tuple[float, float]]:
    return {ax.images[0].get_clim() for ax in axes}


def check_picture(path) -> None:
    pixels = imread(path)
    assert pixels.shape[0] > 300
    assert pixels.shape[1] > 300
    assert pixels[..., :3].std() > 0.05


def test_forecast_and_truth_share_one_scale_and_the_error_is_symmetric():
    dataset = forecast()
    shown = panels(forecast_figure(dataset, 1))
    assert len(shown) == 12
    values, error = limits(shown[:8]), limits(shown[8:])
    assert len(values) == 1
    assert len(error) == 1
    ((low, high),) = error
    assert low == -high
    difference = (dataset.phi_forecast - dataset.phi_truth)[1]
    assert high == pytest.approx(float(np.abs(difference).max()), rel=1e-12)
    compared = dataset[["phi_truth", "phi_forecast"]].isel(sample=1, time=[5, 10, 15, 20])
    both = compared.to_array()
    assert values == {(float(both.min()), float(both.max()))}


def test_the_panels_show_the_fields_at_the_stated_times():
    dataset = forecast()
    shown = panels(forecast_figure(dataset, 1))
    for column, time in enumerate((0.05, 0.1, 0.15, 0.2)):
        there = dataset.isel(sample=1).sel(time=time, method="nearest")
        title = shown[column].get_title()
        assert f"t = {time:g} s" in title
        difference = there.phi_forecast - there.phi_truth
        percent = 100 * float(np.abs(difference).sum() / np.abs(there.phi_truth).sum())
        assert f"{percent:.2g} %" in title
        np.testing.assert_array_equal(shown[column].images[0].get_array(), there.phi_truth.T)
        np.testing.assert_array_equal(shown[8 + column].images[0].get_array(), difference.T)
    assert tuple(shown[0].images[0].get_extent()) == EXTENT
    assert shown[0].images[0].origin == "lower"
    assert shown[8].get_xlabel() == "x (m)"


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("arguments", "count"),
    [({"times": 1}, 3), ({"times": 2}, 6), ({"samples": 1}, 12), ({"with_truth": False}, 4)],
)
def test_forecasts_with_less_in_them(tmp_path, arguments, count):
    dataset = forecast(**arguments)
    assert len(panels(forecast_figure(dataset, 0))) == count
    save(forecast_figure(dataset, 0), tmp_path / "f.png")
    check_picture(tmp_path / "f.png")


def test_sensors_are_dots_where_they_stand():
    positions = Sensors(CELLS, 20, seed=1).positions([X, Y])
    with_dots = panels(forecast_figure(forecast(), 0, positions))
    (dots,) = with_dots[0].collections
    np.testing.assert_array_equal(dots.get_offsets(), positions)
    assert not panels(forecast_figure(forecast(), 0))[0].collections


@pytest.mark.slow
def test_a_forecast_that_failed_or_is_exact_can_still_be_drawn(tmp_path):
    exact = forecast(times=3)
    exact["phi_forecast"] = exact.phi_truth.copy(deep=True)
    save(forecast_figure(exact, 0), tmp_path / "exact.png")
    exact.phi_forecast[0, 1:] = np.nan
    save(forecast_figure(exact, 0), tmp_path / "failed.png")
    constant = exact.map(lambda v: v.where(False, 0.5).assign_attrs(v.attrs))
    save(forecast_figure(constant, 0), tmp_path / "constant.png")


def test_true_and_found_latent_fields_share_one_scale():
    pairs = latent()
    shown = panels(latent_figure(pairs, EXTENT))
    assert len(shown) == 6
    for row, (found, truth) in enumerate(pairs.values()):
        true_ax, found_ax, difference_ax = shown[3 * row : 3 * row + 3]
        assert truth is not None
        (pair,) = limits([true_ax, found_ax])
        assert pair == (min(found.min(), truth.min()), max(found.max(), truth.max()))
        limit = np.abs(found - truth).max()
        assert limits([difference_ax]) == {(-limit, limit)}
        np.testing.assert_array_equal(true_ax.images[0].get_array(), truth.T)
        percent = 100 * np.abs(found - truth).sum() / np.abs(truth).sum()
        assert f"{percent:.2g} %" in difference_ax.get_title()


def test_latent_fields_without_truth(tmp_path):
    assert len(panels(latent_figure(latent(with_truth=False), EXTENT))) == 2
    mixed = latent()
    mixed["velocity_y"] = (mixed["velocity_y"][0], None)
    assert len(panels(latent_figure(mixed, EXTENT))) == 4
    save(latent_figure(mixed, EXTENT), tmp_path / "f.png")
    check_picture(tmp_path / "f.png")


def test_the_error_curve_leaves_out_zeros_and_marks_the_window():
    figure = error_vs_time_figure(errors(), [0.05, 0.1])
    (ax,) = figure.axes
    assert ax.get_yscale() == "log"
    curve = ax.lines[0]
    assert len(np.asarray(curve.get_xdata())) == 20
    (window,) = ax.patches
    assert window.get_extents().transformed(ax.transData.inverted()).x1 == pytest.approx(0.1)
    legend = ax.get_legend()
    assert legend is not None
    labels = [text.get_text() for text in legend.get_texts()]
    assert labels == ["test", "training", "seen by training", "observed"]


def test_the_history_passes_over_what_was_not_logged():
    records = [*history(), {"step": 1000, "loss": 1e-7, "test_percent": None}]
    left, right = history_figure(records).axes
    assert len(np.asarray(left.lines[0].get_xdata())) == 101
    assert len(np.asarray(right.lines[0].get_xdata())) == 10
    assert left.get_yscale() == "log"
    assert len(history_figure(records, test="absent").axes) == 1


def test_every_figure_is_written_whole(tmp_path):
    sensors = Sensors(CELLS, 128, seed=1).positions([X, Y])
    save(forecast_figure(forecast(), 1, sensors), tmp_path / "forecast.png")
    save(latent_figure(latent(), EXTENT), tmp_path / "latent.png")
    save(error_vs_time_figure(errors(), [0.05]), tmp_path / "error.png")
    save(history_figure(history()), tmp_path / "history.png")
    names = {"forecast.png", "latent.png", "error.png", "history.png"}
    assert {f.name for f in tmp_path.iterdir()} == names
    for name in names:
        check_picture(tmp_path / name)
    with pytest.raises(InputError, match="there is no folder"):
        save(history_figure(history()), tmp_path / "absent" / "f.png")


def test_the_spread_of_an_ensemble_is_dotted_in_the_colour_of_its_error():
    spread = 0.1 * np.linspace(0.0, 0.2, 21)
    (ax,) = error_vs_time_figure(errors(), [0.05], spreads={"training": spread}).axes
    lines = {str(line.get_label()): line for line in ax.lines}
    dotted = lines["spread, training"]
    assert dotted.get_linestyle() == ":"
    assert dotted.get_color() == lines["training"].get_color()
    np.testing.assert_allclose(np.asarray(dotted.get_ydata()), spread[1:])
    assert "spread, test" not in lines


def test_a_validation_loss_is_drawn_with_its_smallest_value():
    records = [{"step": i, "loss": 1.0 / i, "validation_loss": 1 + (i - 3) ** 2} for i in (1, 3, 9)]
    (ax,) = history_figure(records).axes
    lines = {str(line.get_label()): line for line in ax.lines}
    np.testing.assert_allclose(np.asarray(lines["validation"].get_ydata()), [5, 1, 37])
    assert np.asarray(lines["smallest"].get_xdata()) == [3]
    (plain,) = history_figure([{"step": 1, "loss": 1.0}]).axes
    assert plain.get_ylabel() == "training loss"


def test_uneven_cells_are_drawn_where_they_are():
    x, y = np.asarray([0.5, 1.5, 4.5]), np.asarray([0.25, 0.75])
    extent = extent_of(x, y)
    np.testing.assert_allclose(extent[:4], (0.0, 6.0, 0.0, 1.0))
    field = np.asarray([[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]])
    drawn = extent.pixels(field)
    assert drawn.shape == (6, 2)
    np.testing.assert_array_equal(drawn[:, 0], [1, 3, 3, 5, 5, 5])
    even = extent_of(np.arange(4.0), y)
    assert even.pixels(field) is field
