"""Steady states: exact solutions, gradients, pseudo-time, and states that are not unique."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.typing import ArrayLike

import impindiff as ipd

EXACT = ipd.NewtonKrylov(rtol=1e-11)


class Conductor(ipd.HybridModel):
    """Heat conduction with k(T) = 1 + slope T and a source."""

    grid: ipd.Grid
    slope: jax.Array
    source: jax.Array

    def tendency(self, t, u, latent):
        k = 1 + self.slope * u
        return ipd.diffusion(u, k, self.grid, t=t) + self.source


class Reaction(ipd.HybridModel):
    """Diffusion and a law of the state, by default Bratu's equation."""

    grid: ipd.Grid
    rate: jax.Array
    law: Callable[..., Any] = eqx.field(static=True, default=jnp.exp)

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, 1.0, self.grid) + self.rate * self.law(u)


class Burgers(ipd.HybridModel):
    grid: ipd.Grid
    viscosity: float

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.viscosity, self.grid) + ipd.convection(
            u, lambda v: 0.5 * v**2, self.grid
        )


def line(cells, *walls):
    return ipd.Grid((0.0,), (1.0,), (cells,), boundary=(walls,))


def conductor(grid, slope: ArrayLike = 0.0, source: ArrayLike = 0.0):
    return Conductor(grid, jnp.asarray(slope), jnp.asarray(source))


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_slab_with_a_flux_has_a_linear_temperature(precision):
    grid = line(20, ipd.Dirichlet(1.0), ipd.Neumann(-0.5))
    zero = jnp.zeros((), precision)
    found = ipd.steady(conductor(grid, zero, zero), jnp.zeros(grid.cells, precision))
    exact = 1 - 0.5 * grid.centers[0]
    np.testing.assert_allclose(found.u, exact, rtol=1e-7 if precision == "float64" else 1e-3)
    assert found.status.iterations <= 5
    assert found.pseudo_steps == 0
    assert found.u.dtype == precision


@pytest.mark.slow
def test_nonlinear_conduction_is_linear_in_kirchhoffs_variable():
    """K(T) = T + slope T^2 / 2 is linear in x; the error is of second order."""
    slope, errors = 0.5, []
    for cells in (10, 20):
        grid = line(cells, ipd.Dirichlet(0.0), ipd.Dirichlet(1.0))
        found = ipd.steady(conductor(grid, slope), jnp.ones(cells), solver=EXACT)
        exact = (-1 + jnp.sqrt(1 + 2 * slope * (1 + slope / 2) * grid.centers[0])) / slope
        errors.append(float(jnp.max(jnp.abs(found.u - exact))))
    assert errors[1] < 2e-3
    assert errors[0] / errors[1] > 3


def test_both_branches_of_bratus_equation():
    """With theta = sqrt(2 rate) cosh(theta / 4), u(1/2) = 2 log cosh(theta / 4)."""
    grid = line(65, ipd.Dirichlet(0.0), ipd.Dirichlet(0.0))
    x, middle = grid.centers[0], 32
    for theta, height in ((1.5171645990507543, 0.0), (10.938702772171205, 4.0)):
        assert np.isclose(np.sqrt(2) * np.cosh(theta / 4), theta, rtol=1e-9)
        model = Reaction(grid, jnp.asarray(1.0))
        found = ipd.steady(model, 4 * height * x * (1 - x), solver=EXACT)
        assert float(found.u[middle]) == pytest.approx(2 * np.log(np.cosh(theta / 4)), rel=2e-3)
    # beyond the fold at 3.5138 there is none
    none = ipd.steady(Reaction(grid, jnp.asarray(3.6)), jnp.zeros(65), solver=EXACT, throw=False)
    assert not none.status.converged
    with pytest.raises(ipd.SolverError, match=r"steady state at t = 0: field u.*pseudo_time=ipd"):
        none.raise_for_failure()


def test_the_gradient_is_that_of_central_differences_and_of_forward_mode():
    grid = line(16, ipd.Dirichlet(lambda t: t), ipd.Neumann(0.3))
    model = conductor(grid, 0.7, jnp.sin(3 * grid.centers[0]))

    @eqx.filter_jit
    def value(model, t):
        found = ipd.steady(model, jnp.ones(16), t, solver=EXACT, adjoint=ipd.ImplicitAdjoint(1e-12))
        return jnp.sum(jnp.cos(grid.centers[0]) * found.u**2)

    of_model, of_t = eqx.filter_jit(eqx.filter_grad(lambda both: value(*both)))(
        (model, jnp.asarray(0.4))
    )
    assert value(model, 0.4) != value(model, 0.5)
    way = conductor(grid, 1.0, jnp.cos(5 * grid.centers[0]))
    h = 1e-5

    def moved(h):
        return eqx.apply_updates(
            model, jax.tree.map(lambda x: h * x, eqx.filter(way, eqx.is_array))
        )

    slope = jnp.sum(of_model.slope) + jnp.sum(of_model.source * way.source)
    central = (value(moved(h), 0.4) - value(moved(-h), 0.4)) / (2 * h)
    assert float(slope) == pytest.approx(float(central), rel=1e-6)
    central = (value(model, 0.4 + h) - value(model, 0.4 - h)) / (2 * h)
    assert float(of_t) == pytest.approx(float(central), rel=1e-6)

    def of_source(source):
        return ipd.steady(conductor(grid, 0.7, source), jnp.ones(16), 0.4, solver=EXACT).u

    v, w = jnp.cos(5 * grid.centers[0]), jnp.sin(7 * grid.centers[0])
    _, jv = jax.jvp(of_source, (model.source,), (v,))
    _, transposed = jax.vjp(of_source, model.source)
    assert float(jnp.vdot(w, jv)) == pytest.approx(float(jnp.vdot(transposed(w)[0], v)), rel=1e-8)


@pytest.mark.slow
def test_pseudo_time_succeeds_where_newton_fails_and_the_gradient_is_the_roots():
    grid = line(32, ipd.Dirichlet(1.0), ipd.Dirichlet(-0.8))
    model, zero = Burgers(grid, 0.02), jnp.zeros(32)

    def found(model, **options):
        return ipd.steady(model, zero, solver=EXACT, throw=False, **options)

    assert not found(model).status.converged
    led = found(model, pseudo_time=ipd.PseudoTime())
    assert led.status.converged
    assert 5 < led.pseudo_steps < 100
    assert led.status.iterations > led.pseudo_steps
    assert jnp.abs(model.tendency(jnp.zeros(()), led.u, None)).max() < 1e-7

    solver = ipd.NewtonKrylov(rtol=1e-13)  # differences show what a solve leaves over

    @jax.jit
    @jax.value_and_grad
    def value(viscosity):
        led = ipd.steady(
            Burgers(grid, viscosity), zero, solver=solver, pseudo_time=ipd.PseudoTime(dt=0.1)
        )
        return jnp.sum(led.u)

    h = 1e-6
    central = (value(0.02 + h)[0] - value(0.02 - h)[0]) / (2 * h)
    assert float(value(0.02)[1]) == pytest.approx(float(central), rel=1e-6)


@pytest.mark.slow
def test_pseudo_time_goes_where_the_process_goes():
    """Of u' = u - u^3 the root 0 is unstable: Newton's method stays there, the process does not."""
    model = Reaction(line(8, ipd.Neumann(), ipd.Neumann()), jnp.asarray(1.0), lambda u: u - u**3)
    guess = 0.1 * jnp.ones(8)
    alone = ipd.steady(model, guess, solver=EXACT)
    led = ipd.steady(model, guess, solver=EXACT, pseudo_time=ipd.PseudoTime())
    np.testing.assert_allclose(alone.u, 0.0, atol=1e-8)
    np.testing.assert_allclose(led.u, 1.0, atol=1e-8)


class Exchange(ipd.HybridModel):
    """Two components that turn into each other, and diffuse between walls."""

    grid: ipd.Grid
    boundary: Any = eqx.field(static=True)
    masses: Any = eqx.field(static=True, default=1.0)

    def mass(self):
        return self.masses

    def tendency(self, t, u, latent):
        moved = u["a"] - 1e-3 * u["b"]
        walls = self.boundary
        return {
            "a": ipd.diffusion(u["a"], 1.0, self.grid, boundary=walls) - moved,
            "b": ipd.diffusion(u["b"], 1e-6, self.grid, boundary=((ipd.Neumann(),) * 2,))
            + 2 * moved,
        }


@pytest.mark.slow
def test_what_the_equation_does_not_determine_is_reported():
    walls = ((ipd.Neumann(), ipd.Neumann()),)
    closed = ipd.Grid((0.0,), (1.0,), (12,), boundary=walls)
    wave = jnp.cos(jnp.pi * closed.centers[0])
    # a level, whose sources have a sum of 0 and so a root; and a total where k depends on T
    for model in (conductor(closed, 0.0, wave), conductor(closed, 0.1, wave)):
        found = ipd.steady(model, 1 + wave, solver=EXACT, throw=False)
        assert found.status.outcome == ipd.Outcome.not_unique
        assert not found.status.converged
    with pytest.raises(ipd.SolverError, match="level or a total undetermined") as failure:
        found.raise_for_failure()
    assert failure.value.code == "not_unique"
    free = ipd.steady(conductor(closed, 0.0, wave), wave, check_unique=False)
    assert free.status.converged
    # the total 2 a + b of two, at scales far apart; a wall that holds a fixes both
    both = {"a": jnp.ones(12), "b": jnp.zeros(12)}
    open_wall = ((ipd.Dirichlet(1.0), ipd.Neumann()),)
    for boundary, unique in ((walls, False), (open_wall, True)):
        found = ipd.steady(Exchange(closed, boundary), both, throw=False)
        assert bool(found.status.outcome == ipd.Outcome.not_unique) != unique
    np.testing.assert_allclose(found.u["b"], 1e3, rtol=1e-4)


@pytest.mark.slow
def test_cells_of_unequal_volume_and_weak_walls_are_judged_rightly():
    edges = ipd.grid.geometric(0.1, 1.0, 12)
    for wall, unique in ((ipd.Neumann(), False), (ipd.Robin(1e-6, 1.0, 1e-6), True)):
        grid = ipd.Grid.from_edges(
            (edges,), boundary=((ipd.Neumann(), wall),), coordinates="cylindrical"
        )
        found = ipd.steady(conductor(grid, 0.1), jnp.ones(12), throw=False)
        assert bool(found.status.outcome == ipd.Outcome.not_unique) != unique


@pytest.mark.slow
def test_samples_have_their_own_states_and_failures():
    grid = line(16, ipd.Dirichlet(0.0), ipd.Dirichlet(0.0))

    class Several(Reaction):
        def latent(self, t):
            return ipd.PerSample(self.rate)

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, 1.0, self.grid) + latent * jnp.exp(u)

    model = Several(grid, jnp.asarray([1.0, 9.0, 2.0]))
    found = ipd.steady(model, jnp.zeros((3, 16)), throw=False)
    np.testing.assert_array_equal(found.status.converged, [True, False, True])
    assert float(found.u[2].max()) > 2 * float(found.u[0].max())
    with pytest.raises(ipd.SolverError, match="steady state at t = 0, sample 1: field u"):
        found.raise_for_failure()
    assert "pseudo-time steps" in found._repr_html_()


@pytest.mark.slow
def test_the_stepper_gives_the_steady_state_at_every_time():
    """The walls change in time, the state follows them without delay; one solve a time."""
    grid = line(16, ipd.Dirichlet(lambda t: t), ipd.Neumann())
    stepper = ipd.SteadyState(solver=EXACT)
    result = ipd.rollout(conductor(grid), jnp.ones(16), [0.0, 1.0, 3.0], stepper=stepper)
    np.testing.assert_allclose(result.u[1:], [[1.0] * 16, [3.0] * 16], rtol=1e-9)
    assert result.stats.iterations.shape == (2,)
    closed = conductor(line(16, ipd.Neumann(), ipd.Neumann()))
    with pytest.raises(ipd.SolverError, match=r"^steady state at t = 1: field u.*rollout, where"):
        ipd.rollout(closed, jnp.ones(16), [0.0, 1.0], stepper=stepper)


def test_wrong_arguments_are_refused():
    grid = line(8, ipd.Dirichlet(0.0), ipd.Neumann())
    with pytest.raises(ipd.InputError, match="steady: guess"):
        ipd.steady(conductor(grid), jnp.zeros(8, int))
    with pytest.raises(ipd.InputError, match="trailing axes"):
        ipd.steady(conductor(grid), jnp.zeros(9))
    with pytest.raises(ipd.InputError, match=r"PseudoTime: growth is 0.5; expected .* above 1"):
        ipd.PseudoTime(growth=0.5)
    with pytest.raises(ipd.InputError, match="SteadyState: first_guess"):
        ipd.SteadyState(max_halvings=2)
    massless = Exchange(grid, ((ipd.Dirichlet(1.0), ipd.Neumann()),), 0.0)
    with pytest.raises(ipd.InputError, match="every component of Exchange has mass 0"):
        ipd.steady(massless, {"a": jnp.ones(8), "b": jnp.ones(8)}, pseudo_time=ipd.PseudoTime())
