"""The products behind advection and diffusion: their derivative, transpose, batches, round-off."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from impindiff import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import advection, advection_diffusion, diffusion, inflow

CELLS = (5, 4)
WALLED = (Dirichlet(0.7), Robin(2.0, 0.3, value=0.1))
BOUNDARIES = {
    "periodic": (Periodic(), Periodic()),
    "mixed": (Periodic(), (Neumann(0.2), Dirichlet(-1.0))),
    "walls": (WALLED, (Neumann(), Robin(jnp.linspace(1.0, 2.0, 5), 0.5))),
}
PERIODIC = Grid((0.0, 0.0), (1.0, 2.0), CELLS, BOUNDARIES["periodic"])


def grid_of(name: str) -> Grid:
    return Grid((0.0, 0.0), (1.0, 2.0), CELLS, BOUNDARIES[name])


def random(seed: int, *shape: int, dtype: str = "float64"):
    return jax.random.normal(jax.random.key(seed), shape, dtype)


def operators(grid: Grid):
    v, D = random(1, 2, *CELLS), jnp.exp(random(2, *CELLS))
    return {
        "advection": lambda u: advection(u, v, grid),
        "central": lambda u: advection(u, v, grid, "central"),
        "constant velocity": lambda u: advection(u, (0.3, -1.2), grid),
        "diffusion": lambda u: diffusion(u, D, grid),
        "constant diffusion": lambda u: diffusion(u, 0.3, grid),
        "both": lambda u: advection_diffusion(u, v, D, grid),
        "samples": lambda u: advection_diffusion(u, random(3, 2, 3, *CELLS), 0.1, grid),
    }


@pytest.mark.few(1)
@pytest.mark.parametrize("boundary", BOUNDARIES)
@pytest.mark.parametrize("name", list(operators(PERIODIC)))
def test_derivative_and_transpose_are_those_of_the_matrix(name, boundary):
    operator = operators(grid_of(boundary))[name]
    u = random(4, 3, *CELLS) if name == "samples" else random(4, *CELLS)
    at_zero = operator(jnp.zeros_like(u))
    units = jnp.eye(u.size).reshape(u.size, *u.shape)
    # column by column from values alone, so that no derivative is compared with itself
    matrix = jnp.stack([operator(unit) - at_zero for unit in units], -1).reshape(u.size, u.size)
    np.testing.assert_allclose(matrix @ u.ravel(), (operator(u) - at_zero).ravel(), atol=1e-12)
    value, product = jax.linearize(operator, u)
    np.testing.assert_allclose(value, operator(u), atol=1e-12)
    np.testing.assert_allclose(jax.vmap(product)(units).reshape(u.size, -1).T, matrix, atol=1e-12)
    transposed = jax.linear_transpose(product, u)
    rows = jax.vmap(lambda w: transposed(w)[0])(units).reshape(u.size, -1)
    np.testing.assert_allclose(rows, matrix, atol=1e-12)
    again = jax.linear_transpose(lambda w: transposed(w)[0], u)
    np.testing.assert_allclose(again(u)[0], product(u), atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("boundary", BOUNDARIES)
def test_derivatives_in_everything_to_second_order(boundary):
    grid = grid_of(boundary)

    def of(*args):
        u, v, D = map(jnp.asarray, args)
        return jnp.sin(0.01 * advection_diffusion(u, v, jnp.exp(D), grid))

    args = random(1, *CELLS), random(2, 2, *CELLS), random(3, *CELLS)
    check_grads(of, args, order=2, modes=["fwd", "rev"], rtol=1e-5)


@pytest.mark.slow
def test_a_batch_of_anything_along_any_axis():
    grid = grid_of("walls")
    u, v = random(1, *CELLS, 3), random(2, 2, 3, *CELLS)

    def of(u, v):
        return advection_diffusion(u, v, 0.1, grid)

    pairs = [(u[..., i], v[:, i]) for i in range(3)]
    for axes in [(-1, 1), (-1, None), (None, 1)]:
        operands = u if axes[0] else u[..., 0], v if axes[1] else v[:, 0]
        batched = jax.vmap(of, in_axes=axes)(*operands)
        products = jax.vmap(lambda u, v: jax.vjp(of, u, v)[1](u), in_axes=axes)(*operands)
        for i, (ui, vi) in enumerate(pairs):
            ui, vi = ui if axes[0] else u[..., 0], vi if axes[1] else v[:, 0]
            np.testing.assert_allclose(batched[i], of(ui, vi), atol=1e-13)
            expected = jax.vjp(of, ui, vi)[1](ui)
            for got, want in zip(products, expected, strict=True):
                np.testing.assert_allclose(got[i], want, atol=1e-12)


@pytest.mark.slow
def test_an_operator_without_given_values_is_linear_to_jax():
    u = random(1, *CELLS)
    for name, operator in operators(PERIODIC).items():
        if name == "samples":
            continue
        transposed = jax.linear_transpose(operator, u)(u)[0]
        np.testing.assert_allclose(transposed, jax.vjp(operator, u)[1](u)[0], atol=1e-13)


@pytest.mark.slow
@pytest.mark.parametrize("boundary", ["periodic", "walls"])
def test_products_multiply_differences_so_that_float32_keeps_small_ones(boundary):
    """D / h^2 times the rounding of u would be 0.02 here; of its differences it is 200 x less."""
    n, D = 512, 1.0
    sides = Periodic() if boundary == "periodic" else Neumann()
    grid = Grid((0.0,), (1.0,), (n,), (sides,))
    u = 1.0 + 1e-3 * jnp.sin(2 * jnp.pi * grid.centers[0])

    def of(u):
        return diffusion(u, D * jnp.ones(n, u.dtype), grid)

    single, double = u.astype("float32"), u.astype("float32").astype("float64")
    for product in (of, jax.linearize(of, single)[1], jax.linear_transpose(of, single)):
        exact = of(double)
        got = product(single)
        got = got[0] if isinstance(got, list | tuple) else got
        assert float(jnp.max(jnp.abs(got - exact))) < 2e-4


@pytest.mark.slow
def test_products_of_spread_fields_are_the_same_numbers_without_stars(monkeypatch):
    u = random(1, *CELLS)
    operator = operators(grid_of("walls"))["both"]
    by_star = jax.linearize(operator, u)[1]
    monkeypatch.setattr(inflow, "fields_are_spread", lambda: True)
    by_fluxes = jax.linearize(operator, u)[1]
    np.testing.assert_allclose(by_fluxes(u), by_star(u), atol=1e-12)
    assert "inflow_by_star" in str(jax.make_jaxpr(by_star)(u))
    assert "inflow_by_star" not in str(jax.make_jaxpr(by_fluxes)(u))
