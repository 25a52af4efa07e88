"""Our steppers in Diffrax: the trajectory and the gradient of `rollout`, and no matrix."""

import re
from typing import Any

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import impindiff as ipd

GRID = ipd.Grid((0.0,), (1.0,), (16,))
TIMES = np.linspace(0.0, 0.2, 5)
SOLVER = ipd.NewtonKrylov(rtol=1e-12, atol=1e-13)
STEPPERS = [
    ipd.BackwardEuler(solver=SOLVER),
    ipd.CrankNicolson(solver=SOLVER),
    ipd.BDF2(solver=SOLVER),
    ipd.SDIRK2(solver=SOLVER),
    ipd.KenCarp3(solver=SOLVER),
    ipd.KenCarp4(solver=SOLVER),
    ipd.RK4(),
]


class Fisher(ipd.HybridModel):
    """du/dt = div(D grad u) + r(t) u (1 - u)."""

    grid: ipd.Grid
    diffusivity: jax.Array

    def latent(self, t):
        return 2 + jnp.sin(5 * t)

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.diffusivity, self.grid) + latent * u * (1 - u)


MODEL = Fisher(GRID, jnp.asarray(0.01))
U0 = 0.1 + 0.5 * jnp.exp(-50 * (GRID.centers[0] - 0.5) ** 2)


def solve(model, stepper, u0=U0, dt: float | None = 0.01, **options) -> Any:
    return diffrax.diffeqsolve(
        diffrax.ODETerm(ipd.diffrax.field),
        ipd.diffrax.Implicit(stepper),
        0.0,
        0.2,
        dt,
        u0,
        model,
        saveat=diffrax.SaveAt(ts=jnp.asarray(TIMES)),
        **options,
    )


@pytest.mark.slow
@pytest.mark.parametrize("stepper", STEPPERS, ids=lambda s: type(s).__name__)
def test_the_trajectory_is_that_of_a_rollout(stepper):
    ours = ipd.rollout(MODEL, U0, TIMES, stepper=stepper, dt=0.01)
    controller = diffrax.StepTo(jnp.linspace(0, 0.2, 21))
    theirs = solve(MODEL, stepper, dt=None, stepsize_controller=controller)
    np.testing.assert_allclose(theirs.ys, ours.u, rtol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("stepper", [STEPPERS[1], STEPPERS[4]], ids=lambda s: type(s).__name__)
def test_the_gradient_is_that_of_a_rollout(stepper):
    def ours(model):
        return jnp.sum(ipd.rollout(model, U0, TIMES, stepper=stepper, dt=0.01).u[-1] ** 2)

    def theirs(model):
        return jnp.sum(solve(model, stepper).ys[-1] ** 2)

    expected = eqx.filter_grad(ours)(MODEL).diffusivity
    found = eqx.filter_grad(theirs)(MODEL).diffusivity
    assert found == pytest.approx(float(expected), rel=1e-8)


@pytest.mark.slow
def test_no_array_of_the_square_of_the_state_is_in_the_compiled_gradient():
    n = 768
    grid = ipd.Grid((0.0,), (1.0,), (n,))
    u0 = jnp.sin(2 * jnp.pi * grid.centers[0])

    def gradient(solver):
        def end(model):
            solution: Any = diffrax.diffeqsolve(
                diffrax.ODETerm(ipd.diffrax.field), solver, 0.0, 0.02, 0.01, u0, model
            )
            return jnp.sum(solution.ys[-1] ** 2)

        jitted: Any = eqx.filter_jit(eqx.filter_grad(end))
        return jitted.lower(Fisher(grid, jnp.asarray(0.01))).compile().compiled.as_text()

    matrix = re.compile(rf"f64\[(\d+,)*{n},{n}\]")
    assert not matrix.search(gradient(ipd.diffrax.Implicit(ipd.BackwardEuler(solver=SOLVER))))
    dense = diffrax.VeryChord(rtol=1e-6, atol=1e-6, norm=optx.max_norm)
    # and the search finds one where there is one
    assert matrix.search(gradient(diffrax.ImplicitEuler(root_finder=dense)))


@pytest.mark.slow
def test_adaptive_controllers_choose_the_steps():
    controller = diffrax.PIDController(rtol=1e-8, atol=1e-10)
    found = solve(MODEL, ipd.KenCarp4(solver=SOLVER), stepsize_controller=controller)
    exact = solve(MODEL, ipd.KenCarp4(solver=SOLVER), dt=0.2 / 400, max_steps=None)
    np.testing.assert_allclose(found.ys, exact.ys, atol=2e-8)
    assert 3 < found.stats["num_accepted_steps"] < 200


def test_a_stepper_without_estimate_is_refused_by_a_controller_that_needs_one():
    controller = diffrax.PIDController(rtol=1e-4, atol=1e-6)
    with pytest.raises(RuntimeError, match="error estimates"):
        solve(MODEL, ipd.CrankNicolson(), stepsize_controller=controller)


@pytest.mark.slow
def test_an_event_ends_the_solution_where_it_happens():
    def half(t, y, args, **_):
        return jnp.mean(y) - 0.3

    event = diffrax.Event(half)
    found: Any = diffrax.diffeqsolve(
        diffrax.ODETerm(ipd.diffrax.field),
        ipd.diffrax.Implicit(ipd.KenCarp3()),
        0.0,
        5.0,
        0.01,
        U0,
        MODEL,
        event=event,
    )
    assert found.result == diffrax.RESULTS.event_occurred
    assert jnp.mean(found.ys[-1]) == pytest.approx(0.3, abs=0.01)


@pytest.mark.slow
def test_any_vector_field_and_any_pytree():
    def oscillator(t, y, args):
        return {"x": y["v"], "v": -args * y["x"]}

    y0 = {"x": jnp.asarray(1.0), "v": jnp.asarray(0.0)}
    found: Any = diffrax.diffeqsolve(
        diffrax.ODETerm(oscillator),
        ipd.diffrax.Implicit(ipd.KenCarp4(solver=SOLVER)),
        0.0,
        1.0,
        0.05,
        y0,
        4.0,
        saveat=diffrax.SaveAt(ts=jnp.array([0.333, 1.0])),
    )
    # at 0.333 interpolated, to third order
    np.testing.assert_allclose(found.ys["x"], np.cos(2 * np.array([0.333, 1.0])), atol=2e-6)


@pytest.mark.slow
def test_the_memory_of_a_step_does_not_outlive_a_jump():
    """KenCarp3 carries a rate, which is another past a jump of the vector field."""

    def switched(t, y, args):
        return jnp.where(t < 0.5, 1.0, -1.0) * jnp.ones_like(y)

    def end(jumps) -> float:
        at = jnp.array([0.5])
        controller = diffrax.ClipStepSizeController(
            diffrax.PIDController(rtol=10.0, atol=10.0), step_ts=at, jump_ts=jumps
        )
        solver = ipd.diffrax.Implicit(ipd.KenCarp3(solver=SOLVER))
        found: Any = diffrax.diffeqsolve(
            diffrax.ODETerm(switched),
            solver,
            0.0,
            1.0,
            0.25,
            jnp.zeros(2),
            stepsize_controller=controller,
        )
        return float(found.ys[-1][0])

    assert end(jnp.array([0.5])) == pytest.approx(0.0, abs=1e-5)
    assert abs(end(None)) > 0.05


@pytest.mark.slow
def test_a_failed_solve_is_a_failed_result():
    solver = ipd.NewtonKrylov(rtol=1e-14, atol=1e-300, max_iterations=1, line_search=False)
    found = solve(MODEL, ipd.BackwardEuler(solver=solver), dt=0.2, throw=False)
    assert found.result != diffrax.RESULTS.successful


def test_a_component_without_mass_is_refused():
    class Constrained(ipd.HybridModel):
        def mass(self):
            return 0.0

        def tendency(self, t, u, latent):
            return 1 - u

    with pytest.raises(ipd.InputError, match="mass 0"):
        solve(Constrained(), ipd.BackwardEuler())
