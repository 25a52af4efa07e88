"""Convection: what it shares with advection, conservation, shocks, walls, what is refused."""

from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from operator_systems import CELLS, grid, normal

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann
from impindiff.operators import advection, convection

SCHEMES = ["rusanov", "central", "van_leer"]
ADVECTION = {"rusanov": "upwind", "central": "central", "van_leer": "van_leer"}
VELOCITY: Any = (1.0, 1.0)
schemes = pytest.mark.parametrize("scheme", SCHEMES)


def burgers(u):
    return 0.5 * u**2


@pytest.mark.few(5)
@schemes
@pytest.mark.parametrize(("ndim", "condition"), [(1, "mixed"), (2, "robin"), (3, "periodic")])
def test_a_linear_flux_is_advection(ndim, condition, scheme):
    g, v = grid(ndim, condition), (0.7, -0.4, 0.3)[:ndim]
    u = normal(0, (2, *CELLS[ndim]))
    fluxes = [lambda u, a=a: a * u for a in v]
    found, expected = jax.jit(
        lambda: (convection(u, fluxes, g, scheme), advection(u, v, g, ADVECTION[scheme]))
    )()
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@schemes
def test_nothing_is_lost_inside_and_float32_is_kept(scheme):
    g = grid(2)
    f = jax.jit(
        lambda u: convection(u, [burgers, lambda u: np.float64(0.3) * jnp.sin(u)], g, scheme)
    )
    rate = f(normal(7, g.shape))
    assert abs(rate.sum()) < 1e-12 * jnp.abs(rate).sum()
    assert f(normal(7, g.shape, jnp.float32)).dtype == jnp.float32


@schemes
@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_flux_through_a_wall_is_between_its_value_and_the_inside(sign, scheme):
    # Each wall alone decides the flux through it; inside, the field is flat.
    g = Grid((0,), (2,), (6,), ((Dirichlet(3.0), Dirichlet(lambda t: 10 * t)),))
    rate = jax.jit(lambda u: convection(u, burgers, g, scheme, t=0.35))
    total = rate(jnp.full(6, sign * 4.0)).sum() * g.cell_volume
    if scheme == "central":
        lower, upper = burgers(3.0), burgers(3.5)
    elif sign > 0:  # 3 -> 4 enters below; above, 4 meets 3.5
        lower, upper = rusanov(3.0, 4.0), rusanov(4.0, 3.5)
    else:  # two rarefactions or shocks of the wall against -4
        lower, upper = rusanov(3.0, -4.0), rusanov(-4.0, 3.5)
    np.testing.assert_allclose(total, lower - upper, rtol=1e-12)


def rusanov(a, b):
    return (a**2 + b**2) / 4 - max(abs(a), abs(b)) * (b - a) / 2


@pytest.mark.few(1)
@schemes
def test_derivatives_are_finite_on_flat_and_zero_fields(scheme):
    g, dtype = grid(1, "mixed"), jnp.float32
    f = jax.jit(lambda u: convection(u, burgers, g, scheme))
    both = jax.jit(lambda u: (jax.jacrev(f)(u), jax.jacfwd(f)(u)))
    for u in (jnp.zeros(7, dtype), -jnp.ones(7, dtype), jnp.array([0, 1, 2, 2, 0, -2, 2], dtype)):
        back, forward = both(u)
        assert jnp.isfinite(f(u)).all()
        assert jnp.isfinite(back).all()
        np.testing.assert_allclose(back, forward, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["rusanov", "van_leer"])
def test_derivatives_are_those_of_the_values(scheme):
    g = grid(2, "robin")
    u, du, w = normal(0, g.shape), normal(1, g.shape), normal(2, g.shape)
    f = jax.jit(lambda u: convection(u, burgers, g, scheme))
    pushed = jax.jit(lambda: jax.jvp(f, (u,), (du,))[1])()
    (back,) = jax.jit(lambda: jax.vjp(f, u)[1](w))()
    np.testing.assert_allclose(jnp.vdot(pushed, w), jnp.vdot(du, back), rtol=1e-11)
    difference = (f(u + 1e-6 * du) - f(u - 1e-6 * du)) / 2e-6
    np.testing.assert_allclose(pushed, difference, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("scheme", ["rusanov", "van_leer"])
def test_shock_and_rarefaction_of_burgers(scheme):
    """Riemann problems: a shock from 2 to -1 moves at (2 - 1) / 2; -1 to 2 opens as x / t."""
    g = Grid((-1,), (1,), (200,), ((Neumann(), Neumann()),))
    x, h = g.axis_centers(0), g.spacing[0]
    step, steps = 0.2 * h, 250

    def euler(u):
        return u + step * convection(u, burgers, g, scheme)

    heun = jax.jit(lambda u: 0.5 * (u + euler(euler(u))))
    shock = jnp.where(x < 0, 2.0, -1.0)
    fan = jnp.where(x < 0, -1.0, 2.0)
    for _ in range(steps):
        shock, fan = heun(shock), heun(fan)
    t = step * steps
    front = g.lower[0] + h * float((shock + 1).sum()) / 3
    assert front == pytest.approx(0.5 * t, abs=1e-12)
    assert np.all(
        np.abs(shock - np.where(x < 0.5 * t, 2.0, -1.0))[np.abs(x - front) > 5 * h] < 0.01
    )
    for u in (shock, fan):
        assert u.min() >= -1 - 1e-12
        assert u.max() <= 2 + 1e-12
    # A scheme without the entropy solution would leave a jump at x = 0.
    np.testing.assert_allclose(fan, np.clip(x / t, -1, 2), atol=0.2)
    assert jnp.abs(jnp.diff(fan)).max() < 0.1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda u, g: convection(u.T, burgers, g), r"the grid's \(6, 5\), got shape \(5, 6\)"),
        (lambda u, g: convection(u, (burgers,), g), r"flux: expected a function .* or 2 of them"),
        (lambda u, g: convection(u, VELOCITY, g), r"flux: .* got \(1.0, 1.0\)"),
        (
            lambda u, g: convection(u, (burgers, jnp.sum), g),
            r"flux of axis 1: expected the shape of its argument, .* got \(\)",
        ),
        (
            lambda u, g: convection(u, burgers, g, "upwind"),
            "scheme: expected one of rusanov, central, van_leer, got 'upwind'",
        ),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refused(call, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda u: call(u, grid(2)), jnp.ones((6, 5)))


@pytest.fixture
def unchecked():
    """Without the tests' run-time type check, as users run it: wrong types reach the code."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
