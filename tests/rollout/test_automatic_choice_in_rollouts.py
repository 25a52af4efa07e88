"""`NewtonKrylov(preconditioner="auto")`: chosen by what calls the solver, and recorded there."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import relative_difference

AUTO = ipd.NewtonKrylov(rtol=1e-10, preconditioner="auto")
N, DT = 12, 0.05


class Heat(ipd.HybridModel):
    grid: ipd.Grid
    D: jax.Array

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.D, self.grid)


def heat(exchange=1.0):
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (N, N), (ipd.Dirichlet(0.3), ipd.Neumann()))
    return Heat(grid, jnp.asarray(exchange / N**2 / DT))


def bump(grid):
    x = grid.centers
    return jnp.exp(-((x[0] - 0.4) ** 2 + (x[1] - 0.5) ** 2) / 0.05)


def few_iterations(solver=AUTO):
    """A solver that needs a preconditioner."""
    return eqx.tree_at(lambda s: s.linear_solver, solver, ipd.BiCGStab(max_steps=8))


TIMES = np.linspace(0.0, 4 * DT, 3)


def rolled_out(solver, model=None, **options):
    model = heat() if model is None else model
    stepper = ipd.BackwardEuler(solver=solver)
    return ipd.rollout(model, bump(model.grid), TIMES, stepper=stepper, dt=DT, **options)


@pytest.mark.slow
def test_the_choice_is_that_of_its_name_to_the_bit_and_recorded():
    for exchange, solver, name in (
        (1.0, AUTO, None),
        (100.0, few_iterations(), "Multigrid"),
    ):
        model = heat(exchange)
        found = rolled_out(solver, model)
        assert found.method is not None
        assert found.method.preconditioner == name
        assert found.method.automatic is not None
        assert found.method.automatic.startswith("none (" if name is None else "Multigrid() (")
        given = eqx.tree_at(
            lambda s: s.preconditioner, solver, None if name is None else ipd.Multigrid()
        )
        same = rolled_out(given, model)
        assert same.method is not None
        assert same.method.automatic is None
        np.testing.assert_array_equal(found.u, same.u)


@pytest.mark.slow
def test_gradients_take_the_same_choice_with_and_without_jit():
    def loss(D, solver):
        moved = eqx.tree_at(lambda m: m.D, heat(), D)
        return jnp.sum(rolled_out(solver, moved).u[-1] ** 2)

    gradient = jax.grad(loss)
    exact = gradient(heat(30.0).D, ipd.NewtonKrylov(rtol=1e-10))
    assert relative_difference(gradient(heat(30.0).D, AUTO), exact) < 1e-7
    jitted = jax.jit(lambda D: gradient(D, AUTO))(heat(30.0).D)
    assert relative_difference(jitted, exact) < 1e-7
    jax.jvp(lambda D: loss(D, AUTO), (heat().D,), (jnp.ones(()),))


def test_inside_jit_the_sizes_are_assumed_and_recorded():
    @eqx.filter_jit
    def run(model):
        return rolled_out(AUTO, model, throw=False)

    method = run(heat()).method
    assert method is not None
    assert method.automatic is not None
    assert "D dt/dx^2 assumed 10" in method.automatic


@pytest.mark.slow
def test_batches_adaptive_steps_and_jumps():
    model = heat()
    u0 = jnp.stack([bump(model.grid), 2 * bump(model.grid)])
    batch = ipd.rollout(model, u0, TIMES, dt=DT, stepper=ipd.BackwardEuler(solver=AUTO))
    assert batch.method is not None
    assert "at most 1;" in (batch.method.automatic or "")
    # a jump divides the first interval: its longer part is the longest step
    cut = ipd.rollout(
        model, u0, TIMES, jump_times=(0.25 * DT,), stepper=ipd.BackwardEuler(solver=AUTO)
    )
    assert cut.method is not None
    assert "at most 2;" in (cut.method.automatic or "")
    adaptive = ipd.rollout(
        model,
        bump(model.grid),
        TIMES,
        dt=ipd.AdaptiveStep(0.1, max_steps=64),
        stepper=ipd.KenCarp3(solver=AUTO),
    )
    assert adaptive.method is not None
    assert "assumed 10" in (adaptive.method.automatic or "")


@pytest.mark.slow
def test_steady_states():
    model = heat()
    found = ipd.steady(model, bump(model.grid), solver=AUTO)
    assert found.method is not None
    assert found.method.preconditioner is None
    assert (found.method.automatic or "").startswith("none (steady; ")
    stiff = ipd.steady(model, bump(model.grid), solver=few_iterations())
    assert stiff.method is not None
    assert stiff.method.preconditioner == "Multigrid"
    jitted = eqx.filter_jit(lambda model, u: ipd.steady(model, u, solver=AUTO).u)
    assert relative_difference(jitted(heat(2.0), bump(model.grid)), found.u) < 1e-8
    times = ipd.rollout(model, bump(model.grid), TIMES, stepper=ipd.SteadyState(solver=AUTO))
    assert times.method is not None
    assert (times.method.automatic or "").startswith("none (steady; ")


@pytest.mark.slow
def test_memory_is_estimated_for_what_is_taken():
    model = heat()
    shapes = jax.ShapeDtypeStruct((N, N), float)
    estimate = [
        ipd.estimate_memory(model, shapes, TIMES, stepper=ipd.BackwardEuler(solver=s), dt=DT)
        for s in (AUTO, ipd.NewtonKrylov(rtol=1e-10))
    ]
    assert estimate[0].total == estimate[1].total


def test_a_solve_that_nothing_has_chosen_for_is_refused():
    with pytest.raises(ipd.InputError, match="'auto' is chosen by rollout, steady and training"):
        ipd.root(lambda z, args: z - args, jnp.ones(3), jnp.ones(3), solver=AUTO)
