import numpy as np
import pytest
import xarray as xr

from impindiff.data import FORECAST_SUFFIX, cell_volumes, forecast_dataset
from impindiff.experiment._metrics import latent_errors
from impindiff.grid import Grid, Neumann
from impindiff.grid.geometry import volumes_around
from impindiff.observations import relative_l1_percent


def test_the_forecast_layout_survives_a_file(tmp_path):
    rng = np.random.default_rng(0)
    forecast, truth = rng.random((2, 2, 3, 4, 5))
    coordinates = {"x": np.arange(4.0), "y": np.arange(5.0)}
    dataset = forecast_dataset(
        forecast, np.arange(3.0), coordinates, np.array([False, True]), truth, attrs={"title": "t"}
    )
    dataset.to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as again:
        np.testing.assert_array_equal(again.phi_forecast, forecast)
        np.testing.assert_array_equal(again.phi_truth, truth)
        assert again.test.dtype == bool
        assert again.test.values.tolist() == [False, True]
        assert again.phi_truth.dims == ("sample", "time", "x", "y")
        assert again.attrs["title"] == "t"


def test_truth_is_optional_and_names_are_free():
    dataset = forecast_dataset(
        np.ones((1, 2, 4)), np.arange(2.0), {"z": np.arange(4.0)}, np.array([True]), variable="w"
    )
    assert list(dataset.data_vars) == ["w" + FORECAST_SUFFIX]


def test_relative_l1_is_per_field():
    truth = np.array([[1.0, 2.0], [-10.0, 10.0]])
    found = truth + np.array([[0.3, 0.0], [1.0, -1.0]])
    np.testing.assert_allclose(relative_l1_percent(found, truth, space_axes=1), [10.0, 10.0])
    np.testing.assert_allclose(relative_l1_percent(found, truth, space_axes=2), 10.0)
    assert not np.isfinite(relative_l1_percent(found, 0 * truth, space_axes=2))


def test_errors_are_weighted_by_the_volumes_of_cells():
    truth, found = np.array([[1.0, 2.0, 4.0]]), np.array([[1.1, 2.0, 5.0]])
    percent = relative_l1_percent(found, truth, space_axes=1, volumes=np.array([1.0, 2.0, 0.0]))
    np.testing.assert_allclose(percent, 100 * 0.1 / 5.0)
    truth[0, 0] = np.nan
    percent = relative_l1_percent(found, truth, space_axes=1, volumes=np.array([1.0, 2.0, 1.0]))
    np.testing.assert_allclose(percent, 100 * 1.0 / 8.0)


def test_volumes_are_those_around_the_places_of_a_forecast():
    def around(grid: Grid, places) -> np.ndarray:
        found = volumes_around(grid, places)
        assert found is not None
        return found

    walls = (Neumann(), Neumann())
    box = Grid((0, 0), (1, 2), (4, 6), walls)
    assert volumes_around(box, [box.axis_centers(0), box.axis_centers(1)]) is None
    tube = Grid((0, 0), (1, 2), (4, 6), walls, "cylindrical")
    centers = [tube.axis_centers(0), tube.axis_centers(1)]
    expected = np.broadcast_to(np.array([[1.0], [3.0], [5.0], [7.0]]) / 7, (4, 6))
    np.testing.assert_allclose(around(tube, centers), expected)
    # read from a file in single precision
    np.testing.assert_allclose(
        around(tube, [np.float32(at).astype(float) for at in centers]), expected
    )
    # data on other places: divided midway
    other = np.array([0.3, 0.7, 1.3])
    found = around(Grid((0,), (2,), (8,), (Neumann(),), "spherical"), [other])
    edges = np.array([0.1, 0.5, 1.0, 1.6])
    np.testing.assert_allclose(found, np.diff(edges**3) / np.diff(edges**3).max())
    part = Grid((0, 0), (1, 1), (4, 4), walls, domain=lambda x, y: x - 0.6)
    volumes = around(part, [part.axis_centers(0)] * 2)
    np.testing.assert_allclose(volumes[:, 0], [1, 1, 0.4, 0], atol=1e-12)


def test_the_volumes_of_cells_are_in_the_file(tmp_path):
    volumes = np.array([0.25, 0.5, 1.0])
    dataset = forecast_dataset(
        np.ones((1, 2, 3)), np.arange(2.0), {"x": np.arange(3.0)}, np.array([True]), volumes=volumes
    )
    dataset.to_netcdf(tmp_path / "f.nc", engine="h5netcdf")
    with xr.open_dataset(tmp_path / "f.nc", engine="h5netcdf") as again:
        np.testing.assert_array_equal(cell_volumes(again["phi_forecast"]), volumes)
        assert cell_volumes(again.drop_vars("cell_volume")) is None


def test_a_latent_field_on_other_places_than_the_forecasts_is_not_weighted():
    truth, found = np.array([1.0, 3.0]), np.array([1.1, 3.0])
    for volumes, expected in ((np.array([1.0, 0.5]), 4.0), (np.ones(5), 2.5)):
        errors = latent_errors({"D": found}, {"D": truth}, np.zeros(1), 1, volumes)
        assert errors is not None
        assert errors.relative_l1_percent["D"] == pytest.approx(expected)
