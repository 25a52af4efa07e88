"""The exponential stepper: linear terms exactly, order four, the exact gradient, refusals."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import relative_difference
from impindiff.errors import InputError
from impindiff.spectral import ETDRK4, convection, gradient, laplacian


class Dispersive(ipd.HybridModel):
    """Diffusion, drift and dispersion by a third derivative: all linear."""

    grid: ipd.Grid
    D: float = 0.02

    def tendency(self, t, u, latent):
        third = gradient(laplacian(u, self.grid), self.grid)[0]
        linear = self.D * laplacian(u, self.grid) - gradient(u, self.grid)[0] - 1e-3 * third
        return ipd.IMEX(linear, jnp.zeros_like(u))


class Burgers(ipd.HybridModel):
    grid: ipd.Grid
    nu: jax.Array
    split: bool = eqx.field(static=True, default=True)

    def tendency(self, t, u, latent):
        carried = convection(u, lambda u: 0.5 * u**2, self.grid)
        spread = self.nu * laplacian(u, self.grid)
        return ipd.IMEX(spread, carried) if self.split else carried + spread


class Forced(ipd.HybridModel):
    """Two coupled components, a decay that varies in space, a source that varies in time."""

    grid: ipd.Grid

    def tendency(self, t, u, latent):
        x = 2 * jnp.pi * self.grid.centers[0]
        a, b = u["a"], u["b"]
        stiff = {
            "a": 0.1 * laplacian(a, self.grid) - (2 + jnp.sin(x)) * a + b,
            "b": 0.2 * laplacian(b, self.grid),
        }
        return ipd.IMEX(stiff, {"a": jnp.cos(3 * t) * jnp.sin(x), "b": -a * b})


def line(n=32):
    return ipd.Grid((0.0,), (1.0,), (n,))


def wave(grid):
    return 0.3 + jnp.sin(2 * jnp.pi * grid.centers[0])


def end(model, u0, steps, stepper=None, until=0.4):
    stepper = ETDRK4() if stepper is None else stepper
    result = ipd.rollout(model, u0, [0.0, until], dt=until / steps, stepper=stepper)
    return jax.tree.map(lambda x: x[-1], result.u)


@pytest.mark.parametrize("steps", [1, 7])
def test_linear_terms_of_any_order_are_exact_however_long_the_step(steps):
    grid = line()
    x = grid.centers[0]
    u0, exact = 0.0 * x, 0.0 * x
    for m in range(1, 16):
        k, phase = 2 * np.pi * m, 2 * jnp.pi * m * x + m
        u0 = u0 + jnp.cos(phase)
        # -u_x - 1e-3 u_xxx
        exact = exact + np.exp(-0.02 * k**2 * 0.4) * jnp.cos(phase - (k - 1e-3 * k**3) * 0.4)
    found = end(Dispersive(grid), u0, steps)
    np.testing.assert_allclose(found, exact, atol=1e-11)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("make", "state"),
    [
        (lambda grid: Burgers(grid, jnp.asarray(0.05)), wave),
        (Forced, lambda grid: {"a": wave(grid), "b": jnp.ones(grid.cells)}),
    ],
    ids=["Burgers", "coupled, not constant"],
)
def test_fourth_order(make, state):
    grid = line()
    model, u0 = make(grid), state(grid)
    exact = end(model, u0, 1024, ipd.RK4())
    coarse, fine = (relative_difference(end(model, u0, n), exact) for n in (12, 24))
    assert fine < 1e-5
    assert np.log2(coarse / fine) > 3.6


@pytest.mark.slow
def test_two_dimensions_and_a_batch_with_the_same_states_alone():
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (16, 12))
    x, y = 2 * jnp.pi * grid.centers
    model = Burgers(grid, jnp.asarray(0.05))
    u0 = jnp.stack([jnp.sin(x) + jnp.cos(y), 0.2 + jnp.cos(x + y)])
    together = end(model, u0, 10)
    exact = end(model, u0, 300, ipd.RK4())
    assert relative_difference(together, exact) < 1e-3
    for i in range(2):
        np.testing.assert_allclose(together[i], end(model, u0[i], 10), atol=1e-12)


def test_an_unsplit_tendency_is_linearised_whole():
    grid = line()
    u0 = wave(grid)
    exact = end(Burgers(grid, jnp.asarray(0.05)), u0, 1024, ipd.RK4())
    assert relative_difference(end(Burgers(grid, jnp.asarray(0.05), False), u0, 48), exact) < 1e-5


@pytest.mark.slow
def test_the_gradient_is_that_of_central_differences():
    grid = line(24)

    @jax.jit
    def loss(nu, u0):
        return jnp.sum(end(Burgers(grid, nu), u0, 5, until=0.1) ** 4)

    nu, u0, h = jnp.asarray(0.05), wave(grid), 1e-5
    by_nu, by_u0 = jax.grad(loss, argnums=(0, 1))(nu, u0)
    np.testing.assert_allclose(by_nu, (loss(nu + h, u0) - loss(nu - h, u0)) / (2 * h), rtol=1e-6)
    way = jnp.asarray(np.random.default_rng(0).normal(size=grid.cells))
    difference = (loss(nu, u0 + h * way) - loss(nu, u0 - h * way)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(by_u0, way), difference, rtol=1e-7)


def test_float32_is_kept():
    grid = line()
    model, u0 = Burgers(grid, jnp.asarray(0.05, jnp.float32)), wave(grid)
    found = end(model, u0.astype(jnp.float32), 20)
    assert found.dtype == jnp.float32
    assert relative_difference(found, end(model, u0, 20)) < 1e-5


def test_what_is_refused():
    walled = ipd.Grid((0.0,), (1.0,), (8,), (ipd.Neumann(),))
    with pytest.raises(InputError, match="ETDRK4: expected a uniform Cartesian grid"):
        end(Burgers(walled, jnp.asarray(0.05)), jnp.ones(8), 1)
    with pytest.raises(InputError, match="ETDRK4: VectorField has no grid"):
        end(ipd.VectorField(lambda t, u, args: -u), jnp.ones(8), 1)

    class WithTank(Burgers):
        def tendency(self, t, u, latent):
            return jax.tree.map(jnp.negative, u)

    with pytest.raises(InputError, match=r"fields of shape \(32,\).*component of shape \(3,\)"):
        ipd.rollout(
            WithTank(line(), jnp.asarray(0.05)),
            {"u": wave(line()), "tank": jnp.ones(3)},
            [0.0, 0.1],
            stepper=ETDRK4(),
            batch_ndim=0,
        )
