"""Gradient and divergence: exactness, duality, conservation, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import CELLS, grid, normal

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import divergence, gradient


@pytest.mark.few(1)
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_gradient_is_exact_on_linear_fields(ndim):
    slopes = (2.0, -3.0, 0.5)[:ndim]
    plain = grid(ndim)
    u = 1.0 + jnp.tensordot(jnp.asarray(slopes), plain.centers, 1)
    # Neumann below, Robin above: du/dn changes sign between the sides.
    sides = []
    for axis, s in enumerate(slopes):
        face = 1.0 + sum(
            slopes[i] * jnp.take(plain.centers[i], 0, axis) for i in range(ndim) if i != axis
        )
        at_upper = face + s * plain.upper[axis]
        sides.append((Neumann(-s), Robin(2.0, 0.4, 2.0 * at_upper + 0.4 * s)))
    found = gradient(u, plain, boundary=sides)
    expected = jnp.stack([jnp.full(plain.shape, s) for s in slopes])
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_divergence_is_exact_on_linear_fields(ndim):
    slopes = (2.0, -3.0, 0.5)[:ndim]
    plain = grid(ndim)
    v = jnp.stack([s * x for s, x in zip(slopes, plain.centers, strict=True)])
    walls = [
        (Dirichlet(0.0), Dirichlet(lambda t, s=s, up=up: t * s * up))
        for s, up in zip(slopes, plain.upper, strict=True)
    ]
    np.testing.assert_allclose(divergence(v, plain, boundary=walls, t=1.0), sum(slopes), atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
@pytest.mark.parametrize("wall", [True, False])
def test_divergence_is_minus_the_transpose_of_gradient(ndim, wall):
    g = grid(ndim)
    for_p = ((Neumann() if wall else Periodic()),) * ndim
    for_v = ((Dirichlet() if wall else Periodic()),) * ndim
    p, v = normal(0, CELLS[ndim]), normal(1, (ndim, *CELLS[ndim]))
    left = jnp.vdot(gradient(p, g, boundary=for_p), v)
    right = -jnp.vdot(p, divergence(v, g, boundary=for_v))
    np.testing.assert_allclose(left, right, rtol=1e-12)


def test_divergence_sums_to_the_flux_through_the_boundary():
    g = Grid((0, 0), (1, 2), (4, 6), ((Dirichlet(1.0), Dirichlet(3.5)), Periodic()))
    total = divergence(normal(0, (2, 4, 6)), g).sum() * g.cell_volume
    np.testing.assert_allclose(total, (3.5 - 1.0) * 2.0, rtol=1e-12)


def test_batch_equals_loop_and_float32_is_kept():
    g = grid(2, "mixed")
    u, v = normal(0, (3, *g.shape), jnp.float32), normal(1, (2, 3, *g.shape), jnp.float32)
    du, dv = jax.jit(lambda u, v: (gradient(u, g), divergence(v, g)))(u, v)
    assert du.shape == v.shape
    assert dv.shape == u.shape
    assert du.dtype == dv.dtype == jnp.float32
    for i in range(3):
        np.testing.assert_allclose(du[:, i], gradient(u[i], g), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(dv[i], divergence(v[:, i], g), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda g: gradient(jnp.ones((5, 6)), g), r"grid's \(6, 5\), got shape \(5, 6\)"),
        (lambda g: divergence(jnp.ones((2, 5, 6)), g), r"grid's \(6, 5\), got shape \(2, 5, 6\)"),
        (lambda g: divergence(jnp.ones((6, 5)), g), r"\(2, ..., 6, 5\), got \(6, 5\)"),
        (lambda g: divergence(jnp.ones((3, 6, 5)), g), r"\(2, ..., 6, 5\), got \(3, 6, 5\)"),
        (lambda g: gradient(jnp.ones((6, 5)), g, boundary=(Periodic(),)), "expected 2 entries"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(grid(2))
