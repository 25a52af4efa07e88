"""Steps chosen by their estimated error: accuracy, gradient, and how a search without end ends."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array
from systems import Decay, TwoGases

from helpers import central_difference_error, dot, normal_like, relative_difference
from impindiff.errors import InputError, SolverError
from impindiff.implicit import ImplicitAdjoint, NewtonKrylov, Outcome
from impindiff.rollout import AdaptiveStep, Binomial, Segments, StoreStates, rollout
from impindiff.rollout._adaptive import find_steps
from impindiff.rollout._rollout import number_of_steps
from impindiff.rollout._schedule import make_stops
from impindiff.steppers import (
    RK4,
    BackwardEuler,
    CrankNicolson,
    HybridModel,
    KenCarp3,
    KenCarp4,
    PerSample,
    VectorField,
)

SOLVER = NewtonKrylov(rtol=1e-11, atol=1e-13)
THIRD = KenCarp3(SOLVER, ImplicitAdjoint(rtol=1e-13))
TIMES = np.asarray([0.0, 0.3, 0.35, 1.1, 2.0])
COARSE = AdaptiveStep(rtol=1e-3, atol=1e-3, max_steps=20)


class Swinging(HybridModel):
    """u' = w (cos(w t) u + exp(2 sin(w t)) - u^2), of which u = exp(sin(w t)) is a solution."""

    frequency: Array
    per_sample: bool = eqx.field(static=True, default=False)

    def latent(self, t):
        phase = self.frequency * t
        slope, source = (
            self.frequency * jnp.cos(phase),
            self.frequency * jnp.exp(2 * jnp.sin(phase)),
        )
        coefficients = (slope, source, self.frequency)
        return PerSample(coefficients) if self.per_sample else coefficients

    def tendency(self, t, u, latent):
        slope, source, frequency = latent
        return slope * u + source - frequency * u**2


def swinging(frequency: Any = 1.0) -> Swinging:
    frequency = jnp.asarray(frequency)
    return Swinging(frequency, per_sample=frequency.ndim > 0)


def error(result, frequency: Any = 1.0):
    """Largest relative error at any output time."""
    exact = np.exp(np.sin(np.multiply.outer(np.asarray(result.times), frequency)))[..., None]
    return np.max(np.abs(np.asarray(result.u) / exact - 1), axis=(0, -1))


def count_steps(model, u0, stepper, control) -> int:
    stops = make_stops(TIMES, None, float).cast(float)
    return int(find_steps(model, u0, stepper, control, stops, batch_ndim=0).accepted)


@pytest.mark.slow
@pytest.mark.parametrize("stepper_type", [KenCarp3, KenCarp4])
def test_the_tolerance_is_met_with_as_many_steps_as_it_takes(stepper_type):
    stepper, u0, control = stepper_type(SOLVER), jnp.ones(1), AdaptiveStep(rtol=1e-6, atol=1e-9)
    result = rollout(swinging(), u0, TIMES, stepper=stepper, dt=control)
    assert 1e-8 < error(result) < 1e-5
    np.testing.assert_array_equal(result.times, TIMES)
    assert np.isin(TIMES, result.step_times).all()
    assert np.all(np.diff(result.step_times) > 0)
    fewer = count_steps(swinging(), u0, stepper, AdaptiveStep(rtol=1e-4, atol=1e-7))
    # 100 times the tolerance: with an estimate of order p, 100^(1/p) times the step
    assert len(TIMES) < 1.3 * fewer < len(result.stats.converged)


@pytest.mark.slow
def test_a_sudden_change_has_steps_rejected():
    """u' = -k u^3 with k from 0.1 to 500 at t = 1/2: u = (1 + 2 int k)^(-1/2)."""
    model = Decay(lambda t: jnp.where(t > 0.5, 500.0, 0.1))
    control = AdaptiveStep(rtol=1e-4, atol=1e-6)
    result = rollout(model, jnp.ones(2), [0.0, 1.0], stepper=THIRD, dt=control)
    assert result.u[-1] == pytest.approx((1 + 2 * (0.05 + 250)) ** -0.5, rel=1e-3)
    assert result.rejected_steps is not None
    assert 2 < int(result.rejected_steps) < 50
    assert np.all(result.stats.converged)
    lengths = np.diff(result.step_times)
    assert lengths.max() > 100 * lengths.min()
    fixed = rollout(model, jnp.ones(2), [0.0, 1.0], stepper=RK4(), dt=0.5)
    assert fixed.rejected_steps is None


PARAMETERS = (swinging(1.1), jnp.asarray([1.0, 1.4]))


@eqx.filter_value_and_grad(has_aux=True)
def value_and_gradient(
    parameters,
    times=TIMES,
    dt: AdaptiveStep | None = COARSE,
    schedule=None,
    outputs: Any = slice(None),
):
    """Of a model, u0 and perhaps a probe; and the whole result."""
    model, u0, probe = parameters
    result = rollout(
        model, u0, times, stepper=THIRD, dt=dt, checkpointing=schedule, throw=False, probe=probe
    )
    weights = jnp.arange(1, len(TIMES) + 1)[:, None]
    return jnp.sum(jnp.sin(result.u[outputs]) * weights), result


@pytest.fixture(scope="module")
def adaptive():
    """(value, result), gradient; outside `jax.jit`."""
    return value_and_gradient((*PARAMETERS, None))


@pytest.mark.slow
def test_the_gradient_is_that_of_the_accepted_steps(adaptive):
    (expected, result), gradient = adaptive
    listed = np.asarray(result.step_times)
    outputs = np.searchsorted(listed, TIMES)
    assert len(TIMES) < len(listed) <= COARSE.max_steps

    @eqx.filter_jit
    def of_listed(parameters):
        (value, _), gradient = value_and_gradient(
            (*parameters, None), listed, None, outputs=outputs
        )
        return value, gradient[:2]

    value, gradient_of_listed = of_listed(PARAMETERS)
    assert float(expected) == pytest.approx(float(value), rel=1e-12)
    assert relative_difference(gradient, gradient_of_listed) < 1e-12
    direction = normal_like(0, PARAMETERS)
    slope = jnp.asarray(dot(gradient, direction))
    along = lambda parameters: of_listed(parameters)[0]  # noqa: E731
    assert central_difference_error(along, PARAMETERS, direction, slope) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("schedule", [StoreStates(), Segments(), Binomial(3)], ids=str)
def test_inside_jit_with_every_schedule(adaptive, schedule):
    """There the loop has `max_steps` steps, the last of them empty; so it has with a probe."""
    (expected, outside), gradient = adaptive
    probe = jnp.zeros(number_of_steps(TIMES, COARSE))
    (value, inside), (*found, residuals) = eqx.filter_jit(value_and_gradient)(
        (*PARAMETERS, probe), schedule=schedule
    )
    assert float(value) == pytest.approx(float(expected), rel=1e-12)
    assert relative_difference(found, gradient) < 1e-12

    steps = len(outside.stats.converged)
    assert steps < len(inside.stats.converged) == len(probe) == COARSE.max_steps
    for a, b in zip(jax.tree.leaves(inside.stats), jax.tree.leaves(outside.stats), strict=True):
        np.testing.assert_allclose(a[:steps], b, rtol=1e-6, atol=1e-12)
    assert np.all(inside.stats.converged)
    assert np.sum(inside.stats.iterations[steps:]) == 0
    # a solve may be exact by chance
    assert np.mean(residuals[:steps] > 0) > 0.9
    assert np.all(residuals[steps:] == 0)
    np.testing.assert_allclose(inside.step_times[: steps + 1], outside.step_times, rtol=1e-14)
    assert np.all(inside.step_times[steps:] == TIMES[-1])
    assert inside.rejected_steps == outside.rejected_steps


@pytest.mark.slow
def test_the_hardest_sample_of_a_batch_sets_the_steps():
    control, frequencies = AdaptiveStep(rtol=1e-6, atol=1e-9), np.asarray([0.1, 4.0, 1.0])
    u0 = jnp.ones((3, 1))
    batch = rollout(swinging(frequencies), u0, TIMES, stepper=THIRD, dt=control, batch_ndim=1)
    assert np.all(error(batch, frequencies) < 1e-5)
    easy, hard = (count_steps(swinging(f), u0[0], THIRD, control) for f in (0.1, 4.0))
    assert easy < 0.5 * hard
    assert 0.9 * hard < len(batch.stats.converged) < 1.1 * hard
    assert batch.stats.converged.shape[1:] == (3,)


@pytest.mark.slow
def test_a_state_of_two_fields_and_no_latent():
    model = TwoGases(jnp.asarray(0.7))
    u0 = {"fuel": jnp.ones(3), "oxygen": jnp.full(3, 2.0)}  # used up in equal parts
    control = AdaptiveStep(rtol=1e-6, atol=1e-8)
    result = rollout(model, u0, TIMES, stepper=THIRD, dt=control)
    exact = 1 / (1 + 1.4 * TIMES)
    np.testing.assert_allclose(result.u["fuel"][:, 0], exact, rtol=1e-5)
    np.testing.assert_allclose(result.u["oxygen"][:, 2], 2 * exact, rtol=1e-5)


def assert_ended_early(result, reached: int, exact):
    """The first `reached` outputs are there and right, no other is, and the statistics tell."""
    assert np.all(np.isnan(result.u[reached:]))
    np.testing.assert_allclose(result.u[:reached, 0], exact[:reached], rtol=1e-5)
    assert not np.all(result.stats.converged)
    outcomes = np.asarray(jax.tree.leaves(result.stats.outcome)[0])
    limit = np.asarray(jax.tree.leaves(Outcome.step_limit)[0])
    np.testing.assert_array_equal(outcomes == limit, ~np.asarray(result.stats.converged))


@pytest.mark.slow
def test_running_out_of_steps_is_an_error_and_never_a_wrong_answer():
    control = AdaptiveStep(rtol=1e-6, atol=1e-9, max_steps=30)

    def run(u0, throw=True):
        return rollout(swinging(), u0, TIMES, stepper=THIRD, dt=control, throw=throw)

    u0, exact = jnp.ones(1), np.exp(np.sin(TIMES))
    outside, inside = run(u0, throw=False), jax.jit(lambda u0: run(u0, throw=False))(u0)
    for result in (outside, inside):
        assert_ended_early(result, 3, exact)
    assert len(outside.stats.converged) == control.max_steps
    last = float(outside.step_times[-1])
    assert 0.35 < last < 1.1
    with pytest.raises(SolverError, match=rf"step 30 of 30 .* to {last:.6g}\).*larger max_steps"):
        run(u0)
    # who takes the gradient alone must not find one that vanishes
    slope = jax.jit(jax.grad(lambda u0: jnp.sum(run(u0, throw=False).u[-1])))(u0)
    assert np.isnan(slope).all()


@pytest.mark.slow
def test_a_solution_that_blows_up_ends():
    """u' = u^2 has u = 1 / (1 - t)."""
    model = VectorField(lambda t, u, args: u**2)
    control = AdaptiveStep(rtol=1e-6, atol=1e-9)
    result = rollout(model, jnp.ones(1), [0.0, 0.5, 2.0], stepper=THIRD, dt=control, throw=False)
    assert_ended_early(result, 2, [1, 2])
    assert result.step_times[-1] == pytest.approx(1, abs=0.01)
    with pytest.raises(SolverError, match="leaves the range of numbers"):
        result.raise_for_failure()


@pytest.mark.slow
def test_coefficients_that_are_lost_end_it_where_they_were_still_known():
    model = Decay(lambda t: jnp.where(t > 0.5, jnp.nan, 1 + t))  # u = 1 / (1 + t)
    control = AdaptiveStep(rtol=1e-6, atol=1e-9, max_steps=100)

    def run(times):
        return rollout(model, jnp.ones(1), times, stepper=THIRD, dt=control, throw=False)

    result = run([0.0, 0.5, 2.0])
    assert_ended_early(result, 2, [1, 1 / 1.5])
    assert result.step_times[-1] == pytest.approx(0.5, rel=1e-15)
    nowhere = run([0.6, 1.0, 2.0])
    assert not np.any(nowhere.stats.converged)
    np.testing.assert_array_equal(nowhere.step_times, [0.6, 0.6])
    np.testing.assert_array_equal(nowhere.u[:, 0], [1, np.nan, np.nan])


@pytest.mark.parametrize("stepper", [BackwardEuler(), CrankNicolson(), RK4()])
def test_a_stepper_without_an_estimate_is_refused_by_name(stepper):
    with pytest.raises(InputError, match=f"{type(stepper).__name__} has no error estimate; use"):
        rollout(swinging(), jnp.ones(1), TIMES, stepper=stepper, dt=COARSE)


@pytest.mark.parametrize(
    "wrong", [{"rtol": 0.0}, {"atol": -1.0}, {"rtol": np.nan}, {"first": np.inf}, {"max_steps": 0}]
)
def test_impossible_controls_are_refused(wrong):
    with pytest.raises(InputError, match=rf"AdaptiveStep: {next(iter(wrong))} = .*expected"):
        AdaptiveStep(**wrong)


def test_times_that_do_not_increase_are_refused():
    with pytest.raises(InputError, match="must increase"):
        rollout(swinging(), jnp.ones(1), [0.0, 1.0, 1.0], stepper=THIRD, dt=COARSE)
