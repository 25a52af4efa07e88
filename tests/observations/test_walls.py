"""Values on walls and beside them are those of the boundary conditions, to second order."""

import itertools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import dot, normal_like
from impindiff import Dirichlet, Grid, InputError, Neumann, Periodic, Robin
from impindiff.observations import Measurement, Measurements, PointTable, Probes, ScatteredPoints
from impindiff.rollout import StoreStates
from impindiff.training import TrajectoryLoss

LOWER, UPPER = (-0.5, 1.0, 0.2), (1.5, 2.0, 1.0)
TIMES = np.array([0.0, 0.4, 0.7, 1.0])
RATES = (0.9, -1.3, 0.6)


def exact(x, t: Any = 0.0):
    """A sum and a product of exponentials, so that mixed derivatives do not vanish."""
    parts = [np.exp(rate * np.asarray(xi)) for rate, xi in zip(RATES, x, strict=False)]
    return (np.prod(parts, axis=0) + 0.3 * np.sum(parts, axis=0)) * (1 + t)


def slope(x, axis):
    parts = [np.exp(rate * np.asarray(xi)) for rate, xi in zip(RATES, x, strict=False)]
    return RATES[axis] * (np.prod(parts, axis=0) + 0.3 * parts[axis])


def on_face(grid, axis, side, a, b):
    """The value of a u + b du/dn on the face, at time 0."""
    others = [grid.axis_centers(i) for i in range(grid.ndim) if i != axis]
    mesh = list(np.meshgrid(*others, indexing="ij")) if others else []
    wall = (grid.upper if side else grid.lower)[axis]
    mesh.insert(axis, np.full(mesh[0].shape if mesh else (), wall))
    return a * exact(mesh) + b * (1.0 if side else -1.0) * slope(mesh, axis)


KINDS = {"dirichlet": (1.0, 0.0), "neumann": (0.0, 1.0), "robin": (0.7, 0.4)}


def conditions(ndim, n, kinds, timed):
    bare = Grid(LOWER[:ndim], UPPER[:ndim], (n, n + 1, n + 2)[:ndim])
    pairs = []
    for axis in range(ndim):
        pair = []
        for side in (0, 1):
            kind = kinds[(axis + side) % len(kinds)]
            a, b = KINDS[kind]
            first = on_face(bare, axis, side, a, b)
            value: Any = (lambda t, first=first: first * (1 + t)) if timed else first
            one = {"dirichlet": Dirichlet, "neumann": Neumann}.get(kind)
            pair.append(Robin(a, b, value) if one is None else one(value))
        pairs.append(tuple(pair))
    return Grid(bare.lower, bare.upper, bare.cells, boundary=pairs)


def table(position, time: Any = 0.5, sample: Any = 0):
    n = len(position)
    return PointTable(
        np.full(n, "u"), np.broadcast_to(sample, n), np.broadcast_to(time, n).astype(float),
        np.asarray(position, float), np.zeros(n), np.ones(n),
    )  # fmt: skip


def near_all_walls(grid, count=4):
    """Corners, edges, faces and their surroundings."""
    axes = []
    for low, high, h in zip(grid.lower, grid.upper, grid.spacing, strict=True):
        axes.append([low, low + 0.23 * h, (low + high) / 2 + 0.1 * h, high - 0.41 * h, high])
    return np.array(list(itertools.product(*axes)))


def states(grid, samples=2):
    first = exact(np.asarray(grid.centers))
    return {"u": jnp.asarray([[(1 + s) * (1 + t) * first for s in range(samples)] for t in TIMES])}


def as_it_is(u):
    return u


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("ndim", "kinds"),
    [
        (1, tuple(KINDS)),
        *[(2, (kind,)) for kind in KINDS],
        (2, tuple(KINDS)),
        (3, ("dirichlet",)),
        (3, tuple(KINDS)),
    ],
    ids=str,
)
def test_second_order_on_walls_edges_and_corners(ndim, kinds):
    errors, places = [], np.zeros((0, ndim))
    for n in (16, 32) if ndim == 3 else (32, 64):
        grid = conditions(ndim, n, kinds, timed=True)
        places = near_all_walls(grid)
        read = eqx.filter_jit(ScatteredPoints(table(places, 0.55), grid, TIMES, as_it_is))(
            states(grid)
        )
        errors.append(np.abs(read - exact(places.T, 0.55)).max())
    orders = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    assert errors[-1] < 0.01 * np.abs(exact(places.T, 0.55)).max()
    assert orders.min() > 1.7, (errors, orders)


def test_the_value_on_a_dirichlet_wall_is_the_walls_at_the_time_of_the_measurement():
    """Even where nothing of the field agrees with it, and between the times of the states."""
    wave = lambda t: jnp.sin(20 * t)  # noqa: E731
    grid = Grid((0.0,), (1.0,), (4,), boundary=((Dirichlet(wave), Dirichlet(3.0)),))
    at = np.array([0.05, 0.31, 0.5, 0.99])
    both = np.concatenate([table(np.zeros((4, 1)), at).position, np.ones((4, 1))])
    points = table(both, np.tile(at, 2))
    u = {"u": jnp.asarray(np.random.default_rng(0).normal(size=(4, 1, 4)))}
    found = eqx.filter_jit(ScatteredPoints(points, grid, TIMES, as_it_is))(u)
    np.testing.assert_allclose(found[:4], np.sin(20 * at), atol=1e-14)
    np.testing.assert_allclose(found[4:], 3.0, atol=1e-14)


def test_a_flux_that_depends_on_time_is_taken_at_the_time_of_the_measurement():
    flux = lambda t: t**2  # noqa: E731
    grid = Grid((0.0,), (1.0,), (4,), boundary=((Neumann(), Neumann(flux)),))
    u = {"u": jnp.full((4, 1, 4), 2.0)}
    found = ScatteredPoints(table([[1.0]], 0.6), grid, TIMES, as_it_is)(u)
    np.testing.assert_allclose(found, 2.0 + 0.125 * 0.36, rtol=1e-14)


@pytest.mark.slow
def test_values_of_each_sample_and_of_single_places_of_the_face():
    """(samples, *face), with axes of length 1, beside a periodic axis."""
    inlet = np.array([1.0, 5.0])[:, None] + np.arange(6.0)
    grid = Grid(
        (0.0, 0.0), (1.0, 6.0), (4, 6),
        boundary=((Dirichlet(inlet), Neumann(np.zeros((2, 1)))), Periodic()),
    )  # fmt: skip
    places = np.array([[0.0, 0.5], [0.0, 2.25], [0.0, 0.0], [0.0, 6.0]])
    u = {"u": jnp.zeros((4, 2, 4, 6))}
    for sample, first in ((0, 1.0), (1, 5.0)):
        points = table(places, 0.4, sample)
        found = eqx.filter_jit(ScatteredPoints(points, grid, TIMES, as_it_is))(u)
        # at the seam halfway between the first and the last
        np.testing.assert_allclose(found, first + np.array([0, 1.75, 2.5, 2.5]), atol=1e-14)
    wrong = Grid(
        (0.0, 0.0), (1.0, 6.0), (4, 6), boundary=((Dirichlet(np.ones(5)),) * 2, Periodic())
    )
    with pytest.raises(InputError, match=r"axis 0, lower side: value: shape \(5,\) does not fit"):
        ScatteredPoints(table(places, 0.4), wrong, TIMES, as_it_is)(u)


def test_what_is_no_component_of_the_state_is_continued_in_a_straight_line():
    grid = Grid((0.0,), (1.0,), (10,), boundary=((Dirichlet(7.0), Dirichlet(7.0)),))
    x = grid.axis_centers(0)
    u = {"u": jnp.asarray(np.tile(2 + 3 * x, (4, 1, 1)))}
    points = table([[0.0], [0.02], [1.0]], 0.5)
    found = ScatteredPoints(points, grid, TIMES, lambda u: {"u": 2 * u["u"]})(u)
    np.testing.assert_allclose(found, [4.0, 4.12, 10.0], rtol=1e-12)
    stated = lambda model: {"u": ((Dirichlet(9.0), Neumann(0.0)),)}  # noqa: E731
    doubled = ScatteredPoints(points, grid, TIMES, lambda u: {"u": 2 * u["u"]}, stated, model=0)
    beside = 2 * float(u["u"][0, 0, -1])
    np.testing.assert_allclose(doubled(u)[jnp.array([0, 2])], [9.0, beside])


class Fin(ipd.HybridModel):
    grid: Grid
    conductivity: float = 0.1

    def tendency(self, t, u, latent):
        return {"u": ipd.diffusion(u["u"], self.conductivity, self.grid, t=t)}


def fin(base, film):
    walls = (Dirichlet(base), Robin(film, 0.1, film * 0.2))
    return Fin(Grid((0.0,), (1.0,), (8,), boundary=(walls,)))


@pytest.mark.slow
def test_the_loss_reads_the_walls_of_the_model_and_its_gradient_reaches_them():
    """Derivatives with respect to boundary values that are learned, against differences."""
    first = fin(jnp.asarray(1.0), jnp.asarray(0.5))
    points = table([[0.0], [0.03], [0.98], [1.0]], [0.5, 0.7, 0.5, 1.0])
    u0 = {"u": jnp.ones((1, 8))}

    def loss_of(observe):
        return TrajectoryLoss(
            u0=u0, times=tuple(map(float, TIMES)), values=jnp.array([0.3, 0.2, 0.1, 0.4]),
            observe=observe, stepper=ipd.CrankNicolson(), dt=0.1, checkpointing=StoreStates(),
        )  # fmt: skip

    observe = ScatteredPoints(points, first.grid, TIMES, as_it_is)
    loss = loss_of(observe)

    @jax.jit
    def value(p):
        return jnp.sum(loss.misfit(fin(p[0], p[1]), None)[0] ** 2)

    p = jnp.array([0.8, 0.9])
    # what is read on the wall is the model's value, not the one that the operator began with
    result = loss.trajectory(fin(*p), None)
    read = observe.of_model(fin(*p))(result.u)
    np.testing.assert_allclose(read[0], 0.8, rtol=1e-14)
    gradient = jax.grad(value)(p)
    for i in range(2):
        step = jnp.zeros(2).at[i].set(1e-5)
        np.testing.assert_allclose(
            gradient[i], (value(p + step) - value(p - step)) / 2e-5, rtol=2e-6
        )
    # with nothing but the wall's value between the parameter and what is read
    direct = lambda base: observe.of_model(fin(base, 0.5))(  # noqa: E731
        {"u": jnp.ones((4, 1, 8))}
    )
    np.testing.assert_allclose(jax.jacobian(direct)(jnp.asarray(0.3))[0], 1.0)


@pytest.mark.slow
def test_probes_read_walls_too():
    grid = conditions(2, 16, ("dirichlet", "neumann"), timed=False)
    places = near_all_walls(grid)
    u = jnp.asarray(exact(np.asarray(grid.centers)))
    probes = Probes(grid.lower, grid.upper, grid.cells, places, grid.boundary)
    found = eqx.filter_jit(probes)(jnp.stack([u, 2 * u, 3 * u])[None])
    assert found.shape == (1, 3, len(places))
    scattered = eqx.filter_jit(ScatteredPoints(table(places, 0.0), grid, TIMES, as_it_is))(
        {"u": jnp.broadcast_to(u, (4, 1, *u.shape))}
    )
    np.testing.assert_allclose(found[0, 0], scattered, rtol=1e-12)
    learned = Probes(grid.lower, grid.upper, grid.cells, places, lambda model: model.grid.boundary)
    part = Measurement("probes", lambda v: v["u"], learned, [0], 1.0)
    read = eqx.filter_jit(Measurements([part]).of_model(Fin(grid)))({"u": u[None, None]})
    np.testing.assert_allclose(read, found[0, 0], rtol=1e-12)
    timed = conditions(2, 16, ("dirichlet",), timed=True)
    probes = Probes(grid.lower, grid.upper, grid.cells, places, timed.boundary)
    assert np.abs(eqx.filter_jit(probes)(3 * u, t=2.0) - exact(places.T, 2.0)).max() < 0.05
    with pytest.raises(InputError, match="value is a function of time, and the time is not known"):
        probes(u)
    with pytest.raises(InputError, match="periodic axes must be known from the start"):
        learned.of_model(Fin(Grid(grid.lower, grid.upper, grid.cells)))
    closed = Probes((0.0,), (1.0,), (4,), np.array([[0.0], [1.0]]), (Periodic(),))
    np.testing.assert_allclose(closed(np.arange(4.0)), [1.5, 1.5])


def test_the_transpose_is_the_transpose_and_the_precision_that_of_the_states():
    grid = conditions(2, 6, tuple(KINDS), timed=True)
    operator = ScatteredPoints(table(near_all_walls(grid), 0.55), grid, TIMES, as_it_is)
    u, v = (normal_like(seed, states(grid)) for seed in (0, 1))

    @jax.jit
    def both(u, v):
        read, pull = jax.vjp(operator, u)
        return read, jax.jvp(operator, (u,), (v,))[1], pull(read)[0]

    read, moved, pulled = both(u, v)
    assert dot(moved, read) == pytest.approx(dot(v, pulled), rel=1e-12)
    single = eqx.filter_jit(operator)(jax.tree.map(lambda x: x.astype(jnp.float32), u))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, read, rtol=1e-4, atol=1e-4)


REFUSED = {
    "sample 5 of 1": ({"sample": 5}, (4, 1, 4), "a value of sample 5, but the states have 1"),
    "8 cells": ({}, (4, 1, 8), r"quantity 'u' has shape \(4, 1, 8\); expected"),
    "2 cells": ({}, (4, 1, 2), r"has shape \(4, 1, 2\)"),
    "states of 1 time": ({}, (1, 1, 4), r"has shape \(1, 1, 4\)"),
    "states of 5 times": ({}, (5, 1, 4), r"has shape \(5, 1, 4\)"),
    "no sample axis": ({}, (4, 4), r"has shape \(4, 4\)"),
    "another axis": ({}, (4, 1, 4, 4), r"has shape \(4, 1, 4, 4\)"),
    "sample -1": ({"sample": -1}, None, "is of sample -1; samples are numbered from 0"),
    "no time": ({"time": np.nan}, None, "is at t = nan, outside"),
    "no place": ({"position": [[np.nan]]}, None, r"is at \(nan\), outside the grid"),
}


@pytest.mark.parametrize(("change", "shape", "words"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_in_the_states_is_refused(change, shape, words):
    def read():
        points = table(**({"position": [[0.5]], "time": 0.5} | change))
        operator = ScatteredPoints(points, Grid((0.0,), (1.0,), (4,)), TIMES, as_it_is)
        operator({"u": jnp.zeros(shape)})

    with pytest.raises(InputError, match=words):
        read()


def test_values_without_an_error_are_refused():
    points = table([[0.5]])
    points.standard_deviation[0] = np.nan
    with pytest.raises(InputError, match="has the standard deviation nan; give a positive one"):
        ScatteredPoints(points, Grid((0.0,), (1.0,), (4,)), TIMES, as_it_is)


def test_a_loss_whose_values_have_another_shape_is_refused():
    loss = TrajectoryLoss(
        u0={"u": jnp.ones((1, 8))}, times=(0.0, 1.0), values=jnp.zeros((3,)),
        observe=lambda u: u["u"][0, 0, :3, None], stepper=ipd.RK4(), dt=0.1,
        checkpointing=StoreStates(),
    )  # fmt: skip
    with pytest.raises(InputError, match=r"observe gives an array of shape \(3, 1\), but the val"):
        loss.misfit(fin(1.0, 0.5), None)
