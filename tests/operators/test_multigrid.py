"""Multigrid: symmetric, definite, robust, and Krylov iterations that hardly grow with the grid."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import normal

import impindiff as ipd
from helpers import relative_difference
from impindiff.implicit.linear import krylov_solve
from impindiff.operators import star_of

MIXED = ((ipd.Dirichlet(), ipd.Neumann()), (ipd.Robin(1.0, 1.0), ipd.Neumann()))
PERIODIC = (ipd.Periodic(), ipd.Periodic())


def unit(cells, boundary=MIXED):
    return ipd.Grid((0,) * len(cells), (1,) * len(cells), cells, boundary)


def front(grid, contrast=1e3):
    """A diffusivity that falls by `contrast` across a wavy front."""
    x = grid.centers
    ahead = x[0] + 0.3 * np.sin(5 * x[1]) - 0.5
    return jnp.asarray(contrast ** (-1 / (1 + np.exp(-ahead / 0.05))))


def random(grid, contrast=1e3):
    return jnp.asarray(contrast ** -np.random.default_rng(1).random(grid.shape))


def iterations(grid, D, reaction=1e-6, preconditioned=True):
    @jax.jit
    def solve(D, b):
        A = ipd.Elliptic.of(D, reaction, grid)
        M = ipd.multigrid_cycle(A) if preconditioned else None
        x, steps, solved = krylov_solve(A, b, ipd.BiCGStab(max_steps=500), 1e-8, M)
        return A(x), steps, solved

    b = normal(0, grid.shape)
    product, steps, solved = solve(D, b)
    if preconditioned:
        assert solved
        assert relative_difference(product, b) < 1e-6
    return int(steps)


@pytest.mark.slow
@pytest.mark.parametrize("field", [front, random])
def test_iterations_hardly_grow(field):
    coarse, fine = (iterations(g, field(g)) for g in (unit((32, 32)), unit((64, 64))))
    assert fine <= 12
    assert fine <= 1.5 * coarse


def test_without_it_they_are_many():
    g = unit((16, 16))
    assert iterations(g, front(g), preconditioned=False) > 100


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "boundary", "contrast", "reaction", "at_most"),
    [
        ((33, 21), PERIODIC, 1e3, 1e-2, 9),
        ((40, 19), (ipd.Neumann(), ipd.Neumann()), 1e4, 1e-6, 16),
        ((24, 24), MIXED, 1e4, 1e6, 2),
        ((11, 9, 10), (*MIXED, ipd.Periodic()), 1e3, 1e-6, 9),
        ((129, 2), PERIODIC, 1e3, 1e-6, 12),
    ],
)
def test_odd_periodic_insulated_reactive_thin_and_in_space(
    cells, boundary, contrast, reaction, at_most
):
    g = unit(cells, boundary)
    assert iterations(g, random(g, contrast), reaction) <= at_most


@pytest.mark.slow
@pytest.mark.parametrize("cycles", [1, 2])
def test_symmetric_positive_and_its_own_transpose(cycles):
    g = unit((13, 10))
    A = ipd.Elliptic.of(front(g), 1.0, g)
    v, w = normal(0, g.shape), normal(1, g.shape)

    @jax.jit
    def products(A, v, w):
        M = ipd.multigrid_cycle(A, cycles=cycles)
        (transposed,) = jax.linear_transpose(M, v)(w)
        return jnp.vdot(M(v), w), jnp.vdot(v, M(w)), jnp.vdot(v, transposed), M(A(v))

    left, right, by_jax, again = products(A, v, w)
    np.testing.assert_allclose(right, left, rtol=1e-11)
    np.testing.assert_allclose(by_jax, left, rtol=1e-11)
    error = again - v
    # in the norm of A a cycle reduces every error; twice as many square that
    reduction = jnp.vdot(error, A(error)) / jnp.vdot(v, A(v))
    assert 0 < reduction < 0.05**cycles


@pytest.mark.slow
@pytest.mark.parametrize(("cycles", "shape"), [(1, "V"), (2, "W")])
def test_with_drift_the_transpose_is_the_cycle_of_the_transpose(cycles, shape):
    g = unit((13, 10), (MIXED[0], ipd.Periodic()))
    velocity = [jnp.sin(3 * g.centers[1]), jnp.cos(2 * g.centers[0])]

    def step(u):
        return u - 0.1 * (ipd.diffusion(u, front(g), g) + ipd.advection(u, velocity, g))

    _, linear = jax.linearize(step, jnp.zeros(g.shape))
    v, w = normal(0, g.shape), normal(1, g.shape)

    @jax.jit
    def products(v, w):
        A = star_of(linear, v, (False, True), g.spacing)
        M = ipd.multigrid_cycle(A, cycles=cycles, shape=shape)
        (transposed,) = jax.linear_transpose(M, v)(w)
        of_transposed = ipd.multigrid_cycle(A.transposed(), cycles=cycles, shape=shape)(w)
        return M(v), transposed, of_transposed, M(linear(v))

    once, transposed, of_transposed, again = products(v, w)
    np.testing.assert_allclose(jnp.vdot(once, w), jnp.vdot(v, transposed), rtol=1e-11)
    np.testing.assert_allclose(transposed, of_transposed, atol=1e-12)
    assert relative_difference(again, v) < 0.15**cycles


def test_exact_between_walls_in_one_dimension():
    g = ipd.Grid((0,), (1,), (101,), ((ipd.Dirichlet(), ipd.Neumann()),))
    A = ipd.Elliptic.of(random(g, 1e4), 1e-3, g)
    u = normal(0, g.shape)
    assert relative_difference(ipd.multigrid_cycle(A)(A(u)), u) < 1e-9


@pytest.mark.slow
def test_a_batch_in_float32():
    g = unit((12, 16))
    D = jnp.stack([front(g), random(g)]).astype(jnp.float32)
    b = normal(0, D.shape, jnp.float32)

    @jax.jit
    def apply(D, b):
        return ipd.multigrid_cycle(ipd.Elliptic.of(D, 1.0, g))(b)

    found = jax.jit(jax.vmap(apply))(D, b)
    assert found.dtype == jnp.float32
    for i in range(2):
        np.testing.assert_allclose(found[i], apply(D[i], b[i]), rtol=1e-4, atol=1e-6)
