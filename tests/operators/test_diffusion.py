"""Diffusion: conservation, symmetry, sign, exactness, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import CELLS, CONDITIONS, grid, linear_part, normal, positive

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import diffusion


@pytest.mark.parametrize("averaging", ["arithmetic", "harmonic"])
@pytest.mark.parametrize("condition", ["periodic", "neumann"])
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_nothing_is_lost_inside(ndim, condition, averaging):
    g, shape = grid(ndim, condition), CELLS[ndim]
    u, D = normal(0, shape), positive(1, shape)
    rate = jax.jit(lambda: diffusion(u, D, g, averaging=averaging))()
    assert abs(rate.sum()) < 1e-12 * jnp.abs(rate).sum()


def test_what_enters_is_the_prescribed_flux():
    # D du/dn = D q on both sides of x, whose area is 2.
    g = Grid((0, 0), (1, 2), (4, 6), ((Neumann(0.3), Neumann(lambda t: t)), Periodic()))
    total = diffusion(normal(0, (4, 6)), 0.5, g, t=0.9).sum() * g.cell_volume
    np.testing.assert_allclose(total, 0.5 * (0.3 + 0.9) * 2.0, rtol=1e-12)


@pytest.mark.few(3)
@pytest.mark.parametrize(
    ("ndim", "condition"), [(1, "robin"), (3, "mixed"), *((2, name) for name in CONDITIONS)]
)
def test_symmetric_and_negative(ndim, condition):
    g, shape = grid(ndim, condition), CELLS[ndim]
    D = [positive(i, shape) for i in range(ndim)]
    L = jax.jit(linear_part(lambda u: diffusion(u, D, g)))
    u, w = normal(3, shape), normal(4, shape)
    np.testing.assert_allclose(jnp.vdot(L(u), w), jnp.vdot(u, L(w)), rtol=1e-11)
    matrix = jax.jit(jax.jacobian(L))(jnp.zeros(shape)).reshape(g.size, g.size)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues.max() < 1e-10 * abs(eigenvalues.min())
    # Constants are in the kernel exactly where nothing holds the level.
    assert (eigenvalues.max() > -1e-8) == (condition in ("periodic", "neumann"))


def test_exact_on_quadratics_and_harmonic_on_layers():
    g = Grid((0,), (1,), (8,), ((Neumann(-1.0), Neumann(5.0)),))
    (x,) = g.centers
    np.testing.assert_allclose(diffusion(x + 2 * x**2, 3.0, g), 12.0, rtol=1e-11)
    # Two layers in series, D = 1 and 4: a continuous flux through the jump.
    D = jnp.where(x < 0.5, 1.0, 4.0)
    u = jnp.where(x < 0.5, x, 0.5 + (x - 0.5) / 4)
    fixed = ((Dirichlet(0.0), Dirichlet(0.625)),)
    balanced = diffusion(u, D, g, averaging="harmonic", boundary=fixed)
    np.testing.assert_allclose(balanced, 0, atol=1e-12)
    assert jnp.abs(diffusion(u, D, g, boundary=fixed)).max() > 1


@pytest.mark.parametrize("kind", ["dirichlet", "neumann", "robin"])
def test_linear_field_under_a_linear_coefficient(kind):
    # div(D u') = D' u' = 0.8 * 3, with D extrapolated to the walls.
    walls = {
        "dirichlet": (Dirichlet(1.0), Dirichlet(4.0)),
        "neumann": (Neumann(-3.0), Neumann(3.0)),
        "robin": (Robin(2.0, 1.0, 2.0 - 3.0), Robin(0.5, 2.0, 2.0 + 6.0)),
    }[kind]
    g = Grid((0,), (1,), (8,), (walls,))
    (x,) = g.centers
    np.testing.assert_allclose(diffusion(1 + 3 * x, 1 + 0.8 * x, g), 2.4, rtol=1e-11)


@pytest.mark.slow
def test_anisotropic_is_the_sum_of_its_axes():
    g = grid(2, "robin")
    u, D = normal(0, g.shape), positive(1, g.shape)
    both = diffusion(u, (D, 0.7), g)
    np.testing.assert_allclose(both, diffusion(u, (D, 0.0), g) + diffusion(u, (0.0, 0.7), g))
    np.testing.assert_allclose(diffusion(u, D, g), diffusion(u, [D, D], g))


def test_batches_broadcast():
    g = grid(2, "mixed")
    u, D = normal(0, (3, 2, *g.shape)), positive(1, (2, *g.shape))
    f = jax.jit(lambda u, D: diffusion(u, D, g))
    found = f(u, D)
    for i in range(3):
        for j in range(2):
            np.testing.assert_allclose(found[i, j], f(u[i, j], D[j]), atol=1e-11)
    mapped = jax.jit(jax.vmap(f, in_axes=(None, 0)))(u[0, 0], D)
    np.testing.assert_allclose(mapped, f(u[0, 0], D), atol=1e-11)


@pytest.mark.few(1)
@pytest.mark.parametrize("D", [0.1, np.float64(0.1), jnp.full((6, 5), 0.1), np.full((6, 5), 0.1)])
def test_float32_is_kept(D):
    u = normal(0, (6, 5), jnp.float32)
    g = grid(2, "robin")
    assert diffusion(u, D, g).dtype == jnp.float32
    with jax.enable_x64(False):
        assert diffusion(u, np.asarray(D), g).dtype == jnp.float32


@pytest.mark.parametrize("averaging", ["arithmetic", "harmonic"])
def test_derivatives_are_finite_where_nothing_diffuses(averaging):
    g = grid(2, "dirichlet")
    D = positive(0, g.shape).at[2:4].set(0.0)

    def loss(u, D):
        return (diffusion(u, D, g, averaging=averaging) ** 2).sum()

    for derivative in jax.jit(jax.grad(loss, argnums=(0, 1)))(normal(1, g.shape), D):
        assert jnp.isfinite(derivative).all()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u, g: diffusion(u.T, 1.0, g), r"u: trailing axes must be the grid's \(6, 5\)"),
        (
            lambda u, g: diffusion(u, u.T, g),
            r"coefficient of axis 0: .* \(6, 5\) .*got shape \(5, 6\)",
        ),
        (lambda u, g: diffusion(u, (1.0,), g), "coefficient: expected 2 entries, one per axis"),
        (lambda u, g: diffusion(u, 1.0, g, averaging="mean"), "one of arithmetic, harmonic, got"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(jnp.ones((6, 5)), grid(2))
