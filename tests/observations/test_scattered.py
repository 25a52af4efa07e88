"""Scattered values in one to three dimensions: exact where interpolation is."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from helpers import dot, normal_like
from impindiff import Dirichlet, Grid, InputError, Neumann
from impindiff.observations import PointTable, ScatteredPoints
from impindiff.observations._interpolation import between_centres, cubic_in_time, linear_in_space

TIMES = np.array([0.0, 0.1, 0.25, 0.3, 0.5, 0.6])


def table(
    position, time: Any, quantity: Any = "c", sample: Any = 0, error: Any = 1.0, value: Any = 0.0
):
    n = len(position)
    return PointTable(
        quantity=np.broadcast_to(np.asarray(quantity), n),
        sample=np.broadcast_to(np.asarray(sample), n),
        time=np.broadcast_to(np.asarray(time, float), n),
        position=np.asarray(position, float),
        value=np.broadcast_to(np.asarray(value, float), n),
        standard_deviation=np.broadcast_to(np.asarray(error, float), n),
    )


def as_it_is(u):
    return u


def test_errors_that_were_stated_are_told_from_those_that_were_filled_in():
    given = table(
        [[0.0]] * 4, 0.0, quantity=["a", "a", "b", "c"], error=[0.5, np.nan, np.nan, np.nan]
    )
    given = dataclasses.replace(given, value=np.array([1.0, 2.0, 3.0, 4.0]))
    some = given.with_errors({"b": 0.1})
    np.testing.assert_allclose(some.standard_deviation, [0.5, 0.5, 0.1, 4.0])
    assert some.stated.tolist() == [True, False, True, False]
    assert some.rows(some.stated).with_rows(given.rows(~some.stated)).stated.tolist() == [
        True, True, False, False,
    ]  # fmt: skip
    every = given.with_errors(0.2)
    np.testing.assert_allclose(every.standard_deviation, [0.5, 0.2, 0.2, 0.2])
    assert every.stated.all()


def random_table(grid, seed, count=40, samples=2):
    rng = np.random.default_rng(seed)
    lower, upper = np.asarray(grid.lower), np.asarray(grid.upper)
    inner = np.asarray(grid.spacing) / 2
    return table(
        rng.uniform(lower + inner, upper - inner, (count, grid.ndim)),
        rng.uniform(TIMES[0], TIMES[-1], count),
        quantity=rng.choice(["a", "b"], count),
        sample=rng.integers(0, samples, count),
        error=rng.uniform(0.5, 2.0, count),
    )


@pytest.mark.few(1)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_multilinear_in_space_and_cubic_in_time_is_exact(ndim):
    walls = (Neumann(), Dirichlet(), Neumann())[:ndim]
    grid = Grid((-1.0, 0.0, 2.0)[:ndim], (1.0, 0.5, 3.0)[:ndim], (7, 5, 4)[:ndim], boundary=walls)
    points = random_table(grid, ndim)

    def exact(x, t, sample):
        product = np.prod(1 + np.arange(1, ndim + 1).reshape(-1, *[1] * (x.ndim - 1)) * x, axis=0)
        cubic = 1 - 2 * t + 3 * t**2 - 4 * t**3
        return {"a": product * cubic * (1 + sample), "b": product * (t - sample)}

    centres = np.asarray(grid.centers)
    states = [[exact(centres, t, sample) for sample in (0, 1)] for t in TIMES]
    u = {name: jnp.asarray([[s[name] for s in row] for row in states]) for name in ("a", "b")}
    found = ScatteredPoints(points, grid, TIMES, as_it_is)(u)
    expected = [
        exact(x[:, None], t, sample)[name][0] / error
        for name, sample, t, x, error in zip(
            points.quantity,
            points.sample,
            points.time,
            points.position,
            points.standard_deviation,
            strict=True,
        )
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_a_periodic_axis_has_no_ends():
    grid = Grid((0.0,), (1.0,), (50,))
    x = np.array([[0.0], [0.001], [0.999], [1.0]])
    points = table(x, 0.0)
    wave = np.cos(2 * np.pi * np.asarray(grid.axis_centers(0)))
    u = {"c": jnp.asarray(np.tile(wave, (6, 1, 1)))}
    found = ScatteredPoints(points, grid, TIMES, as_it_is)(u)
    np.testing.assert_allclose(found, np.cos(2 * np.pi * x[:, 0]), atol=0.003)
    walled = Grid((0.0,), (1.0,), (50,), boundary=(Neumann(),))
    assert ScatteredPoints(points, walled, TIMES, as_it_is)(u)[0] == wave[0]


def test_places_and_times_that_are_met_are_read_as_they_are():
    grid = Grid((0.0, 0.0), (1.0, 1.0), (4, 3))
    centres = np.asarray(grid.centers).reshape(2, -1).T
    points = table(centres, TIMES[2])
    operator = ScatteredPoints(points, grid, TIMES, as_it_is)
    assert operator.places["c"].nodes.cells.shape == (12, 1)
    assert operator.places["c"].nodes.near.shape == (12, 1)
    u = np.random.default_rng(0).normal(size=(6, 1, 4, 3))
    np.testing.assert_array_equal(operator({"c": jnp.asarray(u)}), u[2, 0].ravel())


def test_cubic_weights_at_both_ends_and_with_few_times():
    at = np.array([0.0, 0.05, 0.27, 0.55, 0.6])
    near, weights = cubic_in_time(TIMES, at)
    assert near.min() == 0
    assert near.max() == len(TIMES) - 1
    np.testing.assert_allclose((weights * TIMES[near] ** 3).sum(1), at**3, atol=1e-15)
    near, weights = cubic_in_time(TIMES[:2], np.array([0.02]))
    np.testing.assert_allclose(weights, [[0.8, 0.2]])
    near, weights = linear_in_space(*between_centres(np.array([[0.99]]), (1,)), (1,))
    assert near.tolist() == [[0, 0]]
    np.testing.assert_allclose(weights.sum(), 1.0)


def test_the_transpose_under_jit_is_the_transpose():
    grid = Grid((0.0, 0.0), (1.0, 1.0), (5, 4))
    operator = ScatteredPoints(random_table(grid, 3), grid, TIMES, as_it_is)
    shape = jnp.zeros((6, 2, 5, 4))
    u, v = (normal_like(seed, {"a": shape, "b": shape}) for seed in (0, 1))

    @eqx.filter_jit
    def both(operator, u, v):
        read, pull = jax.vjp(operator, u)
        return read, pull(operator(v))[0]

    read, pulled = both(operator, u, v)
    assert dot(read, operator(v)) == pytest.approx(dot(u, pulled), rel=1e-13)


def test_errors_that_are_not_given_are_those_of_the_quantity_or_its_spread():
    given = table(
        np.zeros((4, 1)), 0.0, ["a", "a", "b", "b"], error=[0.1, np.nan, np.nan, np.nan],
        value=[1.0, 3.0, 10.0, 30.0],
    )  # fmt: skip
    np.testing.assert_allclose(given.with_errors({}).standard_deviation, [0.1, 1.0, 10.0, 10.0])
    told = given.with_errors({"a": 0.5}).standard_deviation
    np.testing.assert_allclose(told, [0.1, 0.5, 10.0, 10.0])
    assert given.quantities == ("a", "b")
    assert len(given.rows(given.quantity == "b")) == 2


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"position": [[0.5, 2.0]]}, r"value 1 of 1 \('c'\) is at \(0.5, 2\), outside the grid"),
        ({"position": [[0.5]]}, r"1 coordinate\(s\), the model's grid has 2"),
        ({"position": np.zeros((0, 2))}, "there are none"),
        ({"time": 0.7}, "t = 0.7, outside 0 to 0.6"),
        ({"time": -0.1}, "the times of the states"),
    ],
)
def test_refuses_points_outside(change, words):
    grid = Grid((0.0, 0.0), (1.0, 1.0), (4, 4))
    with pytest.raises(InputError, match=words):
        ScatteredPoints(table(**({"position": [[0.5, 0.5]], "time": 0.1} | change)), grid, TIMES,
                        as_it_is)  # fmt: skip


def test_names_what_the_model_does_not_have():
    grid = Grid((0.0,), (1.0,), (4,))
    operator = ScatteredPoints(table([[0.5]], 0.1, "smoke"), grid, TIMES, as_it_is)
    with pytest.raises(InputError, match="'smoke' was measured, but the model's quantities are c"):
        operator({"c": jnp.zeros((6, 1, 4))})


def test_the_order_of_the_quantities_is_no_matter_to_a_program():
    """JAX rebuilds dictionaries with sorted keys: rows must not change places by that."""
    grid = Grid((0.0,), (1.0,), (8,), boundary=(Neumann(),))
    quantity = np.array(["c", "a", "b", "c", "a"])
    points = table(np.full((5, 1), 0.5), [0.1, 0.25, 0.3, 0.5, 0.6], quantity)
    size = {"a": 1.0, "b": 10.0, "c": 100.0}
    ones = np.ones((len(TIMES), 1, 8))
    u = {name: jnp.asarray(scale * ones) for name, scale in size.items()}
    expected = [size[name] for name in quantity]
    operator = ScatteredPoints(points, grid, TIMES, as_it_is)
    of_model = operator.of_model(grid)
    for one in (operator, of_model, jax.tree.map(lambda leaf: leaf, operator)):
        np.testing.assert_allclose(one(u), expected)
        np.testing.assert_allclose(eqx.filter_jit(lambda o, u: o(u))(one, u), expected)


def test_offsets_of_instruments_are_added_and_learned():
    grid = Grid((0.0,), (1.0,), (8,), boundary=(Neumann(),))
    points = table(np.full((3, 1), 0.5), [0.1, 0.25, 0.3], ["b", "a", "b"], error=2.0)
    u = {name: jnp.ones((len(TIMES), 1, 8)) for name in "ab"}

    def offsets(shift):
        return {"b": shift}

    operator = ScatteredPoints(points, grid, TIMES, as_it_is, model=0.5, offsets=offsets)
    np.testing.assert_allclose(operator(u), [0.75, 0.5, 0.75])
    slope = jax.jacobian(lambda shift: operator.of_model(shift)(u))(0.25)
    np.testing.assert_allclose(slope, [0.5, 0.0, 0.5])
    unknown = ScatteredPoints(points, grid, TIMES, as_it_is, offsets=offsets)
    np.testing.assert_allclose(unknown(u), 0.5)
