"""Search for the largest step, by stability or accuracy, on a problem's true model."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.observations import relative_l1_percent
from impindiff.rollout import rollout
from impindiff.steppers import AbstractStepper, HybridModel

_REPEATS = 300
_GROWTH = 10.0
_MOST_STEPS = 2**12


class Truth(NamedTuple):
    """A model and its true solution.

    - `u0`: the initial states, a pytree of (samples, *cells).
    - `times`: from the initial one; `fields`: by quantity, the truth at these times, (times,
      samples, *cells), from short steps.
    - `quantities`: from states to these fields.
    - `volumes`: of the cells, where they differ.
    """

    model: HybridModel
    u0: PyTree[Array]
    times: Float[np.ndarray, " times"]
    fields: Mapping[str, Float[np.ndarray, "times samples *cells"]]
    quantities: Callable[[Any], Mapping[str, Any]]
    volumes: Float[np.ndarray, "*cells"] | None = None


def largest_stable_step(truth: Truth, stepper: AbstractStepper) -> float:
    """The largest step, to 2 %, in which small perturbations do not grow: at most the whole span.

    The step is linearised about the initial state; it is stable if 300 repetitions of it, whatever
    their span, do not multiply the L1 norm of a random perturbation by more than ten. Transport and
    diffusion preserve or reduce that norm, while an unstable step amplifies some part of it every
    time.
    """
    u0 = jax.tree.map(jnp.asarray, truth.u0)
    rng = np.random.default_rng(0)
    noise = jax.tree.map(lambda x: rng.normal(size=x.shape), u0)

    def size(w: PyTree[Array]) -> Array:
        return jnp.sum(jnp.stack([jnp.sum(jnp.abs(x)) for x in jax.tree.leaves(w)]))

    @eqx.filter_jit
    def growth(model: HybridModel, dt: Array) -> Array:
        def step(u):
            ends = truth.times[0] + dt * jnp.arange(2)
            found = rollout(model, u, ends, stepper=stepper, throw=False, halving=False).u
            return jax.tree.map(lambda x: x[-1], found)

        _, linearised = jax.linearize(step, u0)
        start = jax.tree.map(jnp.asarray, noise)
        w = jax.lax.fori_loop(0, _REPEATS, lambda _, w: linearised(w), start)
        return size(w) / size(start)

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
    end = truth.quantities(_end(truth, stepper, steps, index))
    errors = [
        relative_l1_percent(
            np.asarray(end[name])[0],
            field[index],
            space_axes=field.ndim - 2,
            volumes=truth.volumes,
        ).mean()
        for name, field in truth.fields.items()
    ]
    return float(np.mean(errors))


def step_for_error(truth: Truth, stepper: AbstractStepper, percent: float, index: int) -> float:
    """The largest T / n with which that error is at most `percent`, T = times[index]."""
    span = _span(truth, index)

    def accurate(steps: int) -> bool:
        found = error_percent(truth, stepper, span / steps, index)
        return bool(np.isfinite(found) and found <= percent)

    return span / fewest(accurate)


def fewest(suffices: Callable[[int], bool]) -> int:
    """The smallest sufficient n, to 5 %, by doubling then bisection; assumes monotonicity.

    4096 if no smaller one suffices.
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


def _end(truth: Truth, stepper: AbstractStepper, steps: int, index: int) -> PyTree[Array]:
    """The state at times[index] after the given number of steps, (1, samples, *cells)."""
    ends = truth.times[[0, index]]
    dt = _span(truth, index) / steps
    result = rollout(
        truth.model, truth.u0, ends, stepper=stepper, dt=dt, throw=False, halving=False
    )
    return jax.block_until_ready(jax.tree.map(lambda x: x[-1:], result.u))
