"""Which name stands for which axis: small letters do, capitals only where nothing contradicts."""

import data_files as made
import h5py
import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

import impindiff as ipd
from impindiff.data._forms import usual_names

few = settings(
    max_examples=40,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)

HEADERS = {
    "time,x,Y,c": ({"Y", "c"}, ("x",)),
    "time,x,T": ({"T"}, ("x",)),
    "t,x,X": ({"X"}, ("x",)),
    "time,x,y,Y,Z": ({"Y", "Z"}, ("x", "y")),
    "T,X,Y,c": ({"c"}, ("x", "y")),
    "Time,X,c": ({"c"}, ("x",)),
    "TIME,X,T": ({"T"}, ("x",)),
    "time,X,Y,c,C": ({"c", "C"}, ("x", "y")),
    "time,x,c,C": ({"c", "C"}, ("x",)),
    "Times,x,Z": ({"Z"}, ("x",)),
}


@pytest.mark.parametrize(("header", "expected"), HEADERS.items(), ids=HEADERS)
def test_columns_of_tables(tmp_path, header, expected):
    count = header.count(",") + 1
    rows = "\n".join(",".join(str(10 * i + j) for j in range(count)) for i in range(2))
    found = ipd.data.read_points(made.table(tmp_path, f"{header}\n{rows}\n"))
    quantities, space = expected
    assert set(found["quantity"].to_numpy()) == quantities
    assert tuple(axis for axis in "xyz" if axis in found) == space
    for name in quantities:
        own = found["value"].to_numpy()[found["quantity"].to_numpy() == name]
        position = header.split(",").index(name)
        assert own.tolist() == [position, 10 + position]


def test_a_table_whose_time_is_a_capital_beside_small_letters_is_asked_about(tmp_path):
    path = made.table(tmp_path, "T,x,c\n0,1,2\n1,2,3\n")
    with pytest.raises(ipd.InputError, match=r"has no column 'time'; .* variables"):
        ipd.data.read_points(path)
    found = ipd.data.read_points(path, {"T": "time"})
    assert set(found["quantity"].to_numpy()) == {"c"}
    assert found["time"].to_numpy().tolist() == [0, 1]


@pytest.mark.parametrize("name", ["T", "X", "Y", "Z"])
@pytest.mark.parametrize("form", ["nc", "zarr", "npz", "mat", "h5"])
def test_capitals_on_axes_are_quantities_in_every_format(tmp_path, name, form):
    values = np.arange(12.0).reshape(3, 4)
    path = tmp_path / f"a.{form}"
    arrays = {name: values, "time": np.arange(3.0), "x": np.arange(4.0)}
    if form in ("nc", "zarr"):
        dims = {name: (("time", "x"), values)}
        ipd.data.write(xr.Dataset(dims, {"time": arrays["time"], "x": arrays["x"]}), path)
    elif form == "npz":
        np.savez(path, **arrays)
    elif form == "mat":
        savemat(path, arrays)
    else:
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                file[key] = value
    for chosen, called in ((None, name), ({name: "warmth"}, "warmth")):
        found = ipd.data.read_fields(path, chosen)
        assert list(found.data_vars) == [called]
        np.testing.assert_array_equal(found[called], values)


def test_capitals_along_themselves_are_axes(tmp_path):
    given = made.fields().isel(sample=0, drop=True).rename(time="T", x="X", y="Y")
    found = ipd.data.read_fields(made.netcdf(tmp_path, given))
    assert set(found.dims) == {"time", "x", "y"}
    given = made.fields()[["u"]].drop_vars(["x", "y"]).rename_dims(x="nx", y="ny")
    given = given.assign(X=("nx", made.X), Y=("ny", made.Y))
    found = ipd.data.read_fields(made.netcdf(tmp_path, given))
    np.testing.assert_array_equal(found["x"], made.X)
    # mass fractions of species are no axis, though they are one number each
    given = made.fields().assign(Y=("species", [0.2, 0.8])).drop_vars("y").drop_dims("y")
    given = given.assign(c=(("time", "x"), np.ones((3, 5))))
    assert "y" not in ipd.data.read_fields(made.netcdf(tmp_path, given)).variables


def test_a_series_of_temperatures_is_not_the_time(tmp_path):
    given = made.fields().assign(T=("time", [300.0, 301.0, 302.0]))
    found = ipd.data.read_fields(made.netcdf(tmp_path, given))
    assert found["T"].dims == ("time",)
    np.testing.assert_array_equal(found["time"], made.T)


@pytest.mark.parametrize("form", ["nc", "npz", "mat", "h5", "csv"])
def test_coordinates_of_any_name(tmp_path, form):
    values = np.arange(12.0).reshape(3, 4)
    t, x = np.arange(3.0), np.arange(4.0)
    path = tmp_path / f"a.{form}"
    arrays = {"u": values, "tt": t, "place": x}
    if form == "nc":
        xr.Dataset({"u": (("tt", "place"), values)}, {"tt": t, "place": x}).to_netcdf(
            path, engine="h5netcdf"
        )
    elif form == "npz":
        np.savez(path, **arrays)
    elif form == "mat":
        savemat(path, arrays)
    elif form == "csv":
        path.write_text("tt [s],place,u\n0,1,2\n1,2,3\n")
    else:
        with h5py.File(path, "w") as file:
            for key, value in arrays.items():
                file[key] = value
    axes = {"tt": "time", "place": "x"}
    found = ipd.data.read(path, axes)
    if form == "csv":
        assert found["time"].to_numpy().tolist() == [0, 1]
        assert found["time"].attrs["units"] == "s"
        found = ipd.data.read(path, axes | {"u": "speed"})
        assert set(found["quantity"].to_numpy()) == {"speed"}
    else:
        np.testing.assert_array_equal(found["u"], values)
        np.testing.assert_array_equal(found["x"], x)
        assert list(ipd.data.read(path, axes | {"u": "speed"}).data_vars) == ["speed"]
    with pytest.raises(ipd.InputError, match="'zz' is to be 'time', but the file has no 'zz'"):
        ipd.data.read(path, {"zz": "time", "place": "x"})
    with pytest.raises(ipd.InputError):
        ipd.data.read(path)


def test_the_error_says_which_side_is_the_files(tmp_path):
    path = made.netcdf(tmp_path)
    with pytest.raises(ipd.InputError, match=r"the first name is the file's") as raised:
        ipd.data.read_fields(path, {"speed": "u"})
    assert "turn it around, {'u': 'speed'}" in str(raised.value)
    path = made.table(tmp_path, "t,x,c\n0,1,2\n")
    with pytest.raises(ipd.InputError, match=r"no variable 'd'; it has \(c\)"):
        ipd.data.read(path, ["d"])
    with pytest.raises(ipd.InputError, match="whose coordinates have fixed names"):
        ipd.data.read(made.pdebench(tmp_path), {"t-coordinate": "time"})


def test_units_of_chosen_quantities(tmp_path):
    path = made.table(tmp_path, "t,x,a [g],b [K],c\n0,1,2,3,4\n")
    found = ipd.data.read(path, {"b": "heat"})
    assert found["value"].attrs["units"] == "K"
    found = ipd.data.read(path, {"b": "heat", "a": "mass"})
    assert found["value"].attrs["units_heat"] == "K"
    assert found["value"].attrs["units_mass"] == "g"


@few
@given(
    st.lists(
        st.sampled_from(["x", "y", "X", "Y", "Z", "T", "t", "time", "c", "C", "Value", "std"]),
        unique=True,
    )
)
def test_no_name_is_lost_and_the_order_does_not_matter(names):
    found = usual_names(names)
    assert list(found) == names
    assert usual_names(names[::-1]) == found
    for name, usual in found.items():
        if name in "XYZT" and usual != name:
            assert list(found.values()).count(usual) == 1
        if name in ("c", "C"):
            assert usual == name


def test_a_radius_is_the_first_axis_where_no_other_is(tmp_path):
    header = "time,r,z,T\n0,0.5,2,20\n1,0.7,3,30\n"
    found = ipd.data.read_points(made.table(tmp_path, header))
    assert found["x"].to_numpy().tolist() == [0.5, 0.7]
    assert found["y"].to_numpy().tolist() == [2, 3]
    assert set(found["quantity"].to_numpy()) == {"T"}
    found = ipd.data.read_points(made.table(tmp_path, "time,radius,T\n0,0.5,20\n"))
    assert tuple(axis for axis in "xyz" if axis in found) == ("x",)
    found = ipd.data.read_points(made.table(tmp_path, "time,x,r\n0,0.5,20\n"))
    assert set(found["quantity"].to_numpy()) == {"r"}


@pytest.mark.parametrize("form", ["nc", "npz"])
def test_fields_along_a_radius(tmp_path, form):
    values = np.arange(24.0).reshape(2, 3, 4)
    r, z, time = np.asarray([0.1, 0.3, 0.9]), np.arange(4.0), np.asarray([0.0, 1.0])
    path = tmp_path / f"tube.{form}"
    if form == "nc":
        coordinates = {"time": time, "r": r, "z": z}
        xr.Dataset({"T": (("time", "r", "z"), values)}, coordinates).to_netcdf(path)
    else:
        np.savez(path, time=time, r=r, z=z, T=values)
    found = ipd.data.read_fields(path)
    assert found["T"].dims == ("time", "x", "y")
    np.testing.assert_array_equal(found["x"], r)
    assert form != "nc" or (found["x"].attrs["long_name"], found["y"].attrs["long_name"]) == (
        "r",
        "z",
    )


def test_r_may_be_a_quantity(tmp_path):
    path = tmp_path / "line.nc"
    values = np.arange(6.0).reshape(2, 3)
    xr.Dataset(
        {"r": (("time", "z"), values)}, {"time": [0.0, 1.0], "z": [0.0, 1.0, 2.0]}
    ).to_netcdf(path)
    found = ipd.data.read_fields(path)
    assert found["r"].dims == ("time", "z")
