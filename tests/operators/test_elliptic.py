"""Elliptic operators kept as conductances: the same as `diffusion`, and what they coarsen to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import CELLS, CONDITIONS, grid, linear_part, normal, positive

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Neumann, Robin
from impindiff.operators import Elliptic, diffusion


@pytest.mark.few(3)
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
