"""Spectral derivatives and transport: exact on modes, conservative, with exact transposes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import dot, normal_like, relative_difference
from impindiff.errors import InputError
from impindiff.spectral import advection, convection, gradient, laplacian

LOWER, UPPER = (-1.0, 0.0, 0.5), (1.0, 0.7, 1.8)
CELLS = {1: (12,), 2: (12, 9), 3: (8, 6, 5)}


def box(ndim, cells=None):
    return ipd.Grid(LOWER[:ndim], UPPER[:ndim], cells or CELLS[ndim])


def polynomial(grid, x, waves=2):
    """A trigonometric polynomial at x (ndim, ...), of at most that many waves along each axis."""
    rng = np.random.default_rng(grid.ndim)
    total = jnp.zeros(())
    for m in np.ndindex(*(waves + 1,) * grid.ndim):
        k = [2 * np.pi * i / (b - a) for i, a, b in zip(m, grid.lower, grid.upper, strict=True)]
        phase = sum(k_i * x_i for k_i, x_i in zip(k, x, strict=True))
        total = total + rng.normal() * jnp.cos(phase + rng.uniform(0, 6))
    return total


def exact_slopes(grid):
    """The gradient and the Laplacian of `polynomial` at the centres, by JAX's derivatives."""
    points = grid.centers.reshape(grid.ndim, -1).T
    slopes = jax.vmap(jax.grad(lambda x: polynomial(grid, x)))(points)
    curvature = jax.vmap(jax.hessian(lambda x: polynomial(grid, x)))(points)
    traces = jnp.trace(curvature, axis1=1, axis2=2)
    return slopes.T.reshape(grid.ndim, *grid.cells), traces.reshape(grid.cells)


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_derivatives_of_trigonometric_polynomials_are_exact(ndim):
    grid = box(ndim)
    u = polynomial(grid, grid.centers)
    slopes, curvature = exact_slopes(grid)
    assert relative_difference(gradient(u, grid), slopes) < 1e-13
    assert relative_difference(laplacian(u, grid), curvature) < 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_transport_is_exact_as_far_as_products_are_resolved(ndim):
    grid = box(ndim, (15, 14, 16)[:ndim])
    u = polynomial(grid, grid.centers)
    slopes = exact_slopes(grid)[0]
    burgers = convection(u, lambda u: 0.5 * u**2, grid)
    assert relative_difference(burgers, -u * slopes.sum(0)) < 1e-12
    # v, like the polynomial itself, so that div(v u) = 2 u du/dx on the first axis
    v = [u] + [2.0] * (ndim - 1)
    forward = u * slopes[0] + 2.0 * slopes[1:].sum(0)
    assert relative_difference(advection(u, v, grid, "advective"), -forward) < 1e-12
    assert relative_difference(advection(u, v, grid), -forward - u * slopes[0]) < 1e-12


def test_a_product_of_waves_that_are_too_short_is_removed_not_aliased():
    grid = box(1, (12,))
    x = np.pi * grid.centers[0]
    # sin^2 of 3 waves has 6, more than the 3 that are kept of 12 cells; 4 waves are removed before
    for waves in (3, 4):
        found = convection(jnp.sin(waves * x), lambda u: u**2, grid)
        np.testing.assert_allclose(found, 0.0, atol=1e-12)


@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_totals_are_conserved_and_in_one_dimension_squares(ndim):
    grid = box(ndim)
    u = normal_like(0, jnp.zeros(grid.cells))
    v = normal_like(1, jnp.zeros((ndim, *grid.cells)))
    terms = (convection(u, lambda u: u**3, grid), advection(u, v, grid), laplacian(u, grid))
    for rate in terms:
        np.testing.assert_allclose(jnp.sum(rate), 0.0, atol=1e-12 * float(jnp.abs(rate).sum()))
    if ndim == 1:
        work = u * convection(u, lambda u: 0.5 * u**2, grid)
        np.testing.assert_allclose(jnp.sum(work), 0.0, atol=1e-13 * float(jnp.abs(work).sum()))


def test_the_error_of_a_smooth_field_falls_faster_than_any_power():
    errors = []
    for n in (8, 16, 32):
        grid = ipd.Grid((0.0,), (2 * np.pi,), (n,))
        x = grid.centers[0]
        u = jnp.exp(jnp.sin(x))
        exact = u * jnp.cos(x)
        errors.append(float(jnp.max(jnp.abs(gradient(u, grid)[0] - exact))))
    assert errors[1] < 1e-3 * errors[0]
    assert errors[2] < 1e-6 * errors[1]


def test_the_shortest_wave_has_no_slope_but_a_curvature():
    grid = box(1, (8,))
    u = jnp.asarray([1.0, -1.0] * 4)
    np.testing.assert_allclose(gradient(u, grid), 0.0, atol=1e-13)
    np.testing.assert_allclose(laplacian(u, grid), -((4 * np.pi) ** 2) * u, rtol=1e-13)


OPERATORS = {
    "gradient": gradient,
    "laplacian": laplacian,
    "convection": lambda u, g: convection(u, lambda u: 0.5 * u**2, g),
    "advection": lambda u, g: advection(u, [u] * g.ndim, g),
    "advective": lambda u, g: advection(u, [u] * g.ndim, g, "advective"),
}


@pytest.mark.parametrize("name", OPERATORS)
@pytest.mark.parametrize("ndim", [1, 2])
def test_forward_and_reverse_derivatives_agree(name, ndim):
    grid = box(ndim)
    u = normal_like(0, jnp.zeros(grid.cells))
    image, product = jax.linearize(lambda u: OPERATORS[name](u, grid), u)
    v, w = normal_like(1, u), normal_like(2, image)
    (back,) = jax.linear_transpose(product, u)(w)
    np.testing.assert_allclose(dot(product(v), w), dot(v, back), rtol=1e-11)


@pytest.mark.parametrize("name", OPERATORS)
def test_batch_equals_loop_and_float32_is_kept(name):
    grid = box(2)
    u = normal_like(0, jnp.zeros((3, *grid.cells), jnp.float32))
    found = OPERATORS[name](u, grid)
    assert found.dtype == jnp.float32
    axis = found.ndim - 3
    for i in range(3):
        alone = OPERATORS[name](u[i], grid)
        np.testing.assert_allclose(jnp.take(found, i, axis), alone, rtol=1e-5, atol=2e-3)


WALLS = ((ipd.Dirichlet(0.0), ipd.Neumann()), ipd.Periodic())


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        (ipd.Grid((0, 0), (1, 1), (8, 6), WALLS), "walls on axis 0"),
        (ipd.Grid.from_edges(([0.0, 1.0, 3.0, 4.0], [0.0, 1.0, 2.0])), "axis 0 stretched"),
        (ipd.Grid((1,), (2,), (8,), (ipd.Neumann(),), "cylindrical"), "walls on axis 0"),
        (ipd.Grid((0,), (1,), (8,), domain=np.arange(8) < 5), "part of the box"),
    ],
)
@pytest.mark.parametrize("name", OPERATORS)
def test_grids_without_modes_are_refused(grid, message, name):
    with pytest.raises(InputError, match=f"expected a uniform Cartesian grid.*{message}"):
        OPERATORS[name](jnp.zeros(grid.cells), grid)


def test_what_else_is_refused():
    grid = box(2)
    u = jnp.zeros(grid.cells)
    with pytest.raises(InputError, match=r"the grid's \(12, 9\), got shape \(9, 12\)"):
        gradient(u.T, grid)
    with pytest.raises(InputError, match=r"a function f\(u\), or 2 of them"):
        convection(u, [jnp.sin], grid)
    with pytest.raises(InputError, match="flux of axis 0: expected the shape"):
        convection(u, jnp.sum, grid)
    with pytest.raises(InputError, match="velocity: expected 2 entries"):
        advection(u, [u], grid)
    with pytest.raises(InputError, match="velocity of axis 1: expected a number or trailing axes"):
        advection(u, [u, u[1:]], grid)
    with pytest.raises(InputError, match="form is 'divergence'; expected"):
        advection(u, [u, u], grid, "divergence")  # pyright: ignore[reportArgumentType]
