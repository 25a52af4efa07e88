"""Coarse grids: conductances in series, what is kept, and small grids by loops as one by one."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import normal, positive

import impindiff as ipd
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import Elliptic, _multigrid_cycle, multigrid_cycle
from impindiff.operators._star import star_of
from impindiff.operators._stencil import Stencil, next_to

CLOSED, PERIODIC = Neumann(), Periodic()


def coarse(A, axes):
    return Stencil.of(A.per_cell()).coarsened(axes, A.shape, A.periodic)


def product(stencil, periodic, u):
    level = stencil.level(u.shape, periodic)
    total = u
    for axis, wraps in enumerate(periodic):
        for side, step in enumerate((-1, 1)):
            near = next_to(u, axis, step, wraps, u.shape[axis])
            total = total - level.couplings[axis, side] * near
    return level.diagonal * total


def matrix_of(stencil, periodic):
    zero = jnp.zeros(stencil.reaction.shape)
    found = jax.jacobian(lambda u: product(stencil, periodic, u))(zero)
    return np.asarray(found).reshape(zero.size, zero.size)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(0,), (0, 1)])
@pytest.mark.parametrize("walls", [Periodic(), (Dirichlet(), Robin(1.0, 0.2))])
def test_a_constant_coefficient_coarsens_to_the_operator_of_the_coarse_grid(walls, axes):
    fine = Grid((0, 0), (1, 0.7), (8, 6), (walls, (Neumann(), Dirichlet())))
    cells = tuple(n // 2 if i in axes else n for i, n in enumerate(fine.cells))
    grid = Grid((0, 0), (1, 0.7), cells, fine.boundary)
    u = normal(0, cells)
    A = Elliptic.of(0.3, 2.0, fine)
    np.testing.assert_allclose(
        product(coarse(A, axes), A.periodic, u),
        2 ** len(axes) * Elliptic.of(0.3, 2.0, grid)(u), rtol=1e-12,
    )  # fmt: skip


@pytest.mark.slow
def test_odd_numbers_of_cells_lose_nothing():
    g = Grid((0, 0), (1, 1), (7, 5), (Periodic(), Neumann()))
    A = Elliptic.of(positive(0, g.shape), positive(1, g.shape), g)
    found = coarse(A, (0, 1))
    assert found.reaction.shape == (4, 3)
    np.testing.assert_allclose(found.reaction.sum(), A.reaction.sum())
    matrix = matrix_of(found, A.periodic)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(0), found.reaction.ravel(), rtol=1e-11)
    pair = Elliptic.of(1.0, 1.0, Grid((0,), (1,), (2,)))
    assert product(coarse(pair, (0,)), (True,), jnp.ones(1)) == 2.0


def test_layers_are_in_series_and_no_aggregate_is_cut_off():
    line = Grid((0,), (1,), (4,), (Neumann(),))
    layers = jnp.asarray([1.0, 4.0, 2.0, 0.5])
    # between the centres of the pairs: half of a cell with 4, half of one with 2, and the halves
    # of what lies between the centres inside each pair
    resistance = (0.5 / 4 + 0.5 / 2) + 0.5 * (0.5 / 1 + 0.5 / 4) + 0.5 * (0.5 / 2 + 0.5 / 0.5)
    found = coarse(Elliptic.of(layers, 1.0, line), (0,)).conductances
    np.testing.assert_allclose(found.upper[0], [16 / resistance, 0])
    # cells parted by a closed face: still a fifth of the open one between the pairs
    closed = Elliptic.of(jnp.asarray([0.0, 1.0, 1.0, 0.0]), 1.0, line)
    np.testing.assert_allclose(coarse(closed, (0,)).conductances.upper[0, 0], 16 / 5)


@pytest.mark.slow
@pytest.mark.parametrize("axes", [(0,), (0, 1)])
def test_coarsening_transposes_and_keeps_what_is_carried(axes):
    grid = ipd.Grid((0, 0), (1, 1), (7, 6), (CLOSED, PERIODIC))
    D, v = positive(0, grid.cells), normal(1, (2, *grid.cells))

    def linear(u):
        return 2.0 * u - ipd.diffusion(u, D, grid) - ipd.advection(u, v, grid)

    @jax.jit
    def stencils():
        A = star_of(linear, jnp.zeros(grid.cells), grid.periodic, grid.spacing)
        return A, coarse(A, axes), coarse(A.transposed(), axes)

    A, found, turned = stencils()
    matrix = matrix_of(found, A.periodic)
    np.testing.assert_allclose(matrix_of(turned, A.periodic), matrix.T, atol=1e-12)
    # an M-matrix, which consumes as much as the fine one; what leaves through walls is rounded
    assert (matrix - np.diag(np.diag(matrix))).max() <= 1e-12
    np.testing.assert_allclose(found.reaction.sum(), A.reaction.sum(), rtol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "sides"),
    [
        ((21,), (PERIODIC,)),
        ((5, 6), ((Dirichlet(), CLOSED), PERIODIC)),
        ((9, 13), (PERIODIC, (CLOSED, Dirichlet()))),
        ((4, 1 + 4, 3), (PERIODIC, Dirichlet(), CLOSED)),
    ],
)
@pytest.mark.parametrize("kind", ["symmetric", "drift", "lines"])
def test_small_grids_by_loops_are_as_one_by_one(cells, sides, kind, monkeypatch):
    grid = Grid((0,) * len(cells), cells, cells, sides)
    A = Elliptic.of(positive(0, cells), positive(1, cells), grid)
    if kind == "drift":

        def moved(x):
            return 0.9 * x * normal(2, x.shape)

        drift = [jax.tree.map(moved, f) for f in A.faces]
        drift = [
            w._replace(upper=w.lower) if p else w for w, p in zip(drift, A.periodic, strict=True)
        ]
        A = dataclasses.replace(A, drift=tuple(drift))
    A = dataclasses.replace(A, lines=kind == "lines")
    b = normal(3, cells)
    by_loops = jax.jit(lambda b: multigrid_cycle(A)(b))(b)
    monkeypatch.setattr(_multigrid_cycle, "_SMALL", (0, 0))
    one_by_one = jax.jit(lambda b: multigrid_cycle(A)(b))(b)
    np.testing.assert_allclose(by_loops, one_by_one, rtol=1e-11, atol=1e-13)
