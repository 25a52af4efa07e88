import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.observations import SpaceTimePoints, random_points

LOWER, UPPER, CELLS, TIMES = -1.0, 2.0, 12, 5
CENTRES = LOWER + (np.arange(CELLS) + 0.5) * (UPPER - LOWER) / CELLS
RNG = np.random.default_rng(0)
# Between all neighbours, in both half cells at the walls, on the walls and on a centre.
POSITIONS = np.concatenate([RNG.uniform(LOWER, UPPER, 40), [-1.0, -0.99, 1.99, 2.0], CENTRES[3:4]])
INDICES = RNG.integers(0, TIMES, len(POSITIONS))


def polynomial(order: int, t, x):
    """A different polynomial of that degree at each time, the same on the walls at all times."""
    across = (x - LOWER) * (x - UPPER)
    return 0.5 - 0.7 * x + (0 if order == 1 else (t + 1) * across * (x - 0.3))


def points(order: int = 1, **changes) -> SpaceTimePoints:
    walls = (polynomial(1, 0, LOWER), polynomial(1, 0, UPPER))
    given = {
        "time_indices": INDICES,
        "positions": POSITIONS,
        "lower": LOWER,
        "upper": UPPER,
        "cells": CELLS,
        "wall_values": walls,
        "order": order,
    }
    return SpaceTimePoints(**(given | changes))


def trajectory(order: int) -> np.ndarray:
    t = np.arange(TIMES)[:, None, None]
    return np.broadcast_to(polynomial(order, t, CENTRES), (TIMES, 1, CELLS))


@pytest.mark.parametrize("order", [1, 3])
def test_polynomials_of_the_order_are_exact_up_to_the_walls(order):
    found = eqx.filter_jit(points(order))(trajectory(order))
    assert found.shape == (points(order).count,)
    np.testing.assert_allclose(found, polynomial(order, INDICES, POSITIONS), atol=1e-13)


def test_the_order_is_what_makes_cubics_exact():
    wrong = points(1)(trajectory(3)) - polynomial(3, INDICES, POSITIONS)
    assert np.abs(wrong).max() > 1e-2


@pytest.mark.parametrize(("order", "rate"), [(1, 2.0), (3, 4.0)])
def test_smooth_fields_converge_in_the_order_plus_one(order, rate):
    """u = cos x has curvature on the walls, which a reflection there would get wrong."""
    errors = []
    for cells in (40, 80):
        centres = LOWER + (np.arange(cells) + 0.5) * (UPPER - LOWER) / cells
        walls = (float(np.cos(LOWER)), float(np.cos(UPPER)))
        u = np.cos(centres)[None, None]
        found = points(order, cells=cells, wall_values=walls).interpolate(
            u, np.linspace(LOWER, UPPER, 1001)
        )
        errors.append(np.abs(found[0, 0] - np.cos(np.linspace(LOWER, UPPER, 1001))).max())
    assert np.log2(errors[0] / errors[1]) == pytest.approx(rate, abs=0.15)


@pytest.mark.parametrize("order", [1, 3])
def test_on_walls_and_centres_it_returns_what_stands_there(order):
    u = np.random.default_rng(1).random((TIMES, 1, CELLS))
    mine = points(order, wall_values=(7.0, -3.0))
    found = mine.interpolate(u, np.array([LOWER, *CENTRES, UPPER]))
    np.testing.assert_allclose(found[:, :, 1:-1], u, atol=1e-13)
    np.testing.assert_allclose(found[:, 0, 0], 7.0)
    np.testing.assert_allclose(found[:, 0, -1], -3.0)


@pytest.mark.parametrize("order", [1, 3])
def test_points_read_the_interpolated_trajectory_at_their_times(order):
    u = np.random.default_rng(1).random((TIMES, 1, CELLS))
    everywhere = points(order).interpolate(u, POSITIONS)
    assert everywhere.shape == (TIMES, 1, len(POSITIONS))
    there = np.asarray(everywhere)[INDICES, 0, np.arange(len(POSITIONS))]
    np.testing.assert_allclose(points(order)(u), there, atol=1e-14)


@pytest.mark.parametrize("order", [1, 3])
def test_the_adjoint_is_that_of_the_linear_part(order):
    """<H'v, w> = <v, H'^T w>, and H' is H without what the walls add."""
    rng = np.random.default_rng(2)
    u, v = rng.standard_normal((2, TIMES, 1, CELLS))
    w = rng.standard_normal(len(POSITIONS))
    mine = points(order)
    back = jax.jit(lambda u, w: jax.vjp(mine, u)[1](w)[0])(u, w)
    linear = points(order, wall_values=(0.0, 0.0))
    assert back.shape == u.shape
    np.testing.assert_allclose(jnp.sum(back * v), jnp.sum(linear(v) * w), rtol=1e-12)
    np.testing.assert_allclose(mine(u + v) - mine(u), linear(v), atol=1e-13)


def test_each_value_depends_on_its_neighbours_at_its_time_only():
    mine = points(time_indices=np.array([3]), positions=np.array([0.1]))
    gradient = jax.jit(jax.grad(lambda u: mine(u)[0]))(jnp.ones((TIMES, 1, CELLS)))
    assert [tuple(i) for i in np.argwhere(gradient != 0)] == [(3, 0, 3), (3, 0, 4)]
    np.testing.assert_allclose(gradient.sum(), 1.0)


def test_under_jit_as_an_argument_and_in_single_precision():
    u = trajectory(3).astype(np.float32)
    found = eqx.filter_jit(lambda operator, field: operator(field))(points(3), u)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, polynomial(3, INDICES, POSITIONS), atol=1e-4)
    with pytest.raises(InputError, match="time index 4"):
        eqx.filter_jit(lambda operator, field: operator(field))(points(3), u[:4])


def test_positions_that_left_by_rounding_are_on_the_wall():
    mine = points(time_indices=np.array([0]), positions=np.array([UPPER * (1 + 1e-15)]))
    np.testing.assert_allclose(mine(trajectory(1)), polynomial(1, 0, UPPER))


@pytest.mark.parametrize(
    ("changes", "part"),
    [
        (
            {"time_indices": np.array([0, 1]), "positions": np.array([0.0, 2.5])},
            r"point 1 is at 2.5, outside the domain from -1 to 2",
        ),
        ({"time_indices": np.array([0]), "positions": np.array([-1.01])}, r"point 0 is at -1.01"),
        ({"time_indices": np.array([0]), "positions": np.array([np.nan])}, r"point 0 is at nan"),
        (
            {"time_indices": np.array([2, -1]), "positions": np.array([0.0, 0.0])},
            r"point 1 has time index -1",
        ),
        ({"time_indices": np.array([2])}, r"\(1,\) times and \(45,\) positions"),
        ({"time_indices": np.array([], int), "positions": np.array([])}, r"N at least 1"),
        ({"order": 2}, r"order must be 1 or 3, not 2"),
        ({"cells": 2, "order": 3}, r"2 cells from -1 to 2; .* at least 3 cell"),
        ({"lower": 2.0}, r"from 2 to 2; expected lower < upper"),
    ],
)
def test_points_that_cannot_be_are_refused(changes, part):
    with pytest.raises(InputError, match=rf"^observations\.points: .*{part}"):
        points(**changes)


def test_arrays_that_do_not_fit_are_refused():
    for shape in ((TIMES, CELLS), (TIMES, 2, CELLS), (TIMES, 1, CELLS + 1)):
        with pytest.raises(InputError, match=r"expected \(times, 1, 12\)"):
            points()(np.zeros(shape))
        with pytest.raises(InputError, match=r"expected \(times, 1, 12\)"):
            points().interpolate(np.zeros(shape), POSITIONS)
    with pytest.raises(InputError, match=r"time index 4, .* has 4 times; give indices below 4"):
        points()(np.zeros((4, 1, CELLS)))
    with pytest.raises(InputError, match=r"outside the domain"):
        points().interpolate(trajectory(1), np.array([3.0]))


def test_random_points_are_distinct_in_order_and_fixed_by_their_seed():
    first, again, other = (random_points((20, 30), 200, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    when, where = first
    flat = when * 30 + where
    assert (np.diff(flat) > 0).all()
    assert when.max() < 20
    assert where.max() < 30


def test_random_points_may_leave_out_the_initial_state():
    when, where = random_points((4, 6), 18, 0, with_initial=False)
    np.testing.assert_array_equal(when, np.repeat([1, 2, 3], 6))
    np.testing.assert_array_equal(where, np.tile(np.arange(6), 3))
    when, _ = random_points((4, 6), 24, 0)
    assert when.min() == 0


@pytest.mark.parametrize(("count", "with_initial"), [(0, True), (25, True), (19, False)])
def test_a_count_of_points_that_does_not_fit_is_refused(count, with_initial):
    without = "" if with_initial else " without the initial state"
    most = 24 if with_initial else 18
    with pytest.raises(InputError, match=rf"{count} .* 4 x 6 values{without}; give 1 to {most}"):
        random_points((4, 6), count, 0, with_initial=with_initial)


@pytest.mark.parametrize("order", [1, 3])
@pytest.mark.parametrize("unknown", [(0,), (1,), (0, 1)])
def test_walls_without_a_value_are_no_nodes(order, unknown):
    """So a cubic that has any slope there is read exactly, up to the walls."""
    walls = [None if side in unknown else polynomial(1, 0, (LOWER, UPPER)[side]) for side in (0, 1)]
    operator = points(order, wall_values=tuple(walls))
    found = operator(trajectory(order))
    np.testing.assert_allclose(found, polynomial(order, INDICES, POSITIONS), atol=1e-12)


def test_wall_values_of_each_time_and_of_a_model():
    at = np.array([LOWER, UPPER])
    values = np.arange(float(TIMES))
    when = np.array([1, 2])
    operator = points(3, time_indices=when, positions=at, wall_values=(values, 2 * values))
    np.testing.assert_allclose(operator(trajectory(3)), [1.0, 4.0], atol=1e-13)
    np.testing.assert_allclose(
        operator.interpolate(trajectory(3), at)[:, 0], np.stack([values, 2 * values], 1), atol=1e-13
    )
    with pytest.raises(InputError, match=r"values of shape \(2,\); expected one number, or one"):
        points(3, wall_values=(np.ones(2), 0.0))(trajectory(3))
    learned = points(3, time_indices=when, positions=at, wall_values=lambda model: (model, 3.0))
    read = lambda value: learned.of_model(value)(trajectory(3))  # noqa: E731
    np.testing.assert_allclose(read(7.0), [7.0, 3.0], atol=1e-13)
    np.testing.assert_allclose(jax.jacobian(read)(7.0), [1.0, 0.0], atol=1e-13)
    with pytest.raises(InputError, match=r"none was given; read with points.of_model\(model\)"):
        learned(trajectory(3))


def test_time_indices_are_whole_numbers():
    with pytest.raises(InputError, match="must be whole numbers"):
        points(1, time_indices=INDICES + 0.5)
