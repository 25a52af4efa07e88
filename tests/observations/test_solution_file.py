import re
from pathlib import Path

import h5py
import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from scipy.io import savemat

from impindiff.errors import InputError
from impindiff.observations import Solution1D, Trajectories, read_solution

NX, NT = 6, 4
X = np.linspace(-1.0, 1.0, NX)
T = np.array([0.0, 0.1, 0.25, 0.7])
U = np.round(np.sin(X) + 10.0 * T[:, None], 6)  # (time, x)
ROWS = [
    f"{x!r},{t!r},{float(U[k, i])!r}"
    for k, t in enumerate(T.tolist())
    for i, x in enumerate(X.tolist())
]


def arrays(**changes) -> dict:
    given = {"x": X[:, None], "t": T[:, None], "usol": U.T}
    return {name: a for name, a in (given | changes).items() if a is not None}


def mat(folder: Path, **changes) -> Path:
    savemat(folder / "s.mat", arrays(**changes))
    return folder / "s.mat"


def hdf5_mat(folder: Path, **changes) -> Path:
    """As MATLAB 7.3 writes: a text header before HDF5, axes reversed, the class as an attribute."""
    path = folder / "s73.mat"
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, values in arrays(**changes).items():
            entry = file.create_dataset(name, data=np.asarray(values).T)
            text = np.asarray(values).dtype == np.uint16
            entry.attrs["MATLAB_class"] = np.bytes_("char" if text else "double")
        file.create_group("#refs#")
    with path.open("r+b") as file:
        file.write(b"MATLAB 7.3 MAT-file".ljust(116))
    return path


def dataset(**attrs) -> xr.Dataset:
    return xr.Dataset({"u": (("time", "x"), U)}, {"time": T, "x": X}, attrs=attrs)


def netcdf(folder: Path, given: xr.Dataset) -> Path:
    given.to_netcdf(folder / "s.nc", engine="h5netcdf")
    return folder / "s.nc"


def text(folder: Path, *lines: str) -> Path:
    (folder / "s.csv").write_text("\n".join(lines) + "\n")
    return folder / "s.csv"


def check(found: Solution1D, variable: str) -> None:
    mine = found.trajectories
    np.testing.assert_array_equal(mine.field, U[None])
    np.testing.assert_array_equal(mine.times, T)
    assert mine.space == ("x",)
    np.testing.assert_array_equal(mine.coordinates["x"], X)
    assert mine.variable == variable
    assert mine.field.dtype == np.float64


def refused(path: Path, *parts: str, variable: str | None = None) -> None:
    with pytest.raises(InputError) as raised:
        read_solution(path, variable)
    message = str(raised.value)
    assert "\n" not in message
    assert message.startswith(str(path))
    assert message.count(str(path)) == 1
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("write", [mat, hdf5_mat])
@pytest.mark.parametrize("turned", [False, True])
def test_matlab_files_of_either_layout(tmp_path, write, turned):
    found = read_solution(write(tmp_path, usol=U if turned else U.T, x=X[None] if turned else X))
    check(found, "usol")
    assert found.parameters == {}


@pytest.mark.parametrize("write", [mat, hdf5_mat])
def test_matlab_names_and_parameters(tmp_path, write):
    others = {"usol": None, "c": U.T, "note": np.arange(3.0), "nu": 0.003, "lambda": [[1.5]]}
    found = read_solution(write(tmp_path, **others))
    check(found, "c")
    assert found.parameters == {"nu": 0.003, "lambda": 1.5}
    both = write(tmp_path, u=0 * U.T)
    check(read_solution(both), "usol")
    assert not read_solution(both, "u").trajectories.field.any()


def test_in_matlab_files_text_and_sparse_matrices_are_no_fields(tmp_path):
    letters = np.frombuffer("abcd".encode("utf-16-le"), np.uint16).reshape(2, 2)
    check(read_solution(hdf5_mat(tmp_path, usol=None, c=U.T, words=letters)), "c")
    check(read_solution(mat(tmp_path, usol=None, c=U.T, words=["ab", "cd"])), "c")
    sparse = scipy.sparse.csc_array(U.T)
    refused(mat(tmp_path, usol=sparse), "has no 'usol'; it has (x, t)", variable="usol")


def test_a_square_field_is_taken_as_x_then_t(tmp_path):
    field = np.arange(16.0).reshape(4, 4)
    found = read_solution(mat(tmp_path, x=np.arange(4.0), usol=field)).trajectories
    np.testing.assert_array_equal(found.field[0], field.T)


def test_integers_become_float64(tmp_path):
    found = read_solution(mat(tmp_path, usol=np.arange(24, dtype=np.int16).reshape(6, 4)))
    assert found.trajectories.field.dtype == np.float64
    assert found.trajectories.field[0, 1, 2] == 9.0


@pytest.mark.parametrize("time", ["time", "t"])
@pytest.mark.parametrize("order", [("time", "x"), ("x", "time"), ("x", "sample", "time")])
def test_netcdf_files(tmp_path, time, order):
    given = dataset(nu=0.003).assign(k=("x", X))
    given = (given.expand_dims("sample") if "sample" in order else given).transpose(*order)
    found = read_solution(netcdf(tmp_path, given.rename({} if time == "time" else {"time": time})))
    check(found, "u")
    assert found.parameters == {"nu": 0.003}


def test_what_trajectories_write_is_read(tmp_path):
    first = Trajectories(U[None], T, {"x": X}, "w", {"k": X}, {"lambda": 2.0, "title": "mine"})
    first.to_netcdf(tmp_path / "f.nc")
    found = read_solution(tmp_path / "f.nc")
    check(found, "w")
    assert found.parameters == {"lambda": 2.0}
    assert found.trajectories.attrs["title"] == "mine"


def test_a_netcdf_coordinate_called_time_beside_a_dimension_t(tmp_path):
    given = dataset().rename(time="t").assign_coords(time=("t", 100 * T))
    given.t.attrs["units"] = "s"
    check(read_solution(netcdf(tmp_path, given)), "u")


def test_csv_rows_and_columns_in_any_order(tmp_path):
    shuffled = [ROWS[i] for i in np.random.default_rng(0).permutation(len(ROWS))]
    check(read_solution(text(tmp_path, "x,t,u", *shuffled)), "u")
    turned = [";".join(reversed(row.split(","))) for row in shuffled]
    check(read_solution(text(tmp_path, "phi; time; x", *turned)), "phi")
    wider = ["x,t,a,b", *(f"{row},0" for row in shuffled)]
    check(read_solution(text(tmp_path, *wider), "a"), "a")


def test_csv_comments_and_parameters(tmp_path):
    lines = ["\ufeff# made by hand", "# nu = 0.003", "x,t,u", "", *ROWS, " #lambda=1"]
    found = read_solution(text(tmp_path, *lines))
    check(found, "u")
    assert found.parameters == {"nu": 0.003, "lambda": 1.0}


def test_files_that_cannot_be_read(tmp_path):
    refused(tmp_path / "absent.mat", "no such file")
    refused(tmp_path, "is not a file", ".mat, .nc, .csv")
    (tmp_path / "s.txt").touch()
    refused(tmp_path / "s.txt", "the suffix '.txt' is not known", ".mat, .nc, .csv")
    for suffix, part in ((".mat", "a MATLAB file"), (".nc", "NetCDF-4"), (".csv", "text in UTF-8")):
        broken = tmp_path / f"broken{suffix}"
        broken.write_bytes(bytes(range(200, 256)) * 20)
        refused(broken, f"cannot be read as {part}")
        broken.write_bytes(b"")
        refused(broken, "is empty" if suffix == ".csv" else f"cannot be read as {part}")


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_files_cut_short(tmp_path, share):
    for path in (mat(tmp_path), hdf5_mat(tmp_path), netcdf(tmp_path, dataset())):
        whole = path.read_bytes()
        path.write_bytes(whole[: int(share * len(whole))])
        with pytest.raises(InputError, match=re.escape(str(path))):
            read_solution(path)
    # Not after a whole time: nothing tells that from a shorter solution.
    path = text(tmp_path, "x,t,u", *ROWS)
    path.write_text("\n".join(["x,t,u", *ROWS[: int(share * len(ROWS)) + 1]]))
    refused(path)


@pytest.mark.parametrize("write", [mat, hdf5_mat])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"x": None}, ["no array 'x'", "usol"]),
        ({"t": None}, ["neither 't' nor 'time' among its arrays"]),
        ({"usol": None}, ["field is not clear", "can be meant are none of"]),
        ({"usol": None, "a": U, "b": U}, ["can be meant are (a, b)", "name one as the variable"]),
        ({"usol": U.T[:, :3]}, ["'usol' has shape (6, 3)", "(x, t) = (6, 4) or (t, x) = (4, 6)"]),
        ({"usol": U.T + 0.5j}, ["'usol' holds complex values", "imaginary part being 0.5"]),
        ({"x": X.reshape(2, 3)}, ["array 'x' has shape (2, 3)"]),
        ({"x": X**3}, ["coordinate 'x' is not evenly spaced"]),
        ({"x": -X}, ["coordinate 'x' must increase"]),
        ({"t": T[::-1]}, ["coordinate 'time' must increase"]),
        ({"usol": np.where(U.max() == U.T, np.nan, U.T)}, ["is nan", "time=3", "(1 such"]),
        ({"nu": np.nan}, ["parameter 'nu' is 'nan'"]),
        ({"lambda": np.ones((3, 1))}, ["parameter 'lambda' is an array of shape (3, 1)"]),
    ],
)
def test_matlab_arrays_that_do_not_fit(tmp_path, write, changes, parts):
    refused(write(tmp_path, **changes), *parts)


def test_a_variable_that_is_not_there(tmp_path):
    refused(mat(tmp_path), "has no 'v'; it has (x, t, usol)", variable="v")
    refused(netcdf(tmp_path, dataset()), "has no 'v'; it has (u)", variable="v")
    refused(text(tmp_path, "x,t,u", *ROWS), "has no 'v'; it has (x, t, u)", variable="v")


def test_netcdf_files_that_do_not_fit(tmp_path):
    given = dataset()
    refused(netcdf(tmp_path, given.rename(x="lon")), "no dimension 'x'; it has (time, lon)")
    refused(netcdf(tmp_path, given.rename(time="when")), "neither 't' nor 'time'", "(when, x)")
    refused(netcdf(tmp_path, given.drop_vars("x")), "dimension 'x' has no coordinate")
    untimed = given.drop_vars("time").rename_dims(time="t")
    refused(netcdf(tmp_path, untimed), "dimension 't' has no coordinate; add a variable 't'")
    two = xr.concat([given, given], "sample")
    refused(netcdf(tmp_path, two), "'u' has 2 samples", "isel(sample=[0])")
    refused(
        netcdf(tmp_path, given.expand_dims(y=2)), "has dimensions", "expected (sample, time, x)"
    )
    refused(netcdf(tmp_path, dataset(nu="thick")), "parameter 'nu' is 'thick'")
    words = given.assign(u=(("time", "x"), np.full(U.shape, "a")))
    refused(netcdf(tmp_path, words), "not real numbers")


def test_csv_values_that_are_no_numbers(tmp_path):
    for bad in ("much", "nan", "inf", "1+2j", ""):
        lines = ["# a comment", "x,t,u", *ROWS]
        lines[7] = f"-1.0,0.1,{bad}"
        refused(text(tmp_path, *lines), f"line 8, column 'u': '{bad}' is not a finite real number")
    refused(text(tmp_path, "x;t;u", "0,5;0;1"), "line 2, column 'x': '0,5'", "decimal point")


def test_csv_rows_that_do_not_fit(tmp_path):
    refused(text(tmp_path, "x,t,u", *ROWS[:9], *ROWS[10:]), "no value at x = 0.2, t = 0.1 (1 such")
    refused(
        text(tmp_path, "x,t,u", *ROWS[:-2]), "no value at x = 0.6, t = 0.7 (2 such", "6 x and 4"
    )
    refused(text(tmp_path, "x,t,u", *ROWS, ROWS[9]), "at x = 0.2, t = 0.1 is given twice")
    refused(text(tmp_path, "x,t,u", *ROWS[:5], "1.0,0.0"), "line 7: has 2 value(s); expected 3")
    refused(text(tmp_path, "x,t,u"), "'time' has 0 value(s)")


def test_csv_headers_that_do_not_fit(tmp_path):
    refused(text(tmp_path, *ROWS), "neither 't' nor 'time' among its columns")
    refused(text(tmp_path, "y,t,u", *ROWS), "line 1: has no column 'x'; it has (y, t, u)")
    refused(text(tmp_path, "x,t,x", *ROWS), "line 1: a column is given twice in (x, t, x)")
    refused(text(tmp_path, "x,t,a,b", *ROWS), "field is not clear", "(a, b)")
    refused(text(tmp_path, "# nu = thick", "x,t,u", *ROWS), "parameter 'nu' is 'thick'")
