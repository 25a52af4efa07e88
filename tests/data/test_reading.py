"""What read_fields makes of units, dates, gaps, names and large files."""

import tracemalloc

import data_files as made
import h5py
import numpy as np
import pytest
import xarray as xr

import impindiff as ipd


def test_only_what_is_asked_for_is_read_of_a_large_file(tmp_path):
    """200 GB that were never written: a file of few bytes, whose chunks read as zeros."""
    path, shape = tmp_path / "large.hdf5", (2000, 200, 512, 256)
    with h5py.File(path, "w") as file:
        file.create_dataset("tensor", shape, "f4", chunks=(1, 1, 512, 256))
        for name, size in (("t", 200), ("x", 512), ("y", 256)):
            file[f"{name}-coordinate"] = np.arange(float(size))
    assert 4 * np.prod(shape) > 200e9
    tracemalloc.start()
    found = ipd.data.read_fields(path, {"tensor": "u"}, samples=[1999, 3], times=(100.0, 102.0))
    description = ipd.data.inspect(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert dict(found.sizes) == {"sample": 2, "time": 3, "x": 512, "y": 256}
    assert peak < 10 * found.nbytes
    assert description.variables["tensor"].looked_at < 1e-3 * description.variables["tensor"].size


def test_groups_are_read_by_sample(tmp_path):
    """A sample that is not asked for may even be broken."""
    path = made.pdebench_groups(tmp_path)
    with h5py.File(path, "a") as file:
        del file["0000/data"]
        file["0000/data"] = np.ones((3, 5, 4, 2), np.float32)
        del file["0001/data"]
        file["0001/data"] = np.ones((1, 1))
    assert ipd.data.read_fields(path, samples=[0])["u0"].shape == (1, 3, 5, 4)


def test_units(tmp_path):
    given = made.fields()
    given["v"].attrs["units"] = "km h-1"
    given["u"].attrs["units"] = "degC"
    path = made.netcdf(tmp_path, given)
    wanted = {"v": "m/s", "u": "K", "time": "ms", "y": "m"}
    found = ipd.data.read_fields(path, units=wanted, times=(100.0, 300.0))
    np.testing.assert_allclose(found["v"], made.V[:, 1:] / 3.6)
    np.testing.assert_allclose(found["u"], made.U[:, 1:] + 273.15)
    np.testing.assert_allclose(found["time"], [100, 250])
    assert {name: found[name].attrs["units"] for name in wanted} == wanted
    assert found["x"].attrs["units"] == "m"


@pytest.mark.parametrize(
    ("times", "start"),
    [
        (("time", [1.0, 1.5, 3.0], {"units": "hours since 2024-05-01"}), "3600 s after 2024-05-01"),
        (np.array(["2024-05-01T01", "2024-05-01T01:30", "2024-05-01T03"], "M8[ns]"), "2024-05-01"),
    ],
)
def test_dates_become_seconds_since_the_first(tmp_path, times, start):
    found = ipd.data.read_fields(made.netcdf(tmp_path, made.fields().assign_coords(time=times)))
    np.testing.assert_array_equal(found["time"], [0, 1800, 7200])
    assert found["time"].attrs["units"] == "s"
    assert start in found["time"].attrs["start"]


def test_gaps_are_nan_and_counted(tmp_path):
    given = made.fields().astype("float32")
    given["u"][0, 1] = np.nan
    given["u"].encoding["_FillValue"] = np.float32(-999)
    given["v"][:] = np.where(made.V > 0, given["v"], -1)
    given["v"].attrs["missing_value"] = np.float32(-1)
    path = made.netcdf(tmp_path, given)
    found = ipd.data.read_fields(path)
    assert int(found["u"].isnull().sum()) == 20
    assert int(found["v"].isnull().sum()) == (made.V <= 0).sum()
    described = ipd.data.inspect(path).variables
    assert (described["u"].missing, described["u"].size) == (20, 120)
    assert described["v"].lowest == pytest.approx(made.V[made.V > 0].min())


def test_names_of_other_makers(tmp_path):
    given = made.fields().rename(time="T", sample="trajectory", x="X", u="speed")
    given = (
        given.drop_vars("trajectory").drop_vars("y").rename_dims(y="ny").assign(y=("ny", made.Y))
    )
    found = ipd.data.read_fields(made.netcdf(tmp_path, given.transpose("ny", ...)))
    assert found["speed"].dims == ("sample", "time", "x", "y")
    np.testing.assert_array_equal(found["speed"], made.U)
    np.testing.assert_array_equal(found["sample"], [0, 1])


def test_what_does_not_fit_is_left_out_and_told(tmp_path):
    given = made.fields().assign(
        layers=(("time", "layer"), np.ones((3, 7))), names=("x", list("abcde"))
    )
    path = made.netcdf(tmp_path, given)
    assert list(ipd.data.read_fields(path).data_vars) == ["u", "v"]
    problems = ipd.data.inspect(path).problems
    assert "'layers' is left out" in problems[0]
    assert "isel(layer=0)" in problems[0]
    assert "'names' is left out" in problems[1]
    with pytest.raises(ipd.InputError, match="'layers' has dimensions"):
        ipd.data.read_fields(path, ["layers"])


def test_maps_and_conditions_lack_dimensions(tmp_path):
    found = ipd.data.read_fields(made.the_well(tmp_path))
    assert found["density"].dims == ("x", "y")
    assert found["profile"].dims == ("sample", "time", "x")
    np.testing.assert_array_equal(found["stress_yy"], -made.U)
    assert found.attrs["nu"] == 0.1
    assert found.attrs["boundary_x_wall"] == "wall"
    found = ipd.data.read_fields(made.npz(tmp_path, u=made.U[0, 0], viscosity=np.ones(2)))
    assert found["u"].dims == ("x", "y")
    assert found["viscosity"].dims == ("sample",)


def test_matlab_takes_axes_in_any_order(tmp_path):
    found = ipd.data.read_fields(made.mat(tmp_path, u=made.U[0].transpose(1, 2, 0), v=None))
    assert found["u"].dims == ("time", "x", "y")
    np.testing.assert_array_equal(found["u"], made.U[0])
    assert found.attrs["nu"] == 0.1


def test_darcy_flow_of_pdebench_has_one_time(tmp_path):
    changes = {"u": made.U[:, :1], "v": None, "nu": made.V[:, 0], "t-coordinate": None}
    found = ipd.data.read_fields(made.pdebench(tmp_path, **changes))
    np.testing.assert_array_equal(found["time"], [0.0])
    assert found["nu"].dims == ("sample", "x", "y")


def test_points(tmp_path):
    found = ipd.data.read_points(made.table(tmp_path))
    assert found["time"].to_numpy().tolist() == [0, 1]
    assert found["value"].to_numpy().tolist() == [1.5, 2.5]
    assert found["quantity"].to_numpy().tolist() == ["dye", "dye"]
    np.testing.assert_array_equal(found["standard_deviation"], [0.1, np.nan])
    assert found["sample"].to_numpy().tolist() == [0, 0]
    assert found["value"].attrs["units"] == "mg/l"
    assert found["time"].attrs["units"] == "s"
    assert found.attrs["dropped_rows"] == 1


def test_points_of_a_netcdf_file_with_a_variable_a_quantity(tmp_path):
    given = xr.Dataset(
        {
            "time": ("obs", [1, 2, 3], {"units": "minutes since 2024-05-01"}),
            "x": ("obs", [0.1, 0.2, 0.3]),
            "dye": ("obs", [1.0, np.nan, 3.0], {"units": "mg/l"}),
            "heat": ("obs", [5, 6, 7]),
        }
    )
    found = ipd.data.read(made.netcdf(tmp_path, given))
    assert ipd.data.is_points(found)
    assert found["quantity"].to_numpy().tolist() == ["dye"] * 2 + ["heat"] * 3
    assert found["value"].to_numpy().tolist() == [1, 3, 5, 6, 7]
    assert found["time"].to_numpy().tolist() == [0, 120, 0, 60, 120]
    assert found["value"].attrs["units_dye"] == "mg/l"


def test_one_quantity_may_have_the_only_standard_deviation(tmp_path):
    text = "time [s],x [m],c [mg/L],standard_deviation\n0,1,2,0.1\n1,1,3,\n"
    found = ipd.data.read_points(made.table(tmp_path, text))
    assert found["quantity"].to_numpy().tolist() == ["c", "c"]
    np.testing.assert_array_equal(found["standard_deviation"], [0.1, np.nan])
    assert found["value"].attrs["units"] == "mg/L"


def test_points_of_arrays(tmp_path):
    np.savez(tmp_path / "n.npz", t=[0, 1], x=[2.0, 3.0], value=[4.0, 5.0], sample=[0, 1])
    found = ipd.data.read(tmp_path / "n.npz")
    assert found["value"].to_numpy().tolist() == [4, 5]
    assert found["sample"].to_numpy().tolist() == [0, 1]


def test_inspect_tells_what_may_be_wrong(tmp_path):
    given = made.fields().isel(time=[0])
    given = given.assign_coords(x=made.X**2, y=made.Y[::-1])
    given["u"][:] = 2.0
    given["v"][0, 0, 0, 0] = np.inf
    found = ipd.data.inspect(made.netcdf(tmp_path, given))
    for part in ("'x' is not evenly spaced", "'y' must increase", "one time", "infinite", "is 2 "):
        assert any(part in problem for problem in found.problems), part
    assert (found.format, found.kind) == ("NetCDF-4", "fields")
    assert found.coordinates["x"].spacing is None
    text = made.CSV + "1,0.5,1,dye,2.75,\n"
    found = ipd.data.inspect(made.table(tmp_path, text))
    for part in ("1 row(s) without a value", "1 observation(s) repeat", "and others do not"):
        assert any(part in problem for problem in found.problems), part


def test_inspect_counts_places_and_times_of_points(tmp_path):
    text = "time,x,y,a,b,a_standard_deviation\n"
    text += "".join(f"{t},{x},{x * x},3,4,{0.1 * t}\n" for t in (1, 2, 3) for x in (-1, 1, 2))
    found = ipd.data.inspect(made.table(tmp_path, text))
    assert found.dimensions == {"observation": 18, "sample": 1}
    assert found.distinct == {"positions": 3, "times": 3}
    assert found.variables["a"].standard_deviation == pytest.approx((0.1, 0.3))
    assert found.variables["b"].standard_deviation is None
