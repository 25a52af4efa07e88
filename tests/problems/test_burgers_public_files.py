"""u(x, t) of `burgers_public` from files of every format, and what is refused of them."""

from pathlib import Path

import h5py
import jax
import numpy as np
import pytest
import scipy.sparse
import xarray as xr
from scipy.io import savemat

from impindiff.errors import InputError
from impindiff.problems import get_problem
from impindiff.settings import load_configuration

PROBLEM = get_problem("burgers_public")
X = np.linspace(-1.0, 1.0, 6)
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


def read(path: Path, *overrides: str) -> xr.Dataset:
    return PROBLEM.data(load_configuration(PROBLEM.settings, [], [f"data.path={path}", *overrides]))


def configured(path: Path, *overrides: str):
    settings = load_configuration(PROBLEM.settings, [], [f"data.path={path}", *overrides])
    return PROBLEM.configured(settings, PROBLEM.data(settings))


def check(found: xr.Dataset) -> None:
    assert list(found.data_vars) == ["u"]
    assert found["u"].dims == ("sample", "time", "x")
    assert found["u"].dtype == np.float64
    np.testing.assert_array_equal(found["u"], U[None])
    np.testing.assert_array_equal(found["time"], T)
    np.testing.assert_array_equal(found["x"], X)


def refused(path: Path, *parts: str) -> None:
    with pytest.raises(InputError) as raised:
        configured(path)
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


@pytest.mark.parametrize("write", [mat, hdf5_mat])
@pytest.mark.parametrize("turned", [False, True])
def test_matlab_files_of_either_layout(tmp_path, write, turned):
    check(read(write(tmp_path, usol=U if turned else U.T, x=X[None] if turned else X)))


@pytest.mark.parametrize("write", [mat, hdf5_mat])
def test_matlab_names_and_true_coefficients(tmp_path, write):
    named = write(tmp_path, usol=None, c=U.T, nu=0.003, **{"lambda": [[1.5]]})
    check(read(named))
    truth = configured(named).truth
    assert (truth.speed, truth.viscosity) == (1.5, 0.003)
    both = write(tmp_path, u=0 * U.T)
    check(read(both))
    assert not read(both, "data.variables={u: u}")["u"].any()
    truth = configured(both).truth
    assert (truth.speed, truth.viscosity) == (None, None)


def test_in_matlab_files_text_and_sparse_matrices_are_no_fields(tmp_path):
    letters = np.frombuffer("abcd".encode("utf-16-le"), np.uint16).reshape(2, 2)
    check(read(hdf5_mat(tmp_path, usol=None, c=U.T, words=letters)))
    check(read(mat(tmp_path, usol=None, c=U.T, words=["ab", "cd"])))
    refused(mat(tmp_path, usol=scipy.sparse.csc_array(U.T)), "has no quantity", "(time, x)")


def test_a_square_field_is_taken_as_x_then_t(tmp_path):
    field = np.arange(16.0).reshape(4, 4)
    found = read(mat(tmp_path, x=np.arange(4.0), usol=field))
    np.testing.assert_array_equal(found["u"][0], field.T)


def test_integers_become_float64(tmp_path):
    found = read(mat(tmp_path, usol=np.arange(24, dtype=np.int16).reshape(6, 4)))["u"]
    assert found.dtype == np.float64
    assert found[0, 1, 2] == 9.0


@pytest.mark.parametrize("time", ["time", "t"])
@pytest.mark.parametrize("order", [("time", "x"), ("x", "time"), ("x", "sample", "time")])
def test_netcdf_files(tmp_path, time, order):
    given = dataset(nu=np.float32(0.5), **{"lambda": 2}).assign(k=("x", X))
    given = (given.expand_dims("sample") if "sample" in order else given).transpose(*order)
    path = netcdf(tmp_path, given.rename({} if time == "time" else {"time": time}))
    check(read(path))
    truth = configured(path).truth
    assert (truth.speed, truth.viscosity) == (2.0, 0.5)


def test_tables_of_points_that_form_a_grid(tmp_path):
    check(
        read(text(tmp_path, "t,x,u", *(",".join(r.split(",")[k] for k in (1, 0, 2)) for r in ROWS)))
    )
    wider = text(tmp_path, "x,t,a,b", *(f"{row},0" for row in ROWS))
    check(read(wider, "data.variables={a: u}"))
    refused(wider, "which of a, b is u(x, t)?", "data.variables={NAME: u}")
    refused(text(tmp_path, "x,t,u", *ROWS[:-2]), "at time = 0.7, x = 0.6 is missing (2 such")
    refused(text(tmp_path, "x,t,u", *ROWS[:6]), "'time' has 1 value(s); at least 2 are needed")


@pytest.mark.parametrize("write", [mat, hdf5_mat])
@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"x": None}, ["no array 'x'", "usol"]),
        ({"t": None}, ["no array 'time'", "(or 't')"]),
        ({"usol": None}, ["has no quantity besides the coordinates"]),
        ({"usol": None, "a": U, "b": U}, ["which of a, b is u(x, t)?", "data.variables={NAME: u}"]),
        ({"usol": U.T[:, :3]}, ["'usol' has shape (6, 3)", "(x, time) = (6, 4)"]),
        ({"usol": U.T + 0.5j}, ["'usol' holds complex values", "imaginary part being 0.5"]),
        ({"x": X.reshape(2, 3)}, ["array 'x' has shape ("]),
        ({"x": X**3}, ["coordinate 'x' is not evenly spaced"]),
        ({"x": -X}, ["coordinate 'x' must increase"]),
        ({"t": T[::-1]}, ["coordinate 'time' must increase"]),
        ({"usol": np.where(U.max() == U.T, np.nan, U.T)}, ["is nan", "time=3", "(1 such"]),
        ({"nu": np.nan}, ["'nu' is 'nan'; expected one finite number above 0"]),
        ({"nu": -1.0}, ["'nu' is '-1.0'; expected one finite number above 0"]),
        ({"lambda": np.inf}, ["'lambda' is 'inf'; expected one finite number"]),
    ],
)
def test_matlab_arrays_that_do_not_fit(tmp_path, write, changes, parts):
    refused(write(tmp_path, **changes), *parts)


def test_netcdf_files_that_do_not_fit(tmp_path):
    given = dataset()
    refused(netcdf(tmp_path, given.rename(x="lon")), "dimensions (time, lon)", "rename 'lon'")
    refused(netcdf(tmp_path, given.rename(time="when")), "dimensions (when, x)", "rename 'when'")
    refused(netcdf(tmp_path, given.drop_vars("x")), "dimension 'x' has no coordinate")
    untimed = given.drop_vars("time").rename_dims(time="t")
    refused(netcdf(tmp_path, untimed), "dimension 'time' has no coordinate")
    two = xr.concat([given, given], "sample")
    refused(netcdf(tmp_path, two), "'u' has 2 samples", "data.samples=[0]")
    check(read(netcdf(tmp_path, two), "data.samples=[1]"))
    refused(netcdf(tmp_path, dataset(nu="thick")), "s.nc: 'nu' is 'thick'")
    refused(netcdf(tmp_path, dataset(nu=[0.1, 0.2])), "s.nc: 'nu' is '[0.1, 0.2]'")
    words = given.assign(u=(("time", "x"), np.full(U.shape, "a")))
    refused(netcdf(tmp_path, words), "not real numbers")


def test_the_walls_are_where_the_data_end(tmp_path):
    path = netcdf(tmp_path, dataset())
    grid = configured(path).grid
    assert (grid.lower, grid.upper) == (-1.0, 1.0)
    assert configured(path, "grid.lower=-1.5").grid.lower == -1.5


@pytest.mark.parametrize("noise", [0.0, 0.01])
def test_only_errors_of_noise_that_was_added_are_stated(tmp_path, noise):
    path = netcdf(tmp_path, dataset())
    chosen = [f"observations.noise={noise}", "observations.points=5", "grid.cells=8"]
    settings = configured(path, *chosen)
    model = PROBLEM.model(settings, jax.random.key(0))
    table = PROBLEM.observations(settings, model, read(path, *chosen)).table
    assert table is not None
    np.testing.assert_allclose(table.standard_deviation, (noise or 1.0) * np.std(U))
    assert table.stated.tolist() == [noise > 0] * 5


def test_a_truth_that_is_given_goes_before_that_of_a_file(tmp_path):
    path = netcdf(tmp_path, dataset(nu=0.5))
    truth = configured(path, "truth.speed=2", "truth.viscosity=0.25").truth
    assert (truth.speed, truth.viscosity) == (2.0, 0.25)
