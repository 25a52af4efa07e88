"""Spectral operators in implicit steps: the preconditioner, the order, the exact gradient."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import relative_difference
from impindiff.errors import InputError
from impindiff.steppers import stage_residual


class Linear(ipd.HybridModel):
    """Diffusion, advection at a constant speed and decay: each mode is known."""

    grid: ipd.Grid
    D: Any = 0.3
    speeds: tuple[float, ...] = eqx.field(static=True, default=(0.7, -1.3))
    dealiased: bool = eqx.field(static=True, default=True)

    def tendency(self, t, u, latent):
        speeds = self.speeds[: self.grid.ndim]
        if self.dealiased:
            carried = ipd.spectral.advection(u, speeds, self.grid)
        else:
            slopes = ipd.spectral.gradient(u, self.grid)
            carried = -jnp.tensordot(jnp.asarray(speeds, u.dtype), slopes, 1)
        return self.D * ipd.spectral.laplacian(u, self.grid) + carried - 0.5 * u


class Burgers(ipd.HybridModel):
    grid: ipd.Grid
    nu: jax.Array
    split: bool = eqx.field(static=True, default=False)

    def tendency(self, t, u, latent):
        carried = ipd.spectral.convection(u, lambda u: 0.5 * u**2, self.grid)
        spread = self.nu * ipd.spectral.laplacian(u, self.grid)
        return ipd.IMEX(spread, carried) if self.split else carried + spread


def line(n=32):
    return ipd.Grid((0.0,), (1.0,), (n,))


def wave(grid):
    return 0.3 + jnp.sin(2 * jnp.pi * grid.centers[0])


def newton(rtol: float | None = 1e-12):
    return ipd.NewtonKrylov(rtol=rtol, preconditioner=ipd.spectral.FourierInverse())


@pytest.mark.few(5)
@pytest.mark.parametrize("dealiased", [True, False])
@pytest.mark.parametrize("cells", [(2,), (3,), (4,), (9,), (16,), (12, 9), (8, 2)])
def test_the_preconditioner_is_the_inverse_for_constant_coefficients(cells, dealiased):
    grid = ipd.Grid((0.0,) * len(cells), (1.0, 2.5)[: len(cells)], cells)
    model = Linear(grid, dealiased=dealiased)
    weight = jnp.asarray(0.2)
    z = jnp.asarray(np.random.default_rng(0).normal(size=cells))
    stage = ipd.StageEquation(model, jnp.asarray(0.0), weight, None, z)

    @jax.jit
    def there_and_back(v):
        _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)
        inverse = ipd.spectral.FourierInverse()(z, stage)
        (transposed,) = jax.linear_transpose(inverse, v)(v)
        return inverse(jacobian(v)), jnp.vdot(inverse(v), v), jnp.vdot(v, transposed)

    again, product, of_transpose = there_and_back(z)
    np.testing.assert_allclose(again, z, atol=1e-11)
    np.testing.assert_allclose(of_transpose, product, rtol=1e-11)


def test_one_krylov_iteration_and_the_exact_decay_of_a_mode():
    grid = line()
    steps, dt = 4, 0.05
    stepper = ipd.BackwardEuler(solver=newton())
    u0 = jnp.cos(2 * jnp.pi * grid.centers[0])
    result = ipd.rollout(Linear(grid), u0, [0.0, steps * dt], dt=dt, stepper=stepper)
    rate = -0.3 * (2 * np.pi) ** 2 - 0.5 - 0.7j * 2 * np.pi
    phase = jnp.exp(2j * jnp.pi * grid.centers[0])
    exact = jnp.real(phase / (1 - dt * rate) ** steps)
    np.testing.assert_array_equal(result.stats.linear_iterations, result.stats.iterations)
    np.testing.assert_allclose(result.u[-1], exact, atol=1e-12)


@pytest.mark.slow
def test_fewer_iterations_for_a_stiff_nonlinear_step():
    grid = line(64)
    model = Burgers(grid, jnp.asarray(0.05))
    counts = []
    for solver in (newton(), ipd.NewtonKrylov(rtol=1e-12)):
        stepper = ipd.CrankNicolson(solver=solver)
        result = ipd.rollout(model, wave(grid), [0.0, 0.1], dt=0.02, stepper=stepper)
        counts.append((result.u[-1], int(result.stats.linear_iterations.sum())))
    (preconditioned, few), (plain, many) = counts
    assert relative_difference(preconditioned, plain) < 1e-9
    assert few < 0.5 * many


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stepper", "split", "least"),
    [(ipd.CrankNicolson, False, 1.9), (ipd.KenCarp3, True, 2.8), (ipd.KenCarp4, True, 3.6)],
)
def test_order_in_time(stepper, split, least):
    grid = line()
    model = Burgers(grid, jnp.asarray(0.05), split)

    def end(count):
        times, dt = [0.0, 0.4], 0.4 / count
        return ipd.rollout(model, wave(grid), times, dt=dt, stepper=stepper(solver=newton())).u[-1]

    exact = ipd.rollout(
        Burgers(grid, jnp.asarray(0.05)), wave(grid), [0.0, 0.4], dt=0.4 / 512, stepper=ipd.RK4()
    ).u[-1]
    coarse, fine = (relative_difference(end(n), exact) for n in (16, 32))
    assert np.log2(coarse / fine) > least


@pytest.mark.slow
@pytest.mark.parametrize(("stepper", "split"), [(ipd.CrankNicolson, False), (ipd.KenCarp3, True)])
def test_the_gradient_of_a_rollout_is_that_of_central_differences(stepper, split):
    grid = line(24)

    @jax.jit
    def loss(nu, u0):
        model = Burgers(grid, nu, split)
        end = ipd.rollout(model, u0, [0.0, 0.1], dt=0.02, stepper=stepper(solver=newton())).u[-1]
        return jnp.sum(end**4)

    nu, u0 = jnp.asarray(0.05), wave(grid)
    by_nu, by_u0 = jax.grad(loss, argnums=(0, 1))(nu, u0)
    h = 1e-5
    np.testing.assert_allclose(by_nu, (loss(nu + h, u0) - loss(nu - h, u0)) / (2 * h), rtol=1e-6)
    way = jnp.asarray(np.random.default_rng(0).normal(size=grid.cells))
    difference = (loss(nu, u0 + h * way) - loss(nu, u0 - h * way)) / (2 * h)
    np.testing.assert_allclose(jnp.vdot(by_u0, way), difference, rtol=1e-7)


@pytest.mark.slow
def test_components_that_are_no_fields_are_unchanged_and_float32_is_kept():
    class WithTank(ipd.HybridModel):
        grid: ipd.Grid

        def tendency(self, t, u, latent):
            return {"u": ipd.spectral.laplacian(u["u"], self.grid), "tank": -u["tank"]}

    grid = line(16)
    u0 = {"u": wave(grid).astype(jnp.float32), "tank": jnp.ones(3, jnp.float32)}
    stepper = ipd.BackwardEuler(solver=newton(None))
    result = ipd.rollout(WithTank(grid), u0, [0.0, 0.1], dt=0.05, stepper=stepper, batch_ndim=0)
    assert result.u["u"].dtype == jnp.float32
    np.testing.assert_allclose(result.u["tank"][-1], 1 / 1.05**2, rtol=1e-4)


def test_models_that_cannot_be_inverted_by_modes_are_refused():
    walls = (ipd.Dirichlet(0.0),)
    grid = ipd.Grid((0.0,), (1.0,), (8,), walls)

    class Heat(ipd.HybridModel):
        grid: ipd.Grid

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, 1.0, self.grid)

    stepper = ipd.BackwardEuler(solver=newton())
    with pytest.raises(InputError, match="FourierInverse: expected a uniform Cartesian grid"):
        ipd.rollout(Heat(grid), jnp.ones(8), [0.0, 0.1], stepper=stepper)
    field = ipd.VectorField(lambda t, u, args: -u)
    with pytest.raises(InputError, match="FourierInverse: VectorField has no grid"):
        ipd.rollout(field, jnp.ones(8), [0.0, 0.1], stepper=stepper)
