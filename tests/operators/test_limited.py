"""Limited fluxes: the product with their Jacobian is a stencil, and equal to JAX's derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import normal

from impindiff.grid import Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import _limited, advection, convection

GIVEN = (Dirichlet(0.7), Robin(1.0, 0.5, 0.2))
EDGES = np.cumsum([0.0, 0.7, 1.1, 0.6, 1.4, 0.9, 1.2, 0.8])
GRIDS = {
    "two cells": Grid((0.0,), (1.0,), (2,)),
    "two cells between walls": Grid((0.0,), (1.0,), (2,), (GIVEN,)),
    "plain": Grid((0.0, 0.0), (1.0, 0.7), (5, 4), (Periodic(), GIVEN)),
    "stretched": Grid.from_edges([EDGES, EDGES], ((Neumann(0.3), GIVEN[1]), Periodic())),
    "radial": Grid((0.0, 0.0), (1.0, 1.0), (5, 4), (GIVEN[1], GIVEN), coordinates="cylindrical"),
    "box": Grid((0.0,) * 3, (1.0,) * 3, (4, 3, 2), (Neumann(), Periodic(), GIVEN)),
    "domain": Grid(
        (0.0, 0.0),
        (1.0, 1.0),
        (7, 6),
        (Neumann(), GIVEN),
        domain=lambda x, y: np.hypot(x - 0.45, y - 0.52) - 0.37,
        embedded=Dirichlet(0.4),
    ),
}
FORMS = {
    "advection": lambda u, a, grid: advection(u, [0.7 * a, -a, a][: grid.ndim], grid, "van_leer"),
    "rusanov": lambda u, a, grid: convection(u, lambda x: 0.5 * a * x**2, grid),
    "convection": lambda u, a, grid: convection(u, lambda x: a * jnp.sin(x), grid, "van_leer"),
}


@pytest.mark.few(1)
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("of_grid", GRIDS)
def test_products_are_those_of_the_derivative_as_jax_finds_it(form, of_grid, monkeypatch):
    grid = GRIDS[of_grid]
    u, along, across = normal(0, (3, 2, *grid.cells))

    def derivatives():
        def value(u, a):
            return FORMS[form](u, a, grid)

        def weighted(u, a):
            return jnp.sum(value(u, a) * across)

        @jax.jit
        def of_all(u, a):
            def pushed(du):
                return jax.jvp(value, (u, a), (du, 0 * a))[1]

            return (
                *jax.jvp(value, (u, a), (along, a)),
                jax.jvp(jax.grad(weighted, argnums=(0, 1)), (u, a), (along, a)),
                jax.vmap(pushed)(jnp.stack([along, across])),
            )

        return jax.tree.leaves(of_all(u, jnp.asarray(1.3)))

    by_stencil = derivatives()
    monkeypatch.setattr(_limited, "_inflow_with_stencil", _limited._inflow)
    for ours, plain in zip(by_stencil, derivatives(), strict=True):
        np.testing.assert_allclose(ours, plain, rtol=0, atol=1e-13 * float(jnp.max(jnp.abs(plain))))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("transposed", [False, True])
def test_a_product_is_one_pass_over_coefficients(form, transposed):
    grid = GRIDS["plain"]
    u = normal(0, grid.cells)
    _, product = jax.linearize(lambda u: FORMS[form](u, jnp.asarray(1.3), grid), u)
    if transposed:
        product = jax.linear_transpose(product, u)
    text = str(jax.make_jaxpr(product)(u))
    assert text.count("product_with_stencil") == 1
    assert not {"slice", "pad", "concatenate", "select_n"} & set(text.split())
