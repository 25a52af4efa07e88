"""Advection, alone and with diffusion: conservation, monotonicity, adjoints, what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from operator_systems import CELLS, grid, normal

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic
from impindiff.operators import advection, advection_diffusion, diffusion

SCHEMES = ["upwind", "central", "van_leer"]
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def closed_velocity(ndim: int) -> list[jax.Array]:
    """On faces, and 0 on the walls."""
    out = []
    for axis in range(ndim):
        inner = tuple(n - (i == axis) for i, n in enumerate(CELLS[ndim]))
        width = [(1, 1) if i == axis else (0, 0) for i in range(ndim)]
        out.append(jnp.asarray(np.pad(normal(axis, inner), width)))
    return out


@pytest.mark.few(3)
@schemes
@pytest.mark.parametrize("ndim", [1, 2, 3])
def test_nothing_is_lost_inside(ndim, scheme):
    u, v = normal(7, CELLS[ndim]), normal(8, (ndim, *CELLS[ndim]))
    closed = closed_velocity(ndim)
    for rate in (
        jax.jit(lambda: advection(u, v, grid(ndim), scheme))(),
        jax.jit(lambda: advection(u, closed, grid(ndim, "robin"), scheme))(),
    ):
        assert abs(rate.sum()) < 1e-12 * jnp.abs(rate).sum()


@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_upwind_takes_the_prescribed_value_in_and_the_last_cell_out(direction):
    g = Grid((0,), (2,), (6,), ((Dirichlet(3.0), Dirichlet(lambda t: 10 * t)),))
    u = normal(0, (6,))
    entering, leaving = (3.0, u[-1]) if direction > 0 else (5.0, u[0])
    total = advection(u, [direction * 1.5], g, t=0.5).sum() * g.cell_volume
    np.testing.assert_allclose(total, 1.5 * (entering - leaving), rtol=1e-12)


@pytest.mark.parametrize("scheme", ["central", "van_leer"])
@pytest.mark.parametrize("direction", [1.0, -1.0])
def test_second_order_schemes_are_exact_on_linear_fields(scheme, direction):
    g = Grid((0,), (1,), (8,), ((Dirichlet(1.0), Neumann(3.0)),))
    (x,) = g.centers
    rate = advection(1 + 3 * x, (direction,), g, scheme)
    np.testing.assert_allclose(rate, -3 * direction, rtol=1e-11)


def test_upwind_is_exact_on_a_constant_in_a_diverging_flow():
    g = Grid((0,), (1,), (8,), (Neumann(),))
    np.testing.assert_allclose(advection(jnp.ones(8), g.centers, g), -1.0, rtol=1e-12)


@pytest.mark.few(1)
@schemes
def test_forms_of_velocity_agree(scheme):
    g = grid(2, "mixed")
    u = normal(0, g.shape)
    f = jax.jit(lambda v: advection(u, v, g, scheme))
    reference = f((0.7, -0.4))
    constant = jnp.array([0.7, -0.4])
    for v in (
        constant,
        np.asarray(constant),
        constant[:, None, None] * jnp.ones((2, *g.shape)),
        [0.7, jnp.full((6, 6), -0.4)],
        (jnp.full((7, 5), 0.7), np.full(g.shape, -0.4)),
    ):
        np.testing.assert_allclose(f(v), reference, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("scheme", ["upwind", "van_leer"])
@pytest.mark.parametrize("speed", [1.0, -1.0])
def test_total_variation_never_grows(scheme, speed):
    g = Grid((0,), (1,), (60,))
    (x,) = g.centers
    start = jnp.where((x > 0.2) & (x < 0.5), 1.0, 0.0) + 0.3 * normal(0, (60,)) * (x > 0.7)
    u, step = start, 0.4 * g.spacing[0]
    rate = jax.jit(lambda u: advection(u, (speed,), g, scheme))
    for _ in range(60):
        new = u + step * rate(u)
        assert variation(new) <= variation(u) * (1 + 1e-12)
        u = new
    assert start.min() - 1e-12 <= u.min()
    assert u.max() <= start.max() + 1e-12


def test_central_total_variation_grows():
    # The check above can fail.
    g = Grid((0,), (1,), (60,))
    u = jnp.where(g.centers[0] < 0.5, 1.0, 0.0)
    assert variation(u + 0.4 * g.spacing[0] * advection(u, (1.0,), g, "central")) > variation(u)


def variation(u):
    return jnp.abs(jnp.diff(u, append=u[:1])).sum()


def test_inflow_stays_between_the_old_values_and_the_boundary_value():
    g = Grid((0,), (1,), (40,), ((Dirichlet(1.0), Neumann()),))
    for scheme in ("upwind", "van_leer"):
        u = jnp.zeros(40)
        rate = jax.jit(lambda u, scheme=scheme: advection(u, (1.0,), g, scheme))
        for _ in range(50):
            # A wall cell's slope sees the value half a cell away: |v| dt / h <= 1/3, not 1/2.
            u = u + g.spacing[0] / 3 * rate(u)
        assert u.min() >= -1e-12
        assert u.max() <= 1 + 1e-12
        assert u[0] > 0.99


@pytest.mark.few(1)
@schemes
@pytest.mark.parametrize("condition", ["periodic", "robin", "mixed"])
def test_adjoint_identity(scheme, condition):
    g = grid(2, condition)
    u, velocity = normal(0, g.shape), normal(1, (2, *g.shape))

    @jax.jit
    def f(u, velocity):
        return advection_diffusion(u, velocity, 0.3, g, scheme)

    du, dv, w = normal(2, u.shape), normal(3, velocity.shape), normal(4, u.shape)
    pushed = jax.jit(lambda: jax.jvp(f, (u, velocity), (du, dv))[1])()
    back_u, back_v = jax.jit(lambda: jax.vjp(f, u, velocity)[1](w))()
    left = jnp.vdot(pushed, w)
    right = jnp.vdot(du, back_u) + jnp.vdot(dv, back_v)
    np.testing.assert_allclose(left, right, rtol=1e-11)
    step = 1e-6
    ahead = f(u + step * du, velocity + step * dv)
    behind = f(u - step * du, velocity - step * dv)
    difference = (ahead - behind) / (2 * step)
    np.testing.assert_allclose(pushed, difference, rtol=1e-5, atol=1e-5)


@pytest.mark.few(3)
@schemes
@pytest.mark.parametrize(("ndim", "condition"), [(1, "mixed"), (2, "robin"), (3, "periodic")])
def test_merged_operator_is_the_sum(ndim, condition, scheme):
    g, shape = grid(ndim, condition), CELLS[ndim]
    u, v, D = normal(0, shape), normal(1, (ndim, *shape)), jnp.exp(normal(2, shape))
    merged, both = jax.jit(
        lambda: (
            advection_diffusion(u, v, D, g, scheme, averaging="harmonic"),
            advection(u, v, g, scheme) + diffusion(u, D, g, averaging="harmonic"),
        )
    )()
    np.testing.assert_allclose(merged, both, rtol=1e-10, atol=1e-10)


@pytest.mark.few(1)
@schemes
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_derivatives_are_finite_on_flat_and_extreme_fields(scheme, dtype):
    g = grid(1, "mixed")
    fields = [
        jnp.zeros(7, dtype),
        jnp.ones(7, dtype),
        jnp.array([0, 1, 2, 2, 2, 1, 0], dtype),
        jnp.array([0, 1, 2, 3, 2, 1, 0], dtype) * 1e-22,
        jnp.array([0, 1, 2, 3, 2, 1, 0], dtype) * 1e25,
    ]

    f = jax.jit(lambda u, v: advection(u, v, g, scheme))
    jacobians = jax.jit(jax.jacrev(f, argnums=(0, 1)))
    for u in fields:
        for v in (jnp.zeros((1, 7), dtype), jnp.ones((1, 7), dtype)):
            for value in (f(u, v), *jacobians(u, v)):
                assert jnp.isfinite(value).all()


@pytest.mark.slow
@schemes
def test_batches_broadcast_and_float32_is_kept(scheme):
    g = grid(2, "mixed")
    u, v = normal(0, (3, 2, *g.shape), jnp.float32), normal(1, (2, 2, *g.shape))
    f = jax.jit(lambda u, v: advection(u, v, g, scheme))
    found = f(u, v)
    assert found.dtype == jnp.float32
    assert f(u, (0.5, np.float64(1))).dtype == jnp.float32
    for i in range(3):
        for j in range(2):
            expected = f(u[i, j], v[:, j])
            np.testing.assert_allclose(found[i, j], expected, rtol=1e-4, atol=1e-4)
    mapped = jax.jit(jax.vmap(f, in_axes=(None, 1)))(u[0, 0], v)
    np.testing.assert_allclose(mapped, f(u[0, 0], v), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u, g: advection(u.T, (1.0, 1.0), g), r"the grid's \(6, 5\), got shape \(5, 6\)"),
        (lambda u, g: advection(u, 1.0, g), r"velocity: expected 2 entries .*got shape \(\)"),
        (lambda u, g: advection(u, (1.0,), g), r"velocity: expected 2 entries .*got shape \(1,\)"),
        (lambda u, g: advection(u, u, g), r"expected 2 entries .*got shape \(6, 5\)"),
        (
            lambda u, g: advection(u, (1.0, jnp.ones((7, 5))), g),
            r"velocity of axis 1: .*\(6, 5\) .*on faces, \(6, 6\), got shape \(7, 5\)",
        ),
        (
            lambda u, g: advection(u, (1.0, 1.0), g, "weno"),
            "scheme: expected one of upwind, central, van_leer, got 'weno'",
        ),
        (
            lambda u, g: advection(u, (1.0, 1.0), g, boundary=(Periodic(), Dirichlet(lambda t: t))),
            "axis 1, lower side: .*pass t=",
        ),
        (lambda u, g: advection_diffusion(u, (1.0, 1.0), (1.0,), g), "coefficient: expected 2"),
    ],
)
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(jnp.ones((6, 5)), grid(2))
