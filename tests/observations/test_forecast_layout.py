import numpy as np
import xarray as xr

from impindiff.data import FORECAST_SUFFIX, forecast_dataset
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
