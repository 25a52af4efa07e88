"""Every format of fields reads to the same dataset, whole and in part, and leaves no file open."""

import data_files as made
import numpy as np
import pytest
import xarray as xr

import impindiff as ipd

FORMATS = {
    "netcdf": (made.netcdf, "u", "v"),
    "netcdf3": (made.netcdf3, "u", "v"),
    "zarr": (made.zarr, "u", "v"),
    "pdebench": (made.pdebench, "u", "v"),
    "pdebench_groups": (made.pdebench_groups, "u0", "u1"),
    "plain_hdf5": (made.plain_hdf5, "u", "v"),
    "the_well": (made.the_well, "velocity_x", "velocity_y"),
    "mat": (made.mat, "u", "v"),
    "mat73": (made.mat73, "u", "v"),
    "npz": (made.npz, "u", "v"),
}
every_format = pytest.mark.parametrize(("make", "u", "v"), FORMATS.values(), ids=FORMATS)


@every_format
def test_all_of_a_file(tmp_path, make, u, v):
    found = ipd.data.read_fields(make(tmp_path))
    assert not ipd.data.is_points(found)
    np.testing.assert_array_equal(found["time"], made.T)
    np.testing.assert_array_equal(found["x"], made.X)
    np.testing.assert_array_equal(found["y"], made.Y)
    for name, values in ((u, made.U), (v, made.V)):
        assert found[name].dims == ("sample", "time", "x", "y")
        assert found[name].dtype == np.float64
        np.testing.assert_allclose(found[name], values, rtol=1e-7)


@every_format
def test_a_selection(tmp_path, make, u, v):
    path = make(tmp_path)
    found = ipd.data.read_fields(path, {v: "w"}, samples=[1, 0], times=(0.1, 0.3))
    assert list(found.data_vars) == ["w"]
    np.testing.assert_array_equal(found["time"], made.T[1:])
    np.testing.assert_allclose(found["w"], made.V[::-1, 1:], rtol=1e-7)
    if path.is_file():
        path.unlink()  # nothing holds it: all was read
    assert float(found["w"].sum()) == pytest.approx(float(made.V[:, 1:].sum()), rel=1e-5)


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_fields_that_are_written_read_back_equal(tmp_path, suffix):
    given = made.fields()
    given["u"][0, 1, 2, 3] = np.nan
    for _ in range(2):  # over an older one as well
        ipd.data.write(given, tmp_path / f"out{suffix}")
    xr.testing.assert_identical(ipd.data.read(tmp_path / f"out{suffix}"), given)
    assert [p.name for p in tmp_path.iterdir()] == [f"out{suffix}"]


@pytest.mark.parametrize("suffix", [".nc", ".zarr", ".csv"])
@pytest.mark.parametrize(
    "text",
    [
        made.CSV,
        "t;x;dye [g];heat [K];heat_standard_deviation;sample\n0;1;2.5;;;0\n.1;1;NaN;7;.2;3\n",
        "time,x,value\n2024-05-01T00:00:00Z,1,2\n2024-05-01 00:00:01.5,1,3\n",
    ],
)
def test_points_that_are_written_read_back_equal(tmp_path, text, suffix):
    given = ipd.data.read_points(made.table(tmp_path, text))
    assert ipd.data.is_points(given)
    ipd.data.write(given, tmp_path / f"out{suffix}")
    found = ipd.data.read(tmp_path / f"out{suffix}")
    if suffix == ".csv":
        del given.attrs["dropped_rows"], found.attrs["dropped_rows"]
        given["time"].attrs.pop("start", None)
    xr.testing.assert_identical(found, given)
