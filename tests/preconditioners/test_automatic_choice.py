"""The automatic choice of a preconditioner: each where it is needed, the same every time."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest

import impindiff as ipd
from impindiff.errors import InputError
from impindiff.preconditioners import AutomaticChoice, choose_preconditioner

DT = 0.01


class Spreading(ipd.HybridModel):
    """Diffusion, advection and decay, by numbers of cells a step, and 1 / the step."""

    grid: ipd.Grid
    exchange: jax.Array
    courant: float = eqx.field(static=True, default=0.0)
    decay: Any = 0.0

    def tendency(self, t, u, latent):
        h = self.grid.spacing[0]
        rate = ipd.diffusion(u, self.exchange * h**2 / DT, self.grid)
        if self.courant:
            speed = [self.courant * h / DT] * self.grid.ndim
            rate += ipd.advection(u, speed, self.grid)
        return rate - self.decay / DT * u


def square(n, ndim=2):
    return ipd.Grid((0.0,) * ndim, (1.0,) * ndim, (n,) * ndim)


def chosen(n=16, exchange=0.1, *, samples=(), steps=10, dt: Any = DT, **options) -> AutomaticChoice:
    grid = square(n)
    model = Spreading(grid, jnp.asarray(exchange), **options)
    stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))
    u0 = jnp.ones((*samples, *grid.cells))
    return choose_preconditioner(stepper, model, u0, dt, steps=steps, batch_ndim=len(samples))


@pytest.mark.parametrize(
    ("n", "exchange", "name"),
    [
        (16, 0.1, "none"),
        (16, 1000.0, "none"),
        (64, 1.0, "none"),
        (128, 0.1, "none"),
        (128, 1000.0, "Multigrid()"),
    ],
)
def test_short_steps_and_small_grids_need_none_and_stiff_ones_multigrid(n, exchange, name):
    found = chosen(n, exchange)
    assert found.name == name
    assert found.preconditioner == (None if name == "none" else ipd.Multigrid())
    assert f"D dt/dx^2 at most {exchange:.2g}; estimates for 200 training steps: " in found.why
    assert str(found) == f"{name} ({found.why})"


def test_samples_and_steps_count():
    assert chosen(64, 1000.0, steps=1).name == "none"
    assert chosen(64, 1000.0, steps=20).name == "Multigrid()"
    assert chosen(64, 1000.0, steps=1, samples=(4, 5)).name == "Multigrid()"


def test_the_same_arguments_give_the_same_choice_and_reason():
    assert str(chosen(32, 100.0)) == str(chosen(32, 100.0))


def test_drift_needs_multigrid_as_diffusion_does():
    assert chosen(64, 0.1).name == "none"
    assert chosen(64, 0.1, courant=50.0).name == "Multigrid()"


def test_a_limit_of_iterations_that_none_would_exceed_excludes_it():
    model = Spreading(square(16), jnp.asarray(1000.0))
    few = ipd.NewtonKrylov(preconditioner="auto", linear_solver=ipd.BiCGStab(max_steps=10))
    found = choose_preconditioner(ipd.BackwardEuler(solver=few), model, jnp.ones((16, 16)), DT)
    assert found.name == "Multigrid()"
    assert "none inf s" in found.why


def test_fast_reactions_need_the_diagonal():
    """Their rate falls by 1e4 over the cells: the condition number, not of a cell."""
    decay = jnp.asarray(np.logspace(0, 4, 64))
    assert chosen(64, 0.1, decay=decay, steps=40).name == "Jacobi()"
    assert chosen(64, 0.1, decay=1e4, steps=40).name == "none"


class Reacting(ipd.HybridModel):
    """Two components that turn into each other, or the first into the second."""

    grid: ipd.Grid
    exchange: float
    back: float

    def tendency(self, t, u, latent):
        D = self.exchange * self.grid.spacing[0] ** 2 / DT
        into, back = 1e3 / DT * u["a"], self.back / DT * u["b"]
        spread = {name: ipd.diffusion(x, D, self.grid) for name, x in u.items()}
        return {"a": spread["a"] - into + back, "b": spread["b"] + into - back}


def of_two(n, exchange, back, steps=10):
    u0 = {"a": jnp.ones((n, n)), "b": jnp.ones((n, n))}
    stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))
    model = Reacting(square(n), exchange, back)
    return choose_preconditioner(stepper, model, u0, DT, steps=steps)


def test_components_that_turn_into_each_other_need_their_blocks():
    assert of_two(64, 0.1, 1e3).preconditioner == ipd.Jacobi(blocks=True)


def test_components_that_drive_others_are_treated_in_their_order():
    assert of_two(64, 100.0, 0.0, steps=100).preconditioner == ipd.Multigrid(coupling="lower")


def test_steady_states_are_stiff_on_all_grids_that_are_not_tiny():
    def of_steady(n):
        stepper = ipd.SteadyState(solver=ipd.NewtonKrylov(preconditioner="auto"))
        model = Spreading(square(n), jnp.asarray(1.0))
        return choose_preconditioner(stepper, model, jnp.ones((n, n)), np.inf)

    assert of_steady(8).name == "none"
    assert of_steady(256).name == "Multigrid()"
    assert of_steady(256).why.startswith("steady; ")


def test_numbers_that_are_not_known_are_assumed():
    known = chosen(128, 1000.0)
    assumed = chosen(128, 1000.0, dt=None)
    assert "D dt/dx^2 assumed 10; " in assumed.why
    assert "assumed" not in known.why
    assert "assumed" in chosen(128, np.nan).why

    def found_in(transform, exchange):
        reasons = []

        def function(x):
            reasons.append(chosen(32, x).why)
            return x

        transform(function)(exchange)
        return reasons[0]

    assert "assumed" in found_in(jax.jit, 0.1)
    assert "assumed" in found_in(jax.vmap, jnp.asarray([0.1]))
    # values that are only differentiated, and constants of a traced program, are known
    assert "at most 0.1;" in found_in(jax.grad, 0.1)
    stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))
    model, u0, reasons = Spreading(square(32), jnp.asarray(0.1)), np.ones((32, 32)), []

    @jax.jit
    def of_constants(x):
        reasons.append(choose_preconditioner(stepper, model, u0, DT).why)
        return x

    of_constants(0.0)
    assert "at most 0.1;" in reasons[0]


def test_a_model_that_closes_over_a_traced_value_is_not_known():
    reasons = []

    @jax.jit
    def function(rate):
        model = ipd.VectorField(lambda t, u, args: -rate * u)
        grid = square(8)
        object.__setattr__(model, "grid", grid)
        stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))
        reasons.append(choose_preconditioner(stepper, model, jnp.ones(grid.cells), DT).why)
        return rate

    function(1.0)
    assert "assumed" in reasons[0]


def test_cells_that_differ_count_by_their_volumes():
    """A step of a stretched and a radial grid, whose smallest cells exchange most."""
    edges = np.concatenate([[0.0], np.cumsum(np.linspace(1.0, 3.0, 16))])
    grid = ipd.Grid.from_edges((edges / edges[-1],))
    stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))

    class Line(ipd.HybridModel):
        grid: ipd.Grid

        def tendency(self, t, u, latent):
            return ipd.diffusion(u, 1.0, self.grid)

    found = choose_preconditioner(stepper, Line(grid), jnp.ones(16), DT)
    h = np.diff(edges / edges[-1])
    largest = DT / (h[0] * (h[0] + h[1]) / 2)
    assert f"D dt/dx^2 at most {largest:.2g};" in found.why


def test_a_state_without_fields_on_a_grid_needs_none():
    stepper = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner="auto"))
    model = ipd.VectorField(lambda t, u, args: -u)
    found = choose_preconditioner(stepper, model, jnp.ones(3), DT)
    assert (found.name, found.preconditioner) == ("none", None)


def test_what_takes_no_preconditioner_is_refused():
    model, u0 = Spreading(square(8), jnp.asarray(1.0)), jnp.ones((8, 8))
    for stepper in (ipd.RK4(), ipd.BackwardEuler(solver=ipd.Picard())):
        with pytest.raises(ipd.InputError, match="takes no preconditioner; expected an implicit"):
            choose_preconditioner(stepper, model, u0, DT)  # pyright: ignore[reportArgumentType]
    with pytest.raises(ipd.InputError, match="'best'; expected 'auto', None, or"):
        ipd.NewtonKrylov(preconditioner="best")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ipd.InputError, match="conjugate gradients, which need a symmetric"):
        ipd.NewtonKrylov(linear_solver=lx.CG(1e-8, 1e-8), preconditioner="auto")


def test_a_steady_state_depends_on_the_peclet_number_not_on_units():
    def why(courant, unit):
        stepper = ipd.SteadyState(solver=ipd.NewtonKrylov(preconditioner="auto"))
        model = Spreading(square(64), jnp.asarray(unit), courant=courant * unit)
        return choose_preconditioner(stepper, model, jnp.ones((64, 64)), np.inf).why

    assert why(0.1, 1.0) == why(0.1, 1e6)
    assert why(0.1, 1.0) != why(10.0, 1.0)


@pytest.mark.parametrize("rule", [ipd.ImplicitAdjoint, ipd.JacobianFree])
def test_an_adjoint_takes_the_solver_s_choice_and_refuses_its_own(rule):
    with pytest.raises(InputError, match=f"{rule.__name__}: preconditioner is 'auto'"):
        rule(preconditioner="auto")
