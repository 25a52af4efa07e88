"""How long steps may be: by stability, or by accuracy. Measured on a case's true model."""

from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.observations import relative_l1_percent
from impindiff.rollout import rollout
from impindiff.steppers import AbstractStepper, HybridModel

_REPEATS = 300
_GROWTH = 10.0
_MOST_STEPS = 2**12


class Truth(NamedTuple):
    """A true model and what becomes of it: `u`, (times, samples, *cells), from a short step."""

    model: HybridModel
    times: Float[np.ndarray, " times"]
    u: Float[np.ndarray, "times samples *cells"]


def largest_stable_step(truth: Truth, stepper: AbstractStepper) -> float:
    """The largest step, to 2 %, in which small perturbations do not grow: at most the whole span.

    The step is linearised about the initial state; stable means that repeating it so often does not
    multiply the L1 norm of a random perturbation by ten. Transport and diffusion leave that norm
    where it is, or make it smaller, and an unstable step multiplies some part of it every time.
    """
    u0 = jnp.asarray(truth.u[0])
    noise = np.random.default_rng(0).normal(size=u0.shape)

    @eqx.filter_jit
    def growth(model: HybridModel, dt: Array) -> Array:
        def step(u):
            ends = truth.times[0] + dt * jnp.arange(2)
            return rollout(model, u, ends, stepper=stepper, throw=False, halving=False).u[-1]

        _, linearised = jax.linearize(step, u0)
        w = jax.lax.fori_loop(0, _REPEATS, lambda _, w: linearised(w), jnp.asarray(noise))
        return jnp.sum(jnp.abs(w)) / np.sum(np.abs(noise))

    def stable(dt: float) -> bool:
        return bool(growth(truth.model, jnp.asarray(dt)) <= _GROWTH)

    low, high = 0.0, _span(truth, -1)
    if stable(high):
        return high
    while high - low > 0.02 * high:
        middle = 0.5 * (low + high) if low else high / 2
        low, high = (middle, high) if stable(middle) else (low, middle)
    return low


def error_percent(truth: Truth, stepper: AbstractStepper, step: float, index: int) -> float:
    """Relative L1 error at times[index], the mean over the samples, with steps of that length."""
    steps = max(1, round(_span(truth, index) / step))
    end = _end(truth, stepper, steps, index)
    space = truth.u.ndim - 2
    return float(relative_l1_percent(np.asarray(end), truth.u[index], space_axes=space).mean())


def step_for_error(truth: Truth, stepper: AbstractStepper, percent: float, index: int) -> float:
    """The largest T / n with which that error is at most `percent`, T = times[index]."""
    span = _span(truth, index)

    def accurate(steps: int) -> bool:
        found = error_percent(truth, stepper, span / steps, index)
        return bool(np.isfinite(found) and found <= percent)

    return span / fewest(accurate)


def fewest(suffices: Callable[[int], bool]) -> int:
    """The smallest n that does, within 5 %, if more of them always do: doubling, then bisection.

    4096 if fewer do not.
    """
    low, high = 0, 1
    while high < _MOST_STEPS and not suffices(high):
        low, high = high, 2 * high
    while high - low > max(1, high // 20):
        middle = (low + high) // 2
        low, high = (low, middle) if suffices(middle) else (middle, high)
    return high


def _span(truth: Truth, index: int) -> float:
    return float(truth.times[index] - truth.times[0])


def _end(
    truth: Truth, stepper: AbstractStepper, steps: int, index: int
) -> Float[Array, "samples *cells"]:
    """The state at times[index] after so many steps."""
    ends = truth.times[[0, index]]
    dt = _span(truth, index) / steps
    result = rollout(
        truth.model, truth.u[0], ends, stepper=stepper, dt=dt, throw=False, halving=False
    )
    return jax.block_until_ready(result.u[-1])
