"""Matrices read off their products: every entry, whatever the grid, and what is made of them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import normal

import impindiff as ipd
from impindiff.operators import colouring, star_of

PERIODIC, CLOSED, HELD = ipd.Periodic(), ipd.Neumann(), ipd.Dirichlet()


def step_of(grid, scheme="upwind"):
    """u -> u - w (advection + diffusion - decay), and which axes are periodic."""
    velocity = normal(1, (grid.ndim, *grid.cells))
    D = jnp.exp(normal(2, grid.cells))

    def matvec(u):
        rate = ipd.diffusion(u, D, grid) + ipd.advection(u, velocity, grid, scheme) - 0.3 * u
        return u - 0.1 * rate

    _, linear = jax.linearize(matvec, jnp.zeros(grid.cells))
    return linear, tuple(lower is PERIODIC for lower, _ in grid.boundary)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("cells", "boundary"),
    [
        ((9,), (CLOSED,)),
        ((7,), (PERIODIC,)),
        ((8, 6), (PERIODIC, (HELD, CLOSED))),
        ((7, 5), (PERIODIC, PERIODIC)),
        ((5, 2), (PERIODIC, PERIODIC)),
        ((4, 3, 5), ((HELD, CLOSED), PERIODIC, CLOSED)),
    ],
)
def test_every_entry_and_the_transpose(cells, boundary):
    grid = ipd.Grid((0,) * len(cells), (1,) * len(cells), cells, boundary)
    linear, periodic = step_of(grid)

    @jax.jit
    def matrices():
        A = star_of(linear, jnp.zeros(cells), periodic, grid.spacing)
        u = jnp.zeros(cells)
        return A, jax.jacobian(A)(u), jax.jacobian(A.transposed())(u), jax.jacobian(linear)(u)

    A, found, turned, expected = matrices()
    expected = expected.reshape(grid.size, grid.size)
    np.testing.assert_allclose(found.reshape(expected.shape), expected, atol=1e-13)
    np.testing.assert_allclose(turned.reshape(expected.shape), expected.T, atol=1e-13)
    np.testing.assert_allclose(A.main_diagonal().ravel(), np.diag(expected), rtol=1e-13)


@pytest.mark.parametrize(
    ("cells", "periodic", "at_most"),
    [
        ((50,), (False,), 3),
        ((64,), (True,), 4),
        ((50, 40), (False, False), 5),
        ((64, 64), (True, True), 8),
        ((30, 20, 10), (False, False, False), 7),
        ((64, 64, 32), (True, True, True), 8),
        ((61, 53), (True, True), 9),
        ((3, 3, 3), (True, True, True), 15),
        ((61, 53, 47), (True, True, True), 13),
    ],
)
def test_neighbours_differ_in_colour_from_a_cell_and_from_each_other(cells, periodic, at_most):
    plan = colouring(cells, periodic)
    assert plan.colours <= at_most
    colour = np.asarray(plan.of_cells())
    stars = [colour]
    for axis, step in itertools.product(range(len(cells)), (-1, 1)):
        neighbour = np.roll(colour, step, axis).astype(float)
        if not periodic[axis]:
            # nothing beyond a wall: any colour of its own
            edge: list[slice | int] = [slice(None)] * len(cells)
            edge[axis] = 0 if step == 1 else -1
            neighbour[tuple(edge)] = -1 - axis * 2 - (step == 1)
        stars.append(neighbour)
    assert all(np.all(a != b) for a, b in itertools.combinations(stars, 2))


def test_no_entry_is_read_and_written_again_at_each_product():
    grid = ipd.Grid((0, 0), (1, 1), (6, 5), (CLOSED, CLOSED))
    linear, periodic = step_of(grid)
    like = jnp.zeros(grid.cells)
    program = jax.make_jaxpr(lambda: star_of(linear, like, periodic, grid.spacing))()
    (loop,) = [eqn for eqn in program.jaxpr.eqns if eqn.primitive.name == "scan"]
    assert loop.params["num_carry"] == 0


def test_walls_are_told_from_reaction():
    grid = ipd.Grid((0, 0), (1, 1), (6, 5), ((HELD, CLOSED), CLOSED))
    expected = ipd.Elliptic.of(0.3, 2.0, grid)
    found = star_of(expected, jnp.zeros(grid.cells), (False, False), grid.spacing)
    np.testing.assert_allclose(found.reaction, expected.reaction, rtol=1e-12)
    for a, b in zip(jax.tree.leaves(found.faces), jax.tree.leaves(expected.faces), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
