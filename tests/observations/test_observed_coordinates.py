"""Places on stretched axes and radii are read by their true distances, walls included."""

import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff import Axis, Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.grid import geometric, tanh
from impindiff.observations import (
    BlockAverages,
    PartAverage,
    PointTable,
    Probes,
    ScatteredPoints,
)

EDGES = np.asarray([0.0, 0.1, 0.25, 0.45, 0.8, 1.3])


def scattered(grid, places, conditions=None):
    n = len(places)
    table = PointTable(
        quantity=np.full(n, "u"), sample=np.zeros(n, int), time=np.full(n, 0.5),
        position=np.asarray(places, float), value=np.zeros(n), standard_deviation=np.ones(n),
    )  # fmt: skip
    given = None if conditions is None else lambda model: {"u": conditions}
    times = np.asarray([0.0, 1.0])
    operator = ScatteredPoints(table, grid, times, lambda u: {"u": u}, given, model=grid)
    return lambda u: operator(jnp.broadcast_to(u, (2, 1, *u.shape)))


@pytest.mark.few(1)
@pytest.mark.parametrize("walls", [None, ((Dirichlet(1.0), Robin(2.0, 0.5, 3.0 + 7.2)),)])
def test_linear_fields_are_read_exactly_up_to_the_walls(walls):
    grid = Grid.from_edges((EDGES,), walls or (Neumann(),))
    u = jnp.asarray(1 + 2 * grid.axis_centers(0))  # 3.6 at the wall: 2 u + u' / 2 = 8.2
    if walls is not None:
        walls = ((Dirichlet(1.0), Robin(2.0, 0.5, 8.2)),)
        grid = Grid.from_edges((EDGES,), walls)
    x = np.linspace(0.0, 1.3, 27)
    for read in (Probes.on(grid, x[:, None], walls), scattered(grid, x[:, None], walls)):
        if walls is None and not isinstance(read, Probes):
            continue  # the grid's own walls are used
        np.testing.assert_allclose(read(u), 1 + 2 * x, atol=1e-13)


def test_a_periodic_axis_is_read_across_its_seam():
    grid = Grid.from_edges((EDGES,), (Periodic(),))
    u = jnp.asarray([3.0, 0.0, 0.0, 0.0, 9.0])
    seam = 0.25 + 0.05  # from the last centre, half a cell of 0.5, to the first
    places = np.asarray([[0.0], [1.3], [0.05], [1.05]])
    expected = [9 - 6 * 0.25 / seam, 9 - 6 * 0.25 / seam, 3.0, 9.0]
    for read in (Probes.on(grid, places, (Periodic(),)), scattered(grid, places)):
        np.testing.assert_allclose(read(u), expected, rtol=1e-12)


@pytest.mark.slow
def test_second_order_in_a_tube_with_an_axis():
    def exact(r, z):
        return np.cos(2 * r**2) * np.exp(z)

    rng = np.random.default_rng(1)
    places = np.concatenate([rng.uniform([0, 1], [1, 3], (40, 2)), [[0.0, 1.0], [1.0, 3.0]]])
    errors = []
    for n in (16, 32, 64):
        bare = (tanh(0.0, 1.0, n, 1.0), geometric(1.0, 3.0, n + 2))
        r, z = (0.5 * (edges[1:] + edges[:-1]) for edges in bare)
        walls = (
            (Axis(), Dirichlet(exact(1.0, z))),
            (Dirichlet(exact(r, 1.0)), Neumann(exact(r, 3.0))),
        )
        grid = Grid.from_edges(bare, walls, "cylindrical")
        u = jnp.asarray(exact(*np.meshgrid(r, z, indexing="ij")))
        for read in (Probes.on(grid, places, walls), scattered(grid, places)):
            errors.append(np.abs(np.asarray(read(u)) - exact(*places.T)).max())
    errors = np.asarray(errors).reshape(3, 2)
    assert (np.log2(errors[:-1] / errors[1:]) > 1.7).all(), errors


def test_conditions_of_one_side_are_those_of_the_outer():
    grid = Grid.from_edges((EDGES,), (Neumann(),), "spherical")
    u = jnp.arange(5.0)
    places = np.asarray([[0.0], [1.3]])
    outer = (Dirichlet(7.0),)
    learned = Probes.on(grid, places, lambda model: outer).of_model(None)
    for read in (Probes.on(grid, places, outer), learned, scattered(grid, places, outer)):
        np.testing.assert_allclose(read(u), [0.0, 7.0], atol=1e-13)
    own = Probes.on(grid, places, lambda grid: grid.boundary).of_model(grid)
    np.testing.assert_allclose(own(u), [0.0, 4.0], atol=1e-13)
    with pytest.raises(ipd.InputError, match="outside"):
        Probes.on(grid, np.asarray([[1.4]]))


def test_averages_are_weighted_by_volumes():
    grid = Grid.from_edges(
        (EDGES[:5], np.linspace(0.0, 1.0, 3)), (Neumann(), Neumann()), "cylindrical"
    )
    u = jnp.asarray(np.random.default_rng(0).normal(size=(3, 4, 2)))
    V = np.broadcast_to(grid.volumes, grid.shape)
    whole = (np.asarray(u) * V).sum((1, 2)) / V.sum()
    np.testing.assert_allclose(PartAverage(grid.cells, grid.volumes)(u)[:, 0], whole, rtol=1e-12)
    blocks = BlockAverages(grid.cells, (2, 1), grid.volumes)(u)
    first = (np.asarray(u) * V)[:, :2, 0].sum(1) / V[:2, 0].sum()
    np.testing.assert_allclose(blocks[:, 0], first, rtol=1e-12)
    np.testing.assert_allclose(BlockAverages((4, 2), (2, 1))(u)[:, 0], u[:, :2, 0].mean(1))
