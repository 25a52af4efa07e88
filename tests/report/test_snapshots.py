import numpy as np
import pytest
import xarray as xr
from matplotlib.contour import ContourSet
from matplotlib.figure import Figure
from matplotlib.image import imread

from impindiff.data import forecast_dataset
from impindiff.errors import InputError
from impindiff.report import samples_figure, save, snapshots_figure

TIMES = np.linspace(0.0, 1.5, 7)
SHOWN = [0, 2, 3, 4, 6]  # linspace(0, 6, 5), rounded to even


def state(cells: tuple[int, ...], shift: float = 0.0, times: np.ndarray = TIMES) -> xr.Dataset:
    names = ("x", "y", "z")[: len(cells)]
    axes = {name: (np.arange(n) + 0.5) / n for name, n in zip(names, cells, strict=True)}
    # The axes are told apart: a transposed map would be another.
    at = sum((k + 1) * x for k, x in enumerate(np.meshgrid(*axes.values(), indexing="ij")))
    t = times.reshape(-1, *[1] * len(cells))
    fields = {
        "porosity": (0.6 - 0.1 * t * at + shift, {"long_name": "porosity"}),
        "gas": (np.exp(-t * at) - shift, {"long_name": "gas", "units": "mol/m3"}),
    }
    return xr.Dataset(
        {name: (("time", *names), values, attrs) for name, (values, attrs) in fields.items()},
        {
            "time": ("time", times, {"units": "h"}),
            **{name: (name, x, {"units": "mm"}) for name, x in axes.items()},
        },
    )


def panels(figure: Figure) -> list:
    return [ax for ax in figure.axes if ax.get_label() != "<colorbar>"]


def test_profiles_are_coloured_by_time_with_the_truth_over_them_and_the_difference_below():
    fields, truth = state((20,), 0.01), state((20,))
    figure = snapshots_figure(fields, truth)
    porosity, gas, below, _ = figure.axes
    curves = [line for line in porosity.lines if str(line.get_label()).startswith("t = ")]
    assert [c.get_label() for c in curves] == [f"t = {t:g} h" for t in TIMES[SHOWN]]
    assert len({tuple(c.get_color()) for c in curves}) == 5
    for curve, index in zip(curves, SHOWN, strict=True):
        np.testing.assert_array_equal(curve.get_ydata(), fields.porosity[index])
    np.testing.assert_array_equal(porosity.lines[1].get_ydata(), truth.porosity[0])
    np.testing.assert_allclose(np.asarray(below.lines[0].get_ydata()), 0.01)
    assert (gas.get_ylabel(), below.get_xlabel()) == ("gas (mol/m3)", "x (mm)")
    (legend,) = figure.legends
    assert [t.get_text() for t in legend.get_texts()].count("truth") == 1


def test_profiles_mark_what_was_measured_at_their_times():
    rows = np.asarray([[TIMES[2], 0.3, 0.5], [TIMES[2] * 1.1, 0.4, 0.6], [TIMES[6], 0.7, 0.2]])
    porosity, gas = snapshots_figure(state((20,)), points={"porosity": rows}).axes
    marks = [line for line in porosity.lines if line.get_marker() == "o"]
    found = np.concatenate([np.asarray(line.get_xydata()) for line in marks])
    np.testing.assert_allclose(found, rows[[0, 2], 1:])
    curves = {line.get_label(): line.get_color() for line in porosity.lines}
    assert tuple(marks[1].get_color()) == tuple(curves[f"t = {TIMES[2]:g} h"])
    assert not any(line.get_marker() == "o" for line in gas.lines)


def test_maps_have_a_row_for_each_field_and_a_column_for_each_time():
    fields = state((6, 4))
    figure = snapshots_figure(fields)
    rows = np.reshape(panels(figure), (2, 5))
    for line, name in zip(rows, ("porosity", "gas"), strict=True):
        for ax, index in zip(line, SHOWN, strict=True):
            np.testing.assert_array_equal(ax.images[0].get_array(), fields[name][index].T)
            assert ax.images[0].get_clim() == (fields[name][SHOWN].min(), fields[name][SHOWN].max())
    assert rows[0, 0].get_title(loc="left") == "porosity\nt = 0 h"
    assert rows[0, 4].get_title(loc="left") == "t = 1.5 h"
    assert rows[1, 0].get_title(loc="left") == "gas (mol/m3)"
    assert (rows[1, 0].get_xlabel(), rows[1, 0].get_ylabel()) == ("x (mm)", "y (mm)")
    np.testing.assert_allclose(rows[0, 0].images[0].get_extent(), (0, 1, 0, 1), atol=1e-12)


def test_model_truth_and_difference_alternate():
    fields, truth = state((6, 4), 0.01), state((6, 4))
    rows = np.reshape(panels(snapshots_figure(fields, truth)), (6, 5))
    titles = [ax.get_title(loc="left").split("\n")[0] for ax in rows[:, 0]]
    roles = ("model", "truth", "model - truth")
    assert titles == [f"{q}, {r}" for q in ("porosity", "gas (mol/m3)") for r in roles]
    images = [ax.images[0] for ax in rows[:, 3]]
    for i, name in enumerate(("porosity", "gas")):
        own = images[3 * i : 3 * i + 3]
        expected = (fields[name][4], truth[name][4], fields[name][4] - truth[name][4])
        for image, values in zip(own, expected, strict=True):
            np.testing.assert_array_equal(image.get_array(), values.T)
        assert own[0].get_clim() == own[1].get_clim()
        low, high = own[2].get_clim()
        assert low == -high
        np.testing.assert_allclose(high, 0.01)


def test_of_three_dimensions_the_middle_slice_is_shown_and_said():
    fields = state((6, 4, 5))
    figure = snapshots_figure(fields)
    np.testing.assert_array_equal(
        panels(figure)[9].images[0].get_array(), fields.gas[-1, :, :, 2].T
    )
    assert figure.get_suptitle() == "slice at z = 0.5 mm"


def test_a_front_is_drawn_where_it_is_and_stated():
    figure = snapshots_figure(state((12, 8)), levels={"porosity": 0.5})
    lines = [[c for c in ax.collections if isinstance(c, ContourSet)] for ax in panels(figure)]
    # At the start the porosity is 0.6 everywhere.
    assert [len(drawn) for drawn in lines] == [0, 1, 1, 1, 1, 0, 0, 0, 0, 0]
    (front,) = lines[4]
    x, y = np.asarray(front.get_paths()[0].vertices).T
    np.testing.assert_allclose(0.6 - 0.15 * (x + 2 * y), 0.5, atol=1e-12)
    assert figure.get_suptitle() == "line: porosity = 0.5"
    profile = snapshots_figure(state((12,)), levels={"gas": 0.3}).axes[1]
    np.testing.assert_array_equal(profile.lines[-1].get_ydata(), 0.3)


@pytest.mark.few(1)
@pytest.mark.parametrize("cells", [(9,), (6, 4), (6, 4, 3)])
def test_every_dimension_is_written_even_if_the_model_failed(cells, tmp_path):
    fields, truth = (state(cells, s, TIMES[::3])[["porosity"]] for s in (0.01, 0.0))
    fields["porosity"][2:] = np.nan
    save(snapshots_figure(fields, truth, {"porosity": 0.5}), tmp_path / "f.png")
    pixels = imread(tmp_path / "f.png")
    assert min(pixels.shape[:2]) > 300
    assert pixels[..., :3].std() > 0.05
    few = state(cells, times=TIMES[:2])
    assert len(panels(snapshots_figure(few))) == (2 if len(cells) == 1 else 4)


def test_what_does_not_fit_is_refused():
    fields = state((6, 4))
    with pytest.raises(InputError, match=r"'gas' is on \('time', 'x'\)"):
        snapshots_figure(fields.assign(gas=fields.gas[:, :, 0]))
    with pytest.raises(InputError, match=r"'porosity' is on \('x', 'y'\)"):
        snapshots_figure(fields.isel(time=0))
    with pytest.raises(InputError, match=r"truth of 'porosity' is \(7, 6, 8\); .* \(7, 6, 4\)"):
        snapshots_figure(fields, state((6, 8)))
    with pytest.raises(InputError, match="truth of 'gas' is missing"):
        snapshots_figure(fields, fields[["porosity"]])
    with pytest.raises(InputError, match="no variable 'heat' for a level"):
        snapshots_figure(fields, levels={"heat": 1.0})
    with pytest.raises(InputError, match="no variable to draw"):
        snapshots_figure(xr.Dataset())


def test_every_sample_has_a_panel_with_what_was_measured_in_it():
    rng = np.random.default_rng(0)
    found, measured = rng.random((2, 4, 3, 8))
    measured[:, 1, 2] = np.nan
    x, times = (np.arange(8) + 0.5) / 8, np.array([0.0, 12.0, 24.0])
    forecast = forecast_dataset(
        found,
        times,
        {"x": x},
        np.zeros(4, bool),
        truth=measured,
        variable="c",
        variable_attrs={"c": {"units": "g"}, "time": {"units": "h"}},
    )
    figure = samples_figure(forecast, "c", ["a", "b", "c", "d"])
    drawn = [ax for ax in figure.axes if ax.get_title()]
    assert [ax.get_title() for ax in drawn] == ["a", "b", "c", "d"]
    assert drawn[0].get_ylabel() == "c (g)"
    for sample, ax in enumerate(drawn):
        curves = [line for line in ax.lines if str(line.get_label()).startswith("t = ")]
        dots = [line for line in ax.lines if line.get_marker() == "o"][:3]
        assert [curve.get_label() for curve in curves] == ["t = 0 h", "t = 12 h", "t = 24 h"]
        np.testing.assert_array_equal([c.get_ydata() for c in curves], found[sample])
        np.testing.assert_array_equal([dot.get_ydata() for dot in dots], measured[sample])
        colours = [tuple(line.get_color()) for line in (*curves, *dots)]
        assert colours[:3] == colours[3:]
        assert len(set(colours)) == 3
    default = samples_figure(forecast.isel(sample=[2]), "c")
    assert default.axes[0].get_title() == "sample 0"
