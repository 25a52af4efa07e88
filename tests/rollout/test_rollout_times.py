"""Steps, output times, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import GRID, TIMES, Decay, blobs, transport

from impindiff.errors import InputError
from impindiff.implicit import NewtonKrylov
from impindiff.rollout import rollout
from impindiff.rollout._schedule import make_schedule, make_stops
from impindiff.steppers import RK4, CrankNicolson

MODEL, U0 = transport(), blobs()
CUBIC = Decay(lambda t: jnp.ones_like(t))  # u = 1 / sqrt(1 + 2 t) from u(0) = 1


def test_outputs_are_at_the_times_asked_for():
    times = np.asarray([0.0, 0.013, 0.5, 0.501, 2.0])
    result = rollout(CUBIC, jnp.ones(2), times, stepper=RK4(), dt=0.02)
    exact = 1 / np.sqrt(1 + 2 * times)
    np.testing.assert_allclose(result.u, np.stack([exact, exact], 1), rtol=1e-7)
    np.testing.assert_array_equal(result.times, times)


@pytest.mark.slow
def test_the_first_output_is_the_initial_state():
    result = rollout(MODEL, U0, TIMES)
    assert result.u.shape == (len(TIMES), *GRID.shape)
    np.testing.assert_array_equal(result.u[0], U0)
    assert result.stats.converged.shape == (len(TIMES) - 1,)
    np.testing.assert_allclose(result.step_times, TIMES, rtol=1e-15)


@pytest.mark.slow
def test_a_rollout_is_its_steps_one_after_the_other():
    """Uneven intervals included: the loop is that of the steppers' own tests."""
    stepper = CrankNicolson(NewtonKrylov(rtol=1e-12))
    t0 = jnp.asarray(0.0)
    latent, u = jax.jit(lambda t: MODEL.latent(t))(t0), U0
    memory = jax.jit(lambda u: stepper.start(MODEL, t0, u, latent))(u)
    expected = [u]
    step = jax.jit(lambda t, dt, u, m: stepper.step(MODEL, t, dt, u, m, (latent,), None))
    for t, dt in zip(TIMES[:-1], np.diff(TIMES), strict=True):
        u, memory, *_ = step(jnp.asarray(t), jnp.asarray(dt), u, memory)
        expected.append(u)
    result = rollout(MODEL, U0, TIMES, stepper=stepper)
    np.testing.assert_allclose(result.u, jnp.stack(expected), rtol=1e-10)


@pytest.mark.parametrize(
    ("dt", "counts"),
    [
        (None, [1, 1, 1]),
        (10.0, [1, 1, 1]),
        (0.05, [1, 3, 1]),
        (0.04, [2, 4, 2]),
        (0.15 / 7, [3, 7, 3]),
    ],
)
def test_subdivision(dt, counts):
    schedule = make_schedule(make_stops(TIMES, None, float), dt, float)
    assert np.bincount(np.asarray(schedule.outputs)).tolist() == [0, *counts]
    assert schedule.steps == sum(counts)
    if dt is not None:
        assert np.max(np.asarray(schedule.lengths)) <= dt * (1 + 1e-9)
    ends = np.asarray(schedule.starts) + np.asarray(schedule.lengths)
    last_of_each = np.cumsum(counts) - 1
    np.testing.assert_allclose(ends[last_of_each], TIMES[1:], rtol=1e-15)
    np.testing.assert_allclose(schedule.starts[1:], ends[:-1], rtol=1e-14)


def test_steps_between_outputs_are_taken_but_not_kept():
    coarse = rollout(CUBIC, jnp.ones(2), np.asarray([0.0, 0.1, 0.2]), stepper=RK4(), dt=0.05)
    listed = rollout(CUBIC, jnp.ones(2), np.arange(5) * 0.05, stepper=RK4())
    assert coarse.stats.converged.shape == (4,)
    np.testing.assert_allclose(coarse.u, listed.u[::2], rtol=1e-14)


def test_times_can_be_differentiated():
    """dL/d(times): for u = 1/sqrt(1 + 2 t), du/dt at the last time is -u^3."""

    @jax.jit
    def last(times):
        return rollout(CUBIC, jnp.ones(2), times, stepper=RK4(), throw=False).u[-1, 0]

    times = jnp.linspace(0, 0.2, 5)
    assert float(jax.grad(last)(times)[-1]) == pytest.approx(-(float(last(times)) ** 3), rel=1e-3)


@pytest.mark.parametrize(
    ("times", "dt", "message"),
    [
        ([0.0, 0.1, 0.1], None, r"times\[1\] = 0.1 is followed by times\[2\] = 0.1"),
        ([0.0, 0.2, 0.1], None, "must increase"),
        ([0.0, np.nan, 0.1], None, "finite"),
        ([0.0, np.inf], None, "finite"),
        ([0.0], None, "at least two"),
        ([[0.0, 0.1]], None, "shape"),
        ([0.0, 0.1], 0.0, "dt = 0.0; expected a positive"),
        ([0.0, 0.1], -0.1, "positive"),
        ([0.0, 0.1], float("nan"), "positive"),
    ],
)
def test_times_that_are_refused(times, dt, message):
    with pytest.raises(InputError, match=message):
        rollout(MODEL, U0, times, dt=dt)


def test_dt_with_traced_times_is_refused():
    with pytest.raises(InputError, match="traced times"):
        jax.jit(lambda times: rollout(MODEL, U0, times, dt=0.1).u)(jnp.asarray(TIMES))


@pytest.mark.parametrize(
    ("u0", "message"),
    [
        (jnp.ones((4, 8)), r"u0 has shape \(4, 8\); expected trailing axes \(8, 4\)"),
        (jnp.ones(4), "expected trailing axes"),
        (jnp.ones(GRID.shape, int), "dtype int"),
        ({}, "no arrays"),
        ({"a": blobs(), "b": blobs(2)}, "different numbers of batch axes"),
    ],
)
def test_states_that_are_refused(u0, message):
    with pytest.raises(InputError, match=message):
        rollout(MODEL, u0, TIMES)


@pytest.mark.slow
def test_numpy_arrays_and_lists_are_taken():
    expected = rollout(MODEL, U0, TIMES).u
    np.testing.assert_array_equal(rollout(MODEL, np.asarray(U0), TIMES.tolist()).u, expected)
