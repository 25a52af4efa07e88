"""What is wrong with a file is told in one line: which file, what was found, what to do."""

import errno
import re
from pathlib import Path
from typing import Any

import data_files as made
import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr

import impindiff as ipd


def refused(path, *parts, call=None):
    with pytest.raises(ipd.InputError) as raised:
        (call or ipd.data.read)(path)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(f"{path}: ")
    assert message.count(str(path)) == 1, message
    for part in parts:
        assert part in message, message


def written(tmp_path, dataset):
    return made.netcdf(tmp_path, dataset)


def test_what_is_no_file(tmp_path):
    refused(tmp_path / "none.nc", "there is no such file")
    refused(tmp_path, "is a folder and no Zarr store", "zarr.json")
    (tmp_path / "empty.nc").touch()
    refused(tmp_path / "empty.nc", "is empty (0 bytes)")
    (tmp_path / "list.xyz").write_text("1 2 3")
    refused(tmp_path / "list.xyz", "the suffix '.xyz' is not known", ".zarr")
    (tmp_path / "text.nc").write_text("not NetCDF at all")
    refused(tmp_path / "text.nc", "cannot be read as NetCDF", "cut short")


def test_a_suffix_that_is_not_the_content(tmp_path):
    made.plain_hdf5(tmp_path).rename(tmp_path / "a.csv")
    refused(tmp_path / "a.csv", "suffix '.csv', but its content is HDF5")
    made.npz(tmp_path).rename(tmp_path / "a.nc")
    refused(tmp_path / "a.nc", "suffix '.nc', but its content is NPZ", ".npz")


MAKERS = [made.netcdf, made.netcdf3, made.pdebench, made.the_well, made.mat, made.mat73, made.npz]


@pytest.mark.parametrize("make", MAKERS, ids=lambda make: make.__name__)
@pytest.mark.parametrize("part", [0.3, 0.7])
def test_files_that_are_cut_short(tmp_path, make, part):
    path = make(tmp_path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(part * len(whole))])
    refused(path, "cannot be read as", call=ipd.data.read_fields)


def test_a_zarr_store_with_a_broken_chunk(tmp_path):
    path = made.zarr(tmp_path)
    chunk = next(p for p in (path / "u").iterdir() if not p.name.startswith("."))
    chunk.write_bytes(chunk.read_bytes()[:20])
    refused(path, "values of 'u'")


def test_dimensions_and_coordinates(tmp_path):
    given = made.fields()
    refused(written(tmp_path, given.drop_vars("x")), "dimension 'x' has no coordinate", "cell size")
    refused(written(tmp_path, given.drop_vars("time")), "dimension 'time'", "times are not known")
    refused(written(tmp_path, given.isel(time=0, drop=True)), "has no dimension 'time'")
    refused(written(tmp_path, given.rename(x="a", y="b")), "'a'", "rename")
    backward = given.isel(time=[0, 2, 1])
    refused(written(tmp_path, backward), "'time' must increase", "0.25 at index 1", "index 2")
    without = given.assign_coords(x=np.append(made.X[:-1], np.nan))
    refused(written(tmp_path, without), "coordinate 'x' is nan at index 4")
    curved = given.drop_vars("x").assign(x=(("x", "y"), np.ones((5, 4))))
    refused(written(tmp_path, curved), "coordinate 'x' has dimensions (x, y)", "straight")


@pytest.mark.filterwarnings("ignore:Duplicate dimension names")
def test_a_dimension_given_twice(tmp_path):
    path = tmp_path / "f.nc"
    with h5netcdf.File(path, "w") as file:
        file.dimensions = {"time": 3, "x": 5}
        file.create_variable("time", ("time",), data=made.T)
        file.create_variable("x", ("x",), data=made.X)
        file.create_variable("u", ("time", "x", "x"), data=np.ones((3, 5, 5)))
    refused(path, "'u' has dimensions (time, x, x), one of them twice")


def test_variables_and_selections(tmp_path):
    path = made.netcdf(tmp_path)
    for options, parts in (
        ({"variables": ["w"]}, ["has no variable 'w'", "(u, v)"]),
        ({"variables": {"u": "a", "v": "a"}}, ["different names"]),
        ({"samples": [2]}, ["there is no sample 2", "0 to 1"]),
        ({"samples": []}, ["an empty list"]),
        ({"times": (0.3, 1.0)}, ["no time from 0.3 to 1", "0 to 0.25"]),
        ({"units": {"w": "m"}}, ["units: there is no 'w'"]),
        ({"units": {"u": "kg"}}, ["'u' is in 'm/s'", "to 'kg'", "'units'"]),
        ({"units": {"time": "m"}}, ["'time' is in 's'", "to 'm'"]),
    ):
        refused(path, *parts, call=lambda p, options=options: ipd.data.read_fields(p, **options))
    infinite = made.fields()
    infinite["v"][1, 0, 2, 3] = np.inf
    refused(written(tmp_path, infinite), "'v' is infinite at index sample=1, time=0, x=2, y=3")
    complex_ = made.fields()[["u"]] * (1 + 1e-3j)
    refused(written(tmp_path, complex_), "'u' holds complex values", "imaginary part being 0.00099")


def test_more_than_fits_into_memory(tmp_path):
    path = tmp_path / "large.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("tensor", (10**6, 3, 10**5), "f4", chunks=(1, 1, 10**5))
        file["t-coordinate"], file["x-coordinate"] = made.T, np.arange(1e5)
    refused(path, "2.4 TB", "samples=, times= or variables=")


@pytest.mark.parametrize("make", [made.npz, made.plain_hdf5], ids=lambda make: make.__name__)
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        (
            {"u": np.ones((2, 3)), "x": made.T, "v": np.ones((5, 3, 4))},
            ["shape"],
        ),
        ({"u": made.U[..., :3]}, ["shape (2, 3, 5, 3)", "correct the coordinates"]),
        ({"x": None}, ["shape (2, 3, 5, 4)"]),
        ({"x": np.ones((2, 3))}, ["array 'x' has shape (2, 3)", "one axis"]),
        ({"times": made.T, "t": made.T}, ["two arrays stand for the same"]),
    ],
)
def test_arrays_that_do_not_fit(tmp_path, make, changes, parts):
    refused(make(tmp_path, **changes), *parts)


def test_arrays_without_coordinates_or_quantities(tmp_path):
    refused(made.npz(tmp_path, time=None), "has no array 'time'")
    refused(made.npz(tmp_path, u=None, v=None), "has no quantity besides the coordinates")
    refused(made.npz(tmp_path, x=None, y=None), "has no array 'x'")


def test_pdebench(tmp_path):
    refused(made.pdebench(tmp_path, u=made.U[..., :3]), "'u' has shape (2, 3, 5, 3)")
    untimed: dict[str, Any] = {"t-coordinate": None}
    refused(made.pdebench(tmp_path, **untimed), "no array 't-coordinate'")
    refused(made.pdebench(tmp_path, **{"x-coordinate": np.ones((2, 2))}), "coordinate 'x' must be")
    refused(made.pdebench(tmp_path, u=made.U[0, 0], v=None), "no array of dimensions")
    path = made.pdebench_groups(tmp_path)
    with h5py.File(path, "a") as file:
        del file["0001/data"]
        file["0001/data"] = np.ones((2, 5, 4, 2))
    refused(path, "'0001/data' has shape (2, 5, 4, 2)", "(3, 5, 4, 2)")
    with h5py.File(path, "a") as file:
        del file["0000/grid/t"]
    refused(path, "no array '0000/grid/t'")


def test_the_well(tmp_path):
    path = made.the_well(tmp_path)
    with h5py.File(path, "a") as file:
        del file["t1_fields/velocity"]
        file["t1_fields/velocity"] = made.U
    refused(path, "'velocity' has shape (2, 3, 5, 4)", "then 2 components")
    with h5py.File(path, "a") as file:
        file.attrs["grid_type"] = "spherical"
    refused(path, "spherical grid", "Cartesian")
    path = made.the_well(tmp_path)
    with h5py.File(path, "a") as file:
        del file["dimensions/time"]
        file["dimensions/time"] = np.stack([made.T, 2 * made.T])
    refused(path, "'time' has shape (2, 3)", "differs between samples")


TABLES = {
    "\n\n": "is empty",
    "# nothing\n": "has comments only",
    "time,x,value\n": "no row",
    "time,x\n1,2\n": "has no quantity",
    "x,value\n1,2\n": "has no column 'time'",
    "time,value\n1,2\n": "has no column 'x'",
    "1,2,3\n4,5,6\n": "has no column 'time'",
    "time,x,x,value\n1,2,3,4\n": "line 1: column 'x' is given twice",
    "time,t,x,value\n1,2,3,4\n": "line 1: column 'time' is given twice",
    "time,x,,value\n1,2,3,4\n": "column 3 of the header has no name",
    "# a\ntime,x,value\n1,2,3\n1,2\n": "line 4: has 2 value(s); expected 3",
    "time,x,value\n1,2,3\n\n1,abc,3\n": "line 4, column 'x': 'abc' is not a number",
    "time;x;value\n1;2;0,5\n": "line 2, column 'value': '0,5' is not a number; write it with",
    "time,x,value\n1,,3\n": "line 2, column 'x': 'nan' given",
    "time,x,value\n1,2,inf\n": "line 2, column 'value': 'inf' given, expected a finite number",
    "time,x,value\n1,2,nan\n": "has no value in any row",
    "time,x,value,sample\n1,2,3,0.5\n": "line 2, column 'sample': 0.5 is not the index",
    "time,x,value,standard_deviation\n1,2,3,0\n": "expected positive and finite",
    "time,x,quantity\n1,2,a\n": "has 'quantity' but no 'value'",
    "time,x,a,b,standard_deviation\n1,2,3,4,5\n": "'standard_deviation' for 2 quantities (a, b); "
    "rename it 'a_standard_deviation', and add one for each other",
    "time_s,x_m,c\n1,2,3\n": "has no column 'time', 'x'; it has (time_s, x_m, c); expected a "
    "header such as 'time,x,y,quantity,value,standard_deviation', or other names assigned by "
    "--set 'data.variables={time_s: time, x_m: x}' (in Python variables={'time_s': 'time', "
    "'x_m': 'x'})",
    "when,x,c\n1,2,3\n": "--set 'data.variables={NAME: time}'",
    "time,x,quantity,value\n1,2,,3\n": "column 'quantity': '' given, expected the name",
    "time,x,value,other\n1,2,3,4\n": "and also (other)",
    'time,x,value\n1,2,"3\n4,5,6\n': "CSV",
    "time,x,value\n2024-01-01,1,2\n,1,3\n": "1 date(s) missing",
    "time,x,value\n,1,2\n2024-01-01,1,2\nsoon,1,3\n": "line 4, column 'time': 'soon' is not a date",
    "time,x,value\n12,1,2\nsoon,1,3\n": "line 3, column 'time': 'soon' is not a number",
    "time,x,value\n0,1,1,2\n": "has 4 value(s); expected 3, one for each of (time, x, value)",
    "time,x,value\n0.1;1;2\n": "the header has ',' and this ';'",
}


@pytest.mark.parametrize(("text", "part"), TABLES.items(), ids=range(len(TABLES)))
def test_tables(tmp_path, text, part):
    refused(made.table(tmp_path, text), part)


def test_a_table_that_is_no_text(tmp_path):
    path = tmp_path / "s.csv"
    path.write_bytes(b"time,x,value\n1,2,\xff\xfe\n")
    refused(path, "text in UTF-8")


def test_the_other_form(tmp_path):
    refused(made.table(tmp_path), "scattered points", "read_points", call=ipd.data.read_fields)
    refused(made.netcdf(tmp_path), "fields on a grid", "read_fields", call=ipd.data.read_points)
    selecting = lambda p: ipd.data.read(p, samples=[0])  # noqa: E731
    refused(made.table(tmp_path), "leave out samples and times", call=selecting)


def test_paths_that_cannot_be_written(tmp_path):
    for dataset, path, part in (
        (made.fields(), tmp_path / "a.h5", "the suffix '.h5' is not known"),
        (made.fields(), tmp_path / "a.csv", "only scattered points"),
        (made.fields(), tmp_path / "none" / "a.nc", "there is no folder"),
    ):
        with pytest.raises(ipd.InputError, match=re.escape(part)):
            ipd.data.write(dataset, path)
    (tmp_path / "mine.zarr").mkdir()
    (tmp_path / "mine.zarr" / "thesis.txt").write_text("all of it")
    with pytest.raises(ipd.InputError, match="is a folder"):
        ipd.data.write(made.fields(), tmp_path / "mine.zarr")
    assert (tmp_path / "mine.zarr" / "thesis.txt").exists()


def test_a_write_that_fails_leaves_the_older_file(tmp_path):
    for suffix in (".nc", ".zarr"):
        path = tmp_path / f"out{suffix}"
        ipd.data.write(made.fields(), path)
        broken = made.fields().assign(w=("x", np.array([object()] * 5)))
        with pytest.raises(Exception, match="object"):
            ipd.data.write(broken, path)
        xr.testing.assert_identical(ipd.data.read(path), made.fields())
    assert len(list(tmp_path.iterdir())) == 2


@pytest.mark.parametrize("suffix", [".nc", ".zarr"])
def test_a_disk_that_becomes_full_is_told_and_leaves_nothing(tmp_path, monkeypatch, suffix):
    def full(self, content):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ipd.ImpindiffError, match=rf"out\{suffix}: the disk is full; make room"):
        ipd.data.write(made.fields(), tmp_path / f"out{suffix}")
    assert list(tmp_path.iterdir()) == []


def test_points_that_are_no_table_are_not_told_of_a_header(tmp_path):
    nine = np.linspace(0.1, 0.9, 9)
    np.savez(tmp_path / "a.npz", time=nine, pos=nine, value=nine)
    refused(tmp_path / "a.npz", "has no array 'x'", "arrays 'time', 'x' ('y', 'z') and 'value'")
    empty = nine[:0]
    np.savez(tmp_path / "b.npz", time=empty, x=empty, value=empty)
    refused(tmp_path / "b.npz", "has arrays without an entry")
    (tmp_path / "c.csv").write_text("time,x,value\n")
    refused(tmp_path / "c.csv", "has a header but no row")


@pytest.mark.parametrize("odd", ["x", "value", "y"])
def test_points_of_which_a_variable_is_along_another_dimension(tmp_path, odd):
    nine = np.linspace(0.1, 0.9, 9)
    along = {name: "observation" for name in ("time", "x", "y", "value")} | {odd: "other"}
    columns = {name: (dim, nine) for name, dim in along.items()}
    path = written(tmp_path, xr.Dataset(columns, attrs={"featureType": "point"}))
    refused(path, f"variable '{odd}' has dimensions (other); expected one entry for each point")
