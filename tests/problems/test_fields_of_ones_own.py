"""Problems on a box take fields, grid and truths from a file, and refuse what does not fit."""

import numpy as np
import pytest
import xarray as xr

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.experiment import prepare
from impindiff.problems import PROBLEMS, get_problem
from impindiff.problems.fields_data import fields_data
from impindiff.settings import load_configuration

PROBLEM = get_problem("advection_diffusion_steady")
NX, NY = 8, 4
X = -1.0 + (np.arange(NX) + 0.5) * 2.0 / NX
Y = (np.arange(NY) + 0.5) / NY
TIMES = np.array([0.0, 0.05, 0.102, 0.2])
NAMES = ("velocity_x", "velocity_y")
RANDOM = np.random.default_rng(0)
PHI = RANDOM.random((3, len(TIMES), NX, NY))
VELOCITY = RANDOM.random((2, NX, NY))


@pytest.fixture
def dataset() -> xr.Dataset:
    return fields_data(
        {"phi": PHI}, TIMES, {"x": X, "y": Y}, latent=dict(zip(NAMES, VELOCITY, strict=True))
    ).copy(deep=True)


def prepared(folder, dataset: xr.Dataset, *overrides: str):
    path = folder / "mine.nc"
    dataset.to_netcdf(path, engine="h5netcdf")
    chosen = [f"data.path={path}", "observations.times=null", "field.width=4", *overrides]
    return prepare(PROBLEM, load_configuration(PROBLEM.settings, [], chosen))


def refused(folder, dataset: xr.Dataset, *parts: str, overrides=()) -> None:
    with pytest.raises(InputError) as raised:
        prepared(folder, dataset, *overrides)
    message = str(raised.value)
    assert "\n" not in message
    for part in parts:
        assert part in message, message


def test_grid_fields_and_truths_are_those_of_the_file(tmp_path, dataset):
    found = prepared(tmp_path, dataset)
    grid = found.settings.grid
    assert grid.cells == (NX, NY)
    np.testing.assert_allclose(grid.lower, (-1.0, 0.0), atol=1e-15)
    np.testing.assert_allclose(grid.upper, (1.0, 1.0), atol=1e-15)
    np.testing.assert_array_equal(found.truth["phi"], PHI)
    np.testing.assert_array_equal(found.forecast_times(), TIMES)
    for name, values in found.true_latent(dict.fromkeys(NAMES)).items():
        np.testing.assert_array_equal(values, VELOCITY[NAMES.index(name)])
    np.testing.assert_array_equal(found.loss().u0, PHI[:, 0])
    without = prepared(tmp_path, dataset.drop_vars("velocity_x"))
    assert list(without.true_latent(dict.fromkeys(NAMES))) == ["velocity_y"]


def test_what_is_written_of_reference_data_is_the_same_read_back(tmp_path, dataset):
    dataset["phi"].attrs["units"] = "kg m-3"
    ipd.data.write(dataset, tmp_path / "f.nc")
    again = ipd.data.read(tmp_path / "f.nc")
    xr.testing.assert_identical(again, dataset)
    assert [f.name for f in tmp_path.iterdir()] == ["f.nc"]


def test_every_variable_is_described(dataset):
    for name in dataset.variables:
        attrs = dataset[name].attrs
        assert attrs["long_name"]
        assert name == "sample" or {"units", "scaling"} & set(attrs)


@pytest.mark.parametrize("name", [n for n, p in PROBLEMS.items() if "vapor" not in n])
def test_every_variable_of_reference_data_is_described(name):
    problem = PROBLEMS[name]
    small = ["truth.dt=0.01", "grid.cells=[8, 4]", "forecast.every=0.05"]
    chosen = [] if name == "burgers_public" else small
    data = problem.reference(load_configuration(problem.settings, [], chosen))
    for variable in set(data.variables) - {"sample", "test"}:
        attrs = data[variable].attrs
        assert attrs["long_name"]
        assert {"units", "scaling"} & set(attrs)
    assert {"title", "source", "configuration"} <= set(data.attrs)


def test_the_order_of_dimensions_and_the_type_do_not_matter(tmp_path, dataset):
    turned = dataset.transpose("y", "x", "time", "sample").astype(np.float32)
    turned = turned.assign_coords(x=turned.x.astype(np.float32), time=TIMES.astype(np.float32))
    again = prepared(tmp_path, turned, "observations.times=[0.102]")
    np.testing.assert_allclose(again.truth["phi"], PHI, rtol=1e-6)
    assert again.truth["phi"].dtype == np.float64
    assert again.observations.times == pytest.approx((0.0, 0.102))
    table = again.observations.table
    assert table is not None
    np.testing.assert_allclose(table.value, PHI[:, 2].ravel(), rtol=1e-6)


def test_times_are_found_by_value(tmp_path, dataset):
    chosen = "observations.times=[0.05, 0.200000001]"
    assert prepared(tmp_path, dataset, chosen).observations.times == (0.0, 0.05, 0.2)
    refused(
        tmp_path, dataset, "observations.times: there are no data at 0.07", "0 to 0.2",
        "nearest is 0.05", overrides=["observations.times=[0.05, 0.07]"],
    )  # fmt: skip


@pytest.mark.slow
def test_samples_are_left_out_of_training(tmp_path, dataset):
    found = prepared(tmp_path, dataset, "data.test=[2, 1]")
    assert (found.data.training, found.data.test) == ([0], [2, 1])
    np.testing.assert_array_equal(found.loss().u0, PHI[:1, 0])
    marked = dataset.assign(test=("sample", [1.0, 0.0, 0.0]))
    assert prepared(tmp_path, marked).data.test == [0]
    assert prepared(tmp_path, marked, "data.test=[1]").data.test == [1]
    assert prepared(tmp_path, marked, "data.test=[]").data.training == [0, 1, 2]
    for test, part in (
        ("[3]", "no sample 3; the 3 samples are numbered 0 to 2"),
        ("[-1]", "no sample -1"),
        ("[1, 1]", "given twice"),
        ("[0, 1, 2]", "keeps back all 3"),
    ):
        refused(tmp_path, dataset, "data.test: ", part, overrides=[f"data.test={test}"])


def test_wrong_names(tmp_path, dataset):
    refused(
        tmp_path, dataset.rename(phi="c"), "mine.nc: has no variable 'phi'",
        "it has c, velocity_x, velocity_y", "data.variables={NAME: phi}",
    )  # fmt: skip
    found = prepared(tmp_path, dataset.rename(phi="c"), "data.variables={c: phi}")
    np.testing.assert_array_equal(found.truth["phi"], PHI)
    refused(tmp_path, dataset.rename(x="lon"), "'phi' has dimensions (sample, time, lon, y)")


def changed(dataset: xr.Dataset, name: str, index: int, value: float) -> xr.Dataset:
    values = dataset[name].to_numpy().copy()
    values[index] = value
    return dataset.assign_coords({name: values})


@pytest.mark.parametrize(
    ("name", "index", "value", "part"),
    [
        ("x", 7, 0.95, "coordinate 'x' is not evenly spaced: from index 6 (0.625) to 7 (0.95)"),
        ("y", 1, 0.3, "coordinate 'y' is not evenly spaced: from index 0 (0.125) to 1 (0.3)"),
        ("y", 2, np.nan, "coordinate 'y' is nan at index 2"),
        ("time", 2, 0.05, "must increase, but goes from 0.05 at index 1 to 0.05 at index 2"),
        ("time", 3, 0.01, "goes from 0.102 at index 2 to 0.01 at index 3"),
        ("time", 1, np.nan, "coordinate 'time' is nan at index 1"),
    ],
)
def test_wrong_coordinates(tmp_path, dataset, name, index, value, part):
    refused(tmp_path, changed(dataset, name, index, value), part)


def test_a_missing_row_of_cells_is_named(tmp_path, dataset):
    refused(
        tmp_path,
        dataset.drop_isel(x=3),
        "coordinate 'x' is not evenly spaced: from index 2 (-0.375) to 3 (0.125)",
        "the gap is 0.5, elsewhere 0.25",
    )


def test_cells_in_falling_order(tmp_path, dataset):
    refused(tmp_path, dataset.isel(x=slice(None, None, -1)), "sortby('x')")


def test_gaps_are_left_out_of_what_is_trained_on_and_of_what_is_known(tmp_path, dataset):
    dataset.phi[0, 1, 3, 0] = -999.0
    dataset.phi[0, 1, 0, 0] = np.nan
    dataset.phi.encoding["_FillValue"] = -999.0
    dataset.velocity_y[2, 1] = np.nan
    found = prepared(tmp_path, dataset)
    assert len(found.observations.values) == 3 * 3 * NX * NY - 2
    assert int(np.isnan(found.truth["phi"]).sum()) == 2
    assert int(np.isnan(found.true_latent(dict.fromkeys(NAMES))["velocity_y"]).sum()) == 1
    dataset.phi[1, 0, 3, 0] = np.nan
    refused(tmp_path, dataset, "initial_state: 'phi' has 1 gaps at the first time")
    dataset.phi[1, 2, 3, 0] = np.inf
    refused(tmp_path, dataset, "'phi' is infinite at index sample=1, time=2, x=3, y=0")


def test_too_little(tmp_path, dataset):
    refused(tmp_path, dataset.isel(time=[0]), "no values after the initial state at t = 0")
    dataset.phi[:, 1:] = np.nan
    refused(tmp_path, dataset, "no values after the initial state at t = 0")
    refused(tmp_path, dataset.isel(y=[0]), "'y' has 1 cell(s); at least 2")


def test_a_truth_of_other_dimensions_is_none(tmp_path, dataset):
    """It may be something else of that name: a mean over an axis, or each sample's own."""
    flat = dataset.assign(
        velocity_x=("x", np.ones(NX)), velocity_y=(("sample", "x", "y"), np.ones((3, NX, NY)))
    )
    assert prepared(tmp_path, flat).true_latent(dict.fromkeys(NAMES)) == {}


def test_points_have_no_grid(tmp_path):
    path = tmp_path / "s.csv"
    path.write_text("time,x,y,phi\n0,0.5,0.5,1\n0.1,0.5,0.5,1\n")
    settings = load_configuration(PROBLEM.settings, [], [f"data.path={path}"])
    with pytest.raises(InputError, match="scattered points; this problem takes its grid from"):
        prepare(PROBLEM, settings)
