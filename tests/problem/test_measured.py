"""Fields on a model's grid: the same wherever the origin is and whatever the unit of length."""

import datetime
from typing import Any

import numpy as np
import pytest
import xarray as xr
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import impindiff as ipd
from impindiff.experiment._pipeline import _with_axes
from impindiff.problem import ProblemSettings
from impindiff.problem.observations import initial_fields, measured

few = settings(
    max_examples=60,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
WALLS = ((ipd.Neumann(), ipd.Neumann()),)


def fields(x, u, time: Any = (0.0, 1.0, 2.0)) -> xr.Dataset:
    values = np.stack([u, u + 1.0, u + 2.0])
    return xr.Dataset({"u": (("time", "x"), values)}, {"time": np.asarray(time), "x": x})


@few
@given(
    origin=st.floats(-1e7, 1e7),
    spacing=st.floats(-9, 6).map(lambda e: 10.0**e),
    size=st.floats(-250, 250).map(lambda e: 10.0**e),
    cells=st.integers(2, 12),
)
@example(origin=5e5, spacing=1.0, size=1.0, cells=11)
@example(origin=1.7e9, spacing=1e-3, size=1e-9, cells=7)
@example(origin=0.0, spacing=1e-8, size=1.0, cells=11)
def test_the_origin_and_the_unit_of_length_do_not_matter(origin, spacing, size, cells):
    """Nodes are interpolated, centres are not: what sets them apart is half a cell."""
    spacing = max(spacing, 1e-9 * abs(origin))
    grid = ipd.Grid((origin,), (origin + cells * spacing,), (cells,), boundary=WALLS)
    random = size * np.random.default_rng(cells).normal(size=cells + 1)
    nodes = origin + spacing * np.arange(cells + 1)
    found = initial_fields(fields(nodes, random), grid)["u"][0]
    np.testing.assert_allclose(found, (random[1:] + random[:-1]) / 2, rtol=1e-5, atol=1e-6 * size)
    # as many places as cells, half a cell from their centres: the last value is continued
    found = initial_fields(fields(nodes[:-1], random[:-1]), grid)["u"][0]
    beyond = np.append(random[:-1], 2 * random[-2] - random[-3])
    np.testing.assert_allclose(found, (beyond[1:] + beyond[:-1]) / 2, rtol=1e-5, atol=1e-6 * size)
    found = initial_fields(fields(grid.axis_centers(0), random[1:]), grid)["u"][0]
    np.testing.assert_array_equal(found, random[1:])


def test_a_grid_that_reaches_further_than_the_data_is_refused():
    x = np.arange(8) + 0.5
    wide = ipd.Grid((-0.6,), (8.0,), (43,), boundary=WALLS)
    with pytest.raises(ipd.InputError, match=r"'u' has values from x = 0.5 to 7.5, but the grid"):
        initial_fields(fields(x, x**2), wide)
    # as far as half a gap beyond the outermost centres, in a straight line
    fine = ipd.Grid((0.0,), (8.0,), (80,), boundary=WALLS)
    np.testing.assert_allclose(initial_fields(fields(x, 3 * x), fine)["u"][0], 3 * fine.centers[0])
    with pytest.raises(ipd.InputError, match="further out"):
        initial_fields(fields(x[:1], x[:1]), fine)
    with pytest.raises(ipd.InputError, match=r"has 0\.5 twice"):
        initial_fields(fields(np.array([0.5, 0.5, 4, 9]), np.ones(4)), fine)


def test_periodic_data_go_round():
    """Nodes without the last, which is the first again."""
    grid = ipd.Grid((0.0,), (1.0,), (64,))
    x = np.arange(32) / 32
    wave = lambda x: np.cos(2 * np.pi * x)  # noqa: E731
    found = initial_fields(fields(x, wave(x)), grid)["u"][0]
    assert np.abs(found - wave(grid.axis_centers(0))).max() < 0.006
    with pytest.raises(ipd.InputError, match="further out"):
        initial_fields(fields(x[:20], wave(x[:20])), grid)


def test_more_than_one_dimension_in_any_order():
    grid = ipd.Grid((0.0, 1.0), (2.0, 4.0), (4, 3), boundary=WALLS * 2)
    x, y = np.linspace(2, 0, 9), np.linspace(1, 4, 11)  # one of them decreasing
    plane = 2 + 3 * x[None, :] - y[:, None]
    data = xr.Dataset({"u": (("time", "y", "x"), plane[None])}, {"time": [0.0], "x": x, "y": y})
    expected = 2 + 3 * grid.centers[0] - grid.centers[1]
    np.testing.assert_allclose(initial_fields(data, grid)["u"][0], expected, rtol=1e-12)
    with pytest.raises(ipd.InputError, match=r"'u' has dimensions \(time, x\); the model's grid"):
        initial_fields(data.isel(y=0, drop=True), grid)


def test_the_start_is_one_of_the_times_of_the_data():
    x = np.arange(4.0)
    grid = ipd.Grid((-0.5,), (3.5,), (4,), boundary=WALLS)
    data = fields(x, x, np.array([0.1, 0.2, 0.3], np.float32))
    np.testing.assert_array_equal(initial_fields(data, grid, start=0.2)["u"][0], x + 1)
    with pytest.raises(ipd.InputError, match=r"no time 0.14, .* the nearest is 0\.1"):
        initial_fields(data, grid, start=0.14)
    chosen = {"observations": {"start": 0.2, "until": 0.3}}
    found = measured(data, grid, ProblemSettings.model_validate(chosen))
    # single precision: 0.3 is 0.30000001, and so is 0.2
    np.testing.assert_allclose(found.training.time, [0.3] * 4, rtol=1e-6)
    assert not len(found.test)


DATES = {
    "datetime64": np.array(["2000-02-28", "2000-02-29", "2000-03-01"], "M8[ns]"),
    "timedelta64": np.array([0, 1, 2], "m8[D]"),
    "objects": np.array([datetime.datetime(2000, 2, day) for day in (1, 2, 3)], dtype=object),
}


@pytest.mark.parametrize("times", DATES.values(), ids=DATES)
def test_dates_of_a_dataset_of_ones_own_are_seconds(times):
    x = np.arange(4.0)
    grid = ipd.Grid((-0.5,), (3.5,), (4,), boundary=WALLS)
    data = xr.Dataset({"u": (("time", "x"), np.ones((3, 4)))}, {"x": x})
    data = data.assign_coords(time=xr.Variable("time", times))
    found = measured(data, grid, ProblemSettings())
    np.testing.assert_array_equal(np.unique(found.training.time), [86400.0, 172800.0])
    assert found.start == 0


def test_a_training_that_would_see_the_initial_state_alone_names_its_key():
    grid = ipd.Grid((0.0,), (1.0,), (4,), boundary=WALLS)
    columns = {"time": [0.0, 9.0], "x": [0.5, 0.5], "value": [1.0, 2.0], "quantity": ["u", "u"]}
    points = xr.Dataset({name: ("observation", values) for name, values in columns.items()})
    until = ProblemSettings.model_validate({"observations": {"until": 3.0}})
    with pytest.raises(ipd.InputError, match=r"^observations\.until: .* the first is at t = 9"):
        measured(points, grid, until)


def test_fields_on_a_stretched_axis():
    """The same places are kept as they are, others interpolated by their true distances."""
    edges = ipd.grid.geometric(0.1, 10.0, 24)
    grid = ipd.Grid.from_edges((edges,), (ipd.Neumann(),), "cylindrical")
    x = grid.axis_centers(0)
    random = np.random.default_rng(0).normal(size=24)
    np.testing.assert_array_equal(initial_fields(fields(x, random), grid)["u"][0], random)
    nodes = np.linspace(0.1, 10.0, 40)
    found = initial_fields(fields(nodes, 2 - 3 * nodes), grid)["u"][0]
    np.testing.assert_allclose(found, 2 - 3 * x, atol=1e-12)


def test_forecasts_name_the_axes_of_radial_coordinates():
    tube = ipd.Grid((0.0, 0.0), (1.0, 1.0), (2, 2), WALLS[0], "cylindrical")
    given = {"x": {"long_name": "position along x", "units": "m"}, "y": {"long_name": "depth"}}
    found = _with_axes(given, ("x", "y"), tube)
    assert found == {"x": {"long_name": "r", "units": "m"}, "y": {"long_name": "depth"}}
    assert _with_axes({}, ("x",), ipd.Grid((0.0,), (1.0,), (2,))) == {}
