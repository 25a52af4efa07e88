"""Advance a model through time."""

from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from impindiff.implicit import Outcome, Status
from impindiff.implicit.pytree import require_floating, result_dtype, without_tangents
from impindiff.rollout.adaptive import AcceptedSteps, AdaptiveStep, find_steps
from impindiff.rollout.checkpointing import AbstractCheckpointing, Sizes, StoreStates
from impindiff.rollout.coefficients import evaluate_latents
from impindiff.rollout.halving import can_be_halved, max_halvings, step_or_halve, without_halving
from impindiff.rollout.initial import consistent, with_initial
from impindiff.rollout.result import Rollout
from impindiff.rollout.samples import (
    find_batch_ndim,
    of_sample,
    over_batch,
    sample_axes,
    sample_indices,
    started,
)
from impindiff.rollout.schedule import Schedule, make_schedule, require_times, steps_per_interval
from impindiff.steppers import AbstractStepper, CrankNicolson, HybridModel


def rollout(
    model: HybridModel,
    u0: PyTree[ArrayLike],
    times: Any,
    *,
    stepper: AbstractStepper | None = None,
    dt: float | AdaptiveStep | None = None,
    checkpointing: AbstractCheckpointing | None = None,
    throw: bool = True,
    batch_ndim: int | None = None,
    probe: Float[Array, "steps *batch"] | None = None,
    halving: bool | None = None,
) -> Rollout:
    """The trajectory of M du/dt = model.tendency(t, u, model.latent(t)) from u(times[0]) = u0.

    - `u0`: one array or a pytree of arrays. Trailing axes are the grid's, leading axes a batch of
      samples, each of which is its own system: it meets the tolerance itself, and a sample that
      fails does not change its neighbours. Components of mass 0 are a first guess: they are solved
      for at times[0], and the statistics of the first step tell of that solve too.
    - `times`: strictly increasing, evenly spaced or not; steps land on each of them.
    - `stepper`: default `CrankNicolson()`.
    - `dt`: the largest step; intervals between output times are divided equally. Default: one step
      per interval. `AdaptiveStep(rtol, atol)`: as long as the estimated error allows.
    - `checkpointing`: what the backward pass finds stored: `StoreStates()` (default), `Segments()`,
      `Binomial(slots)`, or `ForBudget("512MB")`, which chooses; `result.checkpointing` tells.
    - `throw`: raise when a solve fails: a `SolverError` that names step, time, sample, field and
      residual, or inside `jax.jit`, where these are not known yet, Equinox's runtime error. With
      `throw=False` look at `result.stats`, or call `result.raise_for_failure()`.
    - `batch_ndim`: number of leading batch axes; default what is left of `u0` beside the axes of
      `model.grid`, and 0 for a model without a grid.
    - `probe`: zeros of shape (steps, *batch). The "gradient" with respect to it is the relative
      residual of each step's adjoint solve (see `ImplicitAdjoint`).
    - `halving`: a step whose solve fails is taken again in halves, quarters, ..., at most halved
      `stepper.max_halvings` times; `result.stats.halvings` tells, and the gradient is that of the
      parts taken. A program that can do so takes twice as long to compile and its gradient stores
      three or four states a step. With None (default) it is made only once a solve has failed,
      which inside `jax.jit` and `jax.grad` cannot be seen; there True asks for it. False: never.

    Differentiable in `model`, `u0` and (with `dt=None`) `times`, and in what functions inside of
    the model close over, to any order and in every composition of forward and reverse mode:
    `jax.hessian`, `jax.grad` of `jax.grad`, and a Hessian-vector product as
    `jax.grad(lambda u: jax.jvp(loss, (u,), (v,))[1])`. `Binomial` allows reverse mode, and forward
    over reverse mode; other orders are an `InputError`. Raises `InputError` for times, dt or shapes
    that do not fit.

    Source: Akhare et al. (2025), section 2; the split of latent and tendency is this library's.
    """
    stepper = CrankNicolson() if stepper is None else stepper
    checkpointing = StoreStates() if checkpointing is None else checkpointing
    u0 = jax.tree.map(jnp.asarray, u0)
    require_floating(u0, "rollout: u0")
    if batch_ndim is None:
        batch_ndim = find_batch_ndim(model, u0)
    if not isinstance(times, jax.Array):
        times = np.asarray(times, np.float64)
    dtype = result_dtype(u0)
    found = None
    if isinstance(dt, AdaptiveStep):
        require_times(times)
        # as arrays: one program serves all tolerances
        control = jax.tree.map(jnp.asarray, dt)
        found = find_steps(
            *without_tangents((model, u0, stepper, control, jnp.asarray(times, dtype))),
            batch_ndim=batch_ndim,
        )
        known = not isinstance(found.accepted, jax.core.Tracer)
        schedule = found.cut() if known and probe is None else found.schedule
        # a step that is known to succeed has no need of being halved
        halving = False if halving is None else halving
    else:
        schedule = make_schedule(times, dt, dtype)

    def run(stepper: AbstractStepper) -> Rollout:
        return _rollout(
            model,
            u0,
            schedule,
            probe,
            outputs=len(times),
            stepper=stepper,
            checkpointing=checkpointing,
            batch_ndim=batch_ndim,
            with_empty_steps=found is not None,
        )

    result = run(stepper if halving else without_halving(stepper))
    may_halve = halving is None and max_halvings(stepper) > 0 and _is_known(result.stats)
    if may_halve and bool(jnp.any(can_be_halved(result.stats))):
        result = run(stepper)
    result = eqx.tree_at(lambda r: r.times, result, jnp.asarray(times, dtype))
    if found is not None:
        result = _with_search(result, found)
    if throw:
        if _is_known(result.stats):
            result.raise_for_failure()
        else:
            result = _fail_at_run_time(result)
    return result


def number_of_steps(times: Any, dt: float | AdaptiveStep | None) -> int:
    """How many steps a rollout with these arguments has, as its `probe` needs to know."""
    if isinstance(dt, AdaptiveStep):
        return dt.max_steps
    return int(np.sum(steps_per_interval(times, dt)))


@eqx.filter_jit
def _rollout(
    model: HybridModel,
    u0: PyTree,
    schedule: Schedule,
    probe: Array | None,
    *,
    outputs: int,
    stepper: AbstractStepper,
    checkpointing: AbstractCheckpointing,
    batch_ndim: int,
    with_empty_steps: bool,
) -> Rollout:
    initial_latent, latents = evaluate_latents(model, schedule, stepper.nodes)
    samples = sample_indices(u0, batch_ndim)

    def advance(parameters, carry, x):
        """One step of every sample."""
        stepper, model, initial_latent = parameters
        t, dt, of_step, step_probe = x
        steady = latents is None
        coefficients = initial_latent if steady else of_step

        def step_sample(carry, sample, coefficients, step_probe):
            u, memory = carry
            here = of_sample(coefficients)
            step = step_or_halve(
                stepper,
                model,
                t,
                dt,
                u,
                memory,
                (here,) * len(stepper.nodes) if steady else here,
                (lambda t: here) if steady else (lambda t: of_sample(model.latent(t), sample)),
                step_probe,
            )
            return (step.u, step.memory), step.status

        axes = (0, 0, sample_axes(coefficients), 0)
        return over_batch(step_sample, batch_ndim, axes)(carry, samples, coefficients, step_probe)

    def advance_or_pass(parameters, carry, x):
        """`advance`, or nothing for a step of length 0."""
        stats = eqx.filter_eval_shape(advance, parameters, carry, x)[1]
        nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), stats)
        nothing = eqx.tree_at(lambda s: s.converged, nothing, jnp.ones_like(nothing.converged))
        return jax.lax.cond(
            x[1] > 0,
            lambda carry: advance(parameters, carry, x),
            lambda carry: (carry, nothing),
            carry,
        )

    u0, initial = consistent(stepper, model, schedule.starts[0], u0, initial_latent, batch_ndim)
    carry = (u0, started(stepper, model, schedule.starts[0], u0, initial_latent, batch_ndim))
    checkpointing = checkpointing.chosen(
        Sizes(
            steps=schedule.steps,
            carry=_bytes(carry),
            kept=stepper.solves_per_step * _bytes(u0),
        )
    )
    saved, stats = checkpointing.run(
        advance_or_pass if with_empty_steps else advance,
        (stepper, model, initial_latent),
        carry,
        (schedule.starts, schedule.lengths, latents, probe),
        schedule.outputs,
        outputs,
    )
    ends = jnp.append(schedule.starts, schedule.starts[-1] + schedule.lengths[-1])
    return Rollout(
        u=saved,
        times=schedule.starts,
        stats=with_initial(stats, initial),
        step_times=ends,
        checkpointing=checkpointing,
    )


def _with_search(result: Rollout, found: AcceptedSteps) -> Rollout:
    """The rollout with what the search for its steps tells.

    If it did not reach the last time, the states it did not reach are NaN and its last step counts
    as failed. Outside `jax.jit` the statistics end with the last step.
    """
    stats, last = result.stats, jnp.maximum(found.accepted - 1, 0)
    of_last = jax.tree.map(lambda all: all[last], stats.outcome)
    outcome = Outcome.where(found.reached, of_last, Outcome.step_limit)
    stats = eqx.tree_at(
        lambda s: (s.converged, s.outcome),
        stats,
        (
            stats.converged.at[last].min(found.reached),
            jax.tree.map(lambda all, one: all.at[last].set(one), stats.outcome, outcome),
        ),
    )
    missed = (result.times > found.t) & ~found.reached
    u = jax.tree.map(
        lambda x: jnp.where(missed.reshape(-1, *[1] * (x.ndim - 1)), jnp.nan, x), result.u
    )
    step_times = result.step_times
    if not (isinstance(found.accepted, jax.core.Tracer) or isinstance(missed, jax.core.Tracer)):
        count = int(last) + 1
        stats = jax.tree.map(lambda a: a[:count], stats)
        step_times = step_times[: count + 1]
    return Rollout(u, result.times, stats, step_times, result.checkpointing, found.rejected)


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _is_known(stats: Status) -> bool:
    """Whether the statistics are numbers, not tracers of a JAX transformation."""
    return not isinstance(stats.converged, jax.core.Tracer)


def _fail_at_run_time(result: Rollout) -> Rollout:
    failed: Bool[Array, ""] = ~jnp.all(result.stats.converged)
    u = eqx.error_if(
        result.u,
        failed,
        "rollout: a solve did not converge. Call rollout outside jax.jit to learn the step, time, "
        "sample and reason, or pass throw=False and look at result.stats.",
    )
    return eqx.tree_at(lambda r: r.u, result, u)
