"""Elliptic operators kept as conductances: the same as `diffusion`, and what they coarsen to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import CELLS, CONDITIONS, grid, linear_part, normal

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import Elliptic, diffusion


def positive(seed, shape):
    return jnp.exp(normal(seed, shape))


@pytest.mark.parametrize(
    ("ndim", "condition", "averaging"),
    [
        (1, "robin", "harmonic"),
        (3, "mixed", "arithmetic"),
        *((2, name, "harmonic") for name in CONDITIONS),
        (2, "robin", "arithmetic"),
    ],
)
def test_reaction_minus_diffusion_and_its_diagonal(ndim, condition, averaging):
    g, shape = grid(ndim, condition), CELLS[ndim]
    D, r, u = positive(1, shape), positive(2, shape), normal(3, shape)

    @jax.jit
    def both(u, D, r):
        A = Elliptic.of(D, r, g, averaging=averaging)
        expected = r * u - linear_part(lambda u: diffusion(u, D, g, averaging=averaging))(u)
        return A(u), expected, A.main_diagonal(), jax.jacobian(A)(u)

    found, expected, diagonal, matrix = both(u, D, r)
    scale = float(jnp.abs(expected).max())
    np.testing.assert_allclose(found, expected, atol=1e-13 * scale)
    matrix = matrix.reshape(g.size, g.size)
    np.testing.assert_allclose(diagonal.ravel(), jnp.diag(matrix), rtol=1e-13)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-13 * scale)


def test_boundary_values_do_not_matter_and_coefficients_differ_by_axis():
    walls = ((Dirichlet(lambda t: t), Robin(1.0, jnp.full(5, 0.3), 7.0)), Neumann(2.0))
    zero = ((Dirichlet(), Robin(1.0, 0.3)), Neumann())
    g = grid(2)
    D, u = positive(1, g.shape), normal(2, g.shape)
    A = Elliptic.of((D, 0.5), 1.0, g, boundary=walls)
    expected = u - diffusion(u, (D, 0.5), g, averaging="harmonic", boundary=zero)
    np.testing.assert_allclose(A(u), expected, rtol=1e-12)


@pytest.mark.parametrize("axes", [(0,), (0, 1)])
@pytest.mark.parametrize("walls", [Periodic(), (Dirichlet(), Robin(1.0, 0.2))])
def test_a_constant_coefficient_coarsens_to_the_operator_of_the_coarse_grid(walls, axes):
    fine = Grid((0, 0), (1, 0.7), (8, 6), (walls, (Neumann(), Dirichlet())))
    cells = tuple(n // 2 if i in axes else n for i, n in enumerate(fine.cells))
    coarse = Grid((0, 0), (1, 0.7), cells, fine.boundary)
    u = normal(0, cells)
    found = Elliptic.of(0.3, 2.0, fine).coarsened(axes)
    np.testing.assert_allclose(
        found(u), 2 ** len(axes) * Elliptic.of(0.3, 2.0, coarse)(u), rtol=1e-12
    )
    np.testing.assert_allclose(found.spacing, coarse.spacing)


def test_odd_numbers_of_cells_lose_nothing():
    g = Grid((0, 0), (1, 1), (7, 5), (Periodic(), Neumann()))
    A = Elliptic.of(positive(0, g.shape), positive(1, g.shape), g)
    coarse = A.coarsened((0, 1))
    assert coarse.shape == (4, 3)
    np.testing.assert_allclose(coarse.reaction.sum(), A.reaction.sum())
    matrix = jax.jacobian(coarse)(jnp.zeros(coarse.shape)).reshape(12, 12)
    np.testing.assert_allclose(matrix, matrix.T, atol=1e-12)
    np.testing.assert_allclose(matrix.sum(0), coarse.reaction.ravel(), rtol=1e-11)
    assert Elliptic.of(1.0, 1.0, Grid((0,), (1,), (2,))).coarsened((0,))(jnp.ones(1)) == 2.0


def test_layers_are_in_series_and_no_aggregate_is_cut_off():
    line = Grid((0,), (1,), (4,), (Neumann(),))
    layers = jnp.asarray([1.0, 4.0, 2.0, 0.5])
    # between the centres of the pairs: half of a cell with 4, half of one with 2, and the halves
    # of what lies between the centres inside each pair
    resistance = (0.5 / 4 + 0.5 / 2) + 0.5 * (0.5 / 1 + 0.5 / 4) + 0.5 * (0.5 / 2 + 0.5 / 0.5)
    (faces,) = Elliptic.of(layers, 1.0, line).coarsened((0,)).faces
    np.testing.assert_allclose(faces.inner, 16 / resistance)
    # cells parted by a closed face: still a fifth of the open one between the pairs
    closed = Elliptic.of(jnp.asarray([0.0, 1.0, 1.0, 0.0]), 1.0, line)
    np.testing.assert_allclose(closed.coarsened((0,)).faces[0].inner, 16 / 5)


def test_float32_is_kept():
    g = grid(2, "robin")
    A = Elliptic.of(jnp.ones(g.shape, jnp.float32), 1.0, g)
    assert {leaf.dtype for leaf in jax.tree.leaves(A)} == {jnp.dtype("float32")}


@pytest.mark.parametrize(
    ("coefficient", "reaction", "message"),
    [
        (jnp.ones((3, 6, 5)), 1.0, r"coefficient: an Elliptic is one sample's.*\(3, 6, 5\)"),
        (1.0, jnp.ones((3, 6, 5)), r"reaction: an Elliptic is one sample's.*\(3, 6, 5\)"),
        (1.0, jnp.ones((5, 6)), r"reaction: .*\(6, 5\)"),
        ((1.0,), 1.0, "coefficient: expected 2 entries"),
    ],
)
def test_refused(coefficient, reaction, message):
    with pytest.raises(InputError, match=message):
        Elliptic.of(coefficient, reaction, grid(2))
