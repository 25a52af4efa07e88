"""Planes through fields of three dimensions, and the figures that show them."""

import numpy as np
import pytest
import xarray as xr

from impindiff.data import forecast_dataset
from impindiff.pages._words import caption, figure_order
from impindiff.report import forecast_figure, latent_figure
from impindiff.report.slices import axis_labels, planes_of, space_of

CELLS = {"x": 5, "y": 4, "z": 3}


def field(number: int = 3) -> xr.DataArray:
    sizes = dict(list(CELLS.items())[:number])
    values = np.arange(float(np.prod(list(sizes.values())))).reshape(tuple(sizes.values()))
    coordinates = {
        name: (name, (np.arange(n) + 0.5) / n, {"units": "m"}) for name, n in sizes.items()
    }
    return xr.DataArray(values, coordinates, tuple(sizes))


def test_of_three_dimensions_the_middle_plane_across_each_of_two_the_field():
    space = space_of(field())
    x, y, z = planes_of(space)
    assert [p.suffix for p in (x, y, z)] == ["_across_x", "_across_y", "_across_z"]
    values = field().to_numpy()
    np.testing.assert_array_equal(x.of(values), values[2])
    np.testing.assert_array_equal(y.of(values), values[:, 2])
    np.testing.assert_array_equal(z.of(values), values[:, :, 1])
    assert y.where == "slice at y = 0.625 m"
    assert axis_labels(y, space) == ("x (m)", "z (m)")
    cut = y.cut(xr.Dataset({"phi": field()}))
    np.testing.assert_array_equal(cut["phi"], values[:, 2])
    (whole,) = planes_of(space_of(field(2)))
    assert (whole.suffix, whole.where) == ("", "")
    plane = field(2).to_numpy()
    np.testing.assert_array_equal(whole.of(plane), plane)


def test_sensors_are_shown_in_their_plane_only():
    centres = [(np.arange(n) + 0.5) / n for n in CELLS.values()]
    points = np.asarray([[0.1, 0.625, 0.5], [0.3, 0.125, 0.5], [0.5, 0.625, 0.83]])
    _, y, _ = planes_of(space_of(field()))
    np.testing.assert_array_equal(y.nearby(points, centres), points[[0, 2]][:, [0, 2]])
    (whole,) = planes_of(space_of(field(2)))
    np.testing.assert_array_equal(whole.nearby(points[:, :2], centres[:2]), points[:, :2])


@pytest.mark.parametrize("across", range(3))
def test_figures_say_which_plane_and_label_its_axes(across):
    values = np.stack([field().to_numpy()] * 2)[None]
    times = np.asarray([0.0, 1.0])
    coordinates = {name: of.to_numpy() for name, of in space_of(field()).items()}
    values, test = np.concatenate([values] * 2), np.array([True, False])
    forecast = forecast_dataset(values, times, coordinates, test, values + 1.0)
    plane = planes_of(space_of(field()))[across]
    figure = forecast_figure(plane.cut(forecast), 0, where=plane.where)
    assert figure.get_suptitle() == f"phi, sample 0 (test), {plane.where}"
    first, second = [name for name in "xyz" if name != plane.across]
    only = forecast_figure(plane.cut(forecast.isel(sample=[0])), 0, where=plane.where)
    assert only.get_suptitle() == f"phi, {plane.where}"
    assert figure.axes[0].get_ylabel() == f"cell centre along {second}"
    assert f"cell centre along {first}" in {ax.get_xlabel() for ax in figure.axes}
    found = plane.of(field().to_numpy())
    latent = latent_figure(
        {"v": (found, found)}, (0.0, 1.0, 0.0, 1.0), (first, second), plane.where
    )
    assert latent.get_suptitle() == plane.where


def test_the_page_says_what_a_plane_shows_and_keeps_the_order():
    labels = {"velocity.png": "The velocity, inferred and true"}
    assert caption("velocity_across_z", labels) == (
        "The velocity, inferred and true (the middle plane across z)."
    )
    names = ["history", "velocity_across_z", "velocity_across_x", "forecast_test_across_x"]
    assert sorted(names, key=lambda name: figure_order(name, labels)) == [
        names[3],
        names[2],
        names[1],
        names[0],
    ]
