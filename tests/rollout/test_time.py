"""Times of any origin, unit and precision; traced ones, equal or out of order; derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import central_difference_error
from impindiff.implicit import Outcome
from impindiff.problem._problem import output_times
from impindiff.rollout import number_of_steps

SOLVER = ipd.NewtonKrylov(rtol=1e-13, atol=1e-15)
DECAY = ipd.VectorField(lambda t, u, args: -u)
AGEING = ipd.VectorField(lambda t, u, args: -(1 + t) * u + 0.3)
STEPPERS = [
    *(
        kind(SOLVER, ipd.ImplicitAdjoint(rtol=1e-13))
        for kind in (ipd.BackwardEuler, ipd.CrankNicolson, ipd.BDF2, ipd.SDIRK2, ipd.KenCarp3)
    ),
    ipd.RK4(),
]
EACH_STEPPER = pytest.mark.parametrize("stepper", STEPPERS, ids=lambda s: type(s).__name__)


@pytest.mark.parametrize("start", [0.0, -3.0, 1e4, 1e6, 1.7e9, -1.7e9])
@pytest.mark.parametrize("unit", [1e-9, 1.0, 3600.0])
def test_rounded_times_take_no_further_steps(start, unit):
    exact = start + np.linspace(0, 1, 11)
    assert number_of_steps(exact * unit, 0.1 * unit) == 10
    assert number_of_steps((exact * unit).tolist(), 0.05 * unit) == 20
    if abs(start) <= 1e4:
        single = jnp.asarray(exact * unit, jnp.float32)
        assert number_of_steps(single, 0.1 * unit) == 10
        assert number_of_steps(np.asarray(single, np.float64).tolist(), 0.1 * unit) == 10
    # and a step that is longer by more than rounding is divided
    assert number_of_steps(exact * unit, 0.099 * unit) == 20


def test_the_slack_never_drops_a_step_that_is_needed():
    # two times that are neighbours in float32, 128 s apart
    late = np.asarray([1.7e9, 1.7e9 + 128], np.float32)
    assert number_of_steps(late, 0.1) == 1280
    assert number_of_steps([0.0, 1.0], 0.4) == 3
    # whole seconds are exact, in whichever precision they could be kept
    assert number_of_steps([5_000_001.0, 5_000_002.0], 0.95) == 2
    assert len(output_times(1.7e9, 1.7e9 + np.linspace(0.01, 1, 99), 0.1)) == 11


@pytest.mark.few(1)
@pytest.mark.parametrize("start", [0.0, 1e5, 1.7e9])
@pytest.mark.parametrize("dt", [0.05, ipd.AdaptiveStep(rtol=1e-5)], ids=["fixed", "adaptive"])
@pytest.mark.parametrize("traced", [False, True])
def test_an_autonomous_problem_does_not_know_what_time_it_is(start, dt, traced):
    """In float32, from times in float64, differences of which are right."""
    times = start + np.asarray([0.0, 0.25, 0.5, 0.75, 1.0])
    options = {"stepper": ipd.KenCarp4(), "throw": False}

    def run(times, dt=dt):
        return ipd.rollout(DECAY, jnp.ones(2, jnp.float32), times, dt=dt, **options)

    if traced:
        result = jax.jit(lambda times: run(times, None if dt == 0.05 else dt))(jnp.asarray(times))
    else:
        result = run(times)
    assert np.all(result.stats.converged)
    expected = np.exp(-(times - start))[:, None] * np.ones(2)
    np.testing.assert_allclose(result.u, expected, rtol=2e-5)


@pytest.mark.slow
def test_many_short_steps_from_a_late_start():
    """Steps of a millionth of the interval are not lost to the sum of them in float32."""
    model = ipd.VectorField(lambda t, u, args: -1e6 * (u - 1))
    control = ipd.AdaptiveStep(rtol=1e-4, atol=1e-4)
    u0 = jnp.zeros(1, jnp.float32)
    late = ipd.rollout(model, u0, [1e6, 1e6 + 1], stepper=ipd.KenCarp4(), dt=control)
    early = ipd.rollout(model, u0, [0.0, 1.0], stepper=ipd.KenCarp4(), dt=control)
    assert len(late.step_times) == len(early.step_times)
    np.testing.assert_array_equal(late.u, early.u)


@pytest.mark.slow
@EACH_STEPPER
def test_between_equal_traced_times_nothing_happens(stepper):
    def ends(times, u0):
        result = ipd.rollout(AGEING, u0 * jnp.ones(1), times, stepper=stepper, throw=False)
        return result.u[:, 0], result.stats.converged

    run = jax.jit(ends)
    plain, _ = run(jnp.asarray([0.0, 0.5, 1.0]), 1.0)
    padded = jnp.asarray([[0.0, 0.5, 0.5, 1.0], [0.0, 0.5, 1.0, 1.0], [0.0, 0.0, 0.5, 1.0]])
    for times, kept in zip(padded, ([0, 1, 3], [0, 1, 2], [0, 2, 3]), strict=True):
        found, converged = run(times, 1.0)
        np.testing.assert_allclose(found[np.asarray(kept)], plain, rtol=1e-12)
        assert np.all(converged)
    together, converged = jax.vmap(lambda times: ends(times, 1.0))(padded)
    np.testing.assert_allclose(together[:, -1], plain[-1], rtol=1e-12)
    assert np.all(converged)

    def final(u0, times):
        return ends(times, u0)[0][-1]

    by_both = jax.jit(jax.grad(final, (0, 1)))
    by_u0, by_times = by_both(1.0, jnp.asarray([0.0, 0.5, 1.0]))
    alone = [by_both(1.0, times) for times in padded]
    batched = jax.jit(jax.vmap(jax.grad(final, (0, 1)), (None, 0)))(1.0, padded)
    for row in range(3):
        for of_u0, of_times in (alone[row], (batched[0][row], batched[1][row])):
            assert float(of_u0) == pytest.approx(float(by_u0), rel=1e-10)
            # what moves both of two equal times moves the one
            for t, expected in zip((0.0, 0.5, 1.0), by_times, strict=True):
                found = np.sum(np.asarray(of_times)[np.asarray(padded[row]) == t])
                assert found == pytest.approx(float(expected), rel=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize(
    "stepper", [STEPPERS[1], STEPPERS[4], ipd.RK4()], ids=lambda s: type(s).__name__
)
def test_the_derivative_by_the_second_of_two_equal_times(stepper):
    """The limit of a short step: to its output the rate there, to later ones next to nothing."""

    def trajectory(times):
        return ipd.rollout(AGEING, jnp.ones(1), times, stepper=stepper, throw=False).u[:, 0]

    times = jnp.asarray([0.0, 0.2, 0.2, 0.4])
    moved = times.at[2].add(1e-6)
    slope = jax.jit(jax.jacfwd(trajectory))(times)[:, 2]
    trajectory = jax.jit(trajectory)
    one_sided = (trajectory(moved) - trajectory(times)) / 1e-6
    np.testing.assert_allclose(slope, one_sided, atol=3e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dt", [None, ipd.AdaptiveStep(rtol=1e-4)], ids=["fixed", "adaptive"])
def test_times_that_decrease_are_a_failure_and_not_a_way_back(dt):
    def run(times, throw=False):
        return ipd.rollout(DECAY, jnp.ones(1), times, stepper=STEPPERS[4], dt=dt, throw=throw)

    for times, right in (([0.0, 0.5, 0.2, 1.0], 2), ([0.0, 0.5, np.nan, 1.0], 2)):
        result = jax.jit(run)(jnp.asarray(times))
        assert np.all(np.isfinite(result.u[:right]))
        assert np.all(np.isnan(result.u[right:]))
        assert not np.all(result.stats.converged)
        failed = np.asarray(~result.stats.converged)
        outcomes = np.asarray(jax.tree.leaves(result.stats.outcome)[0])
        expected = np.asarray(jax.tree.leaves(Outcome.times_decrease)[0])
        assert np.all(outcomes[failed] == expected)
        assert float(result.u[1, 0]) == pytest.approx(np.exp(-0.5), rel=1e-2)
    with pytest.raises(RuntimeError, match="did not converge"):
        jax.jit(lambda times: run(times, throw=True).u)(jnp.asarray([0.0, 0.5, 0.2]))
    with pytest.raises(ipd.InputError, match="must increase"):
        jax.grad(lambda times: run(times).u[-1, 0])(jnp.asarray([0.0, 0.5, 0.2]))


@pytest.mark.slow
@pytest.mark.parametrize("jitted", [False, True])
@pytest.mark.parametrize("mode", [jax.jacfwd, jax.jacrev])
def test_adaptive_steps_move_with_the_times(jitted, mode):
    """They are fractions of the intervals: the derivative is that of the steps taken."""
    control = ipd.AdaptiveStep(rtol=1e-3, max_steps=16)
    times = jnp.asarray([0.1, 0.5, 0.6, 1.4])

    def trajectory(times):
        return ipd.rollout(
            AGEING, jnp.ones(1), times, dt=control, stepper=STEPPERS[4], throw=False
        ).u[:, 0]

    function = mode(trajectory)
    found = (jax.jit(function) if jitted else function)(times)
    u = trajectory(times)
    # u(t_k) does not depend on the times between, and on t_k by the rate there
    rates = -(1 + times) * u + 0.3
    np.testing.assert_allclose(np.diag(found)[1:], rates[1:], atol=2e-3)
    np.testing.assert_allclose(found[1:, 1:], np.diag(rates[1:]), atol=2e-3)
    steps = ipd.rollout(AGEING, jnp.ones(1), times, dt=control, stepper=STEPPERS[4])
    listed = np.asarray(steps.step_times)
    index = np.searchsorted(listed, np.asarray(times) - 1e-12)
    fraction = np.interp(listed, times, np.arange(4.0))
    below = np.minimum(fraction.astype(int), 2)

    def of_the_steps(times):
        all_times = times[below] + (fraction - below) * (times[below + 1] - times[below])
        return ipd.rollout(AGEING, jnp.ones(1), all_times, stepper=STEPPERS[4]).u[index, 0]

    np.testing.assert_allclose(found, jax.jacfwd(of_the_steps)(times), atol=1e-10)


@pytest.mark.slow
def test_a_failure_under_the_derivative_of_the_times_names_its_step():
    model = ipd.VectorField(lambda t, u, args: jnp.where(t > 0.5, jnp.nan, -u))

    def last(times):
        return ipd.rollout(model, jnp.ones(1), times, stepper=STEPPERS[0]).u[-1, 0]

    with pytest.raises(ipd.SolverError, match=r"step 3 of 4 \(t = 0.5 to 0.75\)"):
        jax.grad(last)(jnp.linspace(0, 1, 5))


@pytest.mark.slow
def test_dt_with_times_that_are_differentiated_outside_of_jit():
    """Their number of steps is known there; d u(T) / dT = -u(T)."""

    def final(T):
        return ipd.rollout(
            DECAY, jnp.ones(1), T * np.linspace(0, 1, 3), dt=0.11, stepper=ipd.RK4()
        ).u[-1, 0]

    T = jnp.asarray(1.0)
    slope = jax.grad(final)(T)
    assert float(slope) == pytest.approx(-np.exp(-1), rel=1e-5)
    assert central_difference_error(final, T, jnp.asarray(1.0), slope) < 1e-8


class Relaxing(ipd.HybridModel):
    """x' = size / 2 - x and v' = x / 10 - v, from x = size and v = 0."""

    size: jax.Array

    def scale(self):
        return self.size

    def tendency(self, t, u, latent):
        return {"x": 0.5 * self.size - u["x"], "v": 0.1 * u["x"] - u["v"]}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("dtype", "size"),
    [("float32", 1e-30), ("float32", 1e30), ("float64", 1e-250), ("float64", 1e250)],
)
def test_adaptive_steps_do_not_depend_on_the_unit_of_the_state(dtype, size):
    def steps(size):
        model = Relaxing(jnp.asarray(size, dtype))
        u0 = {"x": jnp.full(2, size, dtype), "v": jnp.zeros(2, dtype)}
        stepper = ipd.KenCarp3(ipd.NewtonKrylov(rtol=2e-6, atol=1e-7))
        control = ipd.AdaptiveStep(rtol=1e-3)
        return ipd.rollout(model, u0, [0.0, 1.0, 3.0], stepper=stepper, dt=control)

    ours, ones = steps(size), steps(1.0)
    assert 4 < len(ones.step_times) < 60
    # an error of a step in float32 may be next to the smallest number, the state 1e7 times that
    assert abs(len(ours.step_times) - len(ones.step_times)) <= 1
    np.testing.assert_allclose(ours.step_times[-4:], ones.step_times[-4:], rtol=1e-3)
    for name in ("x", "v"):
        of_one = np.asarray(ours.u[name], np.float64) / size
        np.testing.assert_allclose(of_one, ones.u[name], rtol=1e-3)
    assert float(ones.u["x"][-1, 0]) == pytest.approx(0.5 + 0.5 * np.exp(-3.0), rel=1e-2)


@pytest.mark.slow
def test_a_state_at_rest_stays_there():
    control = ipd.AdaptiveStep(rtol=1e-4)
    result = ipd.rollout(DECAY, jnp.zeros(3), [0.0, 1e9], stepper=ipd.KenCarp3(), dt=control)
    np.testing.assert_array_equal(result.u, 0)
    assert len(result.step_times) < 20
