"""Advance a model through time."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, PyTree

from impindiff.errors import InputError
from impindiff.implicit import Outcome, Status
from impindiff.implicit.pytree import (
    carry_with_tangents,
    require_floating,
    result_dtype,
    without_tangents,
)
from impindiff.rollout._adaptive import AcceptedSteps, AdaptiveStep, find_steps, within
from impindiff.rollout._automatic import with_automatic_choice
from impindiff.rollout._checkpointing import AbstractCheckpointing, Sizes, StoreStates
from impindiff.rollout._coefficients import evaluate_latents
from impindiff.rollout._halving import can_be_halved, max_halvings, step_or_halve, without_halving
from impindiff.rollout._initial import consistent, is_solved_in_loop, with_initial
from impindiff.rollout._method import Method
from impindiff.rollout._result import Rollout
from impindiff.rollout._schedule import (
    Schedule,
    make_schedule,
    make_stops,
    shortest,
    steps_per_interval,
)
from impindiff.rollout._well_posed import with_well_posedness
from impindiff.rollout.samples import (
    find_batch_ndim,
    of_sample,
    over_batch,
    sample_axes,
    sample_indices,
    started,
)
from impindiff.steppers import AbstractStepper, CrankNicolson, HybridModel, ImplicitStepper
from impindiff.steppers.mass import require_masses
from impindiff.steppers.model import declared


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
    jump_times: Sequence[float] | None = None,
) -> Rollout:
    """Advance M du/dt = model.tendency(t, u, model.latent(t)) from u(times[0]) = u0.

    **Arguments:**

    - `u0`: one array or a pytree of arrays. Trailing axes are the grid's, leading axes a batch of
      independent samples: each meets the tolerance itself, and a failing sample does not affect its
      neighbours. Components of mass 0 are a first guess: they are solved for at times[0], and the
      statistics of the first step include that solve.
    - `times`: strictly increasing, evenly spaced or not; steps end at each of them. Traced times
      (under `jax.jit`) may repeat: between two equal ones nothing happens, and derivatives by
      either are exact, to the fifth order at least. From where they decrease on, states are NaN and
      the steps count as failed.
    - `stepper`: default `CrankNicolson()`. With `NewtonKrylov(preconditioner="auto")` the
      preconditioner is chosen here (`result.method.automatic` explains), by the numbers where these
      are known; where they are traced, as inside `jax.jit`, by the grid alone.
    - `dt`: the largest step; intervals between output times are divided equally. Default, and for
      infinity: one step per interval. `AdaptiveStep(rtol, atol)` adapts steps to their estimated
      error.
    - `checkpointing`: schedule of stored states for the backward pass: `StoreStates()` (default),
      `Segments()`, `Binomial(slots)`, or `ForBudget("512MB")`, which chooses
      (`result.checkpointing`).
    - `throw`: raise when a solve fails: a `SolverError` that names step, time, sample, field and
      residual, or inside `jax.jit`, where these are traced, Equinox's runtime error. With
      `throw=False` look at `result.stats`, or call `result.raise_for_failure()`.
    - `batch_ndim`: number of leading batch axes; default all axes of `u0` except those of
      `model.grid`, and 0 for a model without a grid.
    - `probe`: zeros of shape (steps, *batch). The "gradient" with respect to it is the relative
      residual of each step's adjoint solve (see `ImplicitAdjoint`).
    - `halving`: repeat a step whose solve fails in halves, quarters, ..., at most halved
      `stepper.max_halvings` times (`result.stats.halvings`); the gradient is that of the parts
      taken. Such a program takes twice as long to compile and its gradient stores three or four
      states per step. With None (default) it is built only once a solve has failed, which cannot be
      detected inside `jax.jit` and `jax.grad`; use True there. False: never.
    - `jump_times`: known times at which a coefficient or source jumps (such as a switch at t >= 1).
      Steps end at them; the step before sees the side before the jump only, the one after the side
      after it, and a stepper's memory is renewed, which preserves its order. Default:
      `model.jump_times`. Those outside of `times` are ignored. An undeclared jump makes every
      stepper first order there, even where a step ends at it, since its last stage is evaluated at
      the jump, on the side chosen by the model.

    **Returns:** a `Rollout`, differentiable in `model`, `u0` and `times`, and in values closed over
    by functions inside of the model, to any order and in every composition of forward and reverse
    mode: `jax.hessian`, `jax.grad` of `jax.grad`, and a Hessian-vector product as
    `jax.grad(lambda u: jax.jvp(loss, (u,), (v,))[1])`. `Binomial` allows reverse mode, and forward
    over reverse mode; other orders are an `InputError`.

    **Raises:** `InputError` for times, dt, masses or shapes that do not fit; `SolverError` or
    Equinox's runtime error as for `throw`.

    Source: Akhare et al. (2025), section 2; the separation of latent and tendency is this
    library's.
    """
    stepper = CrankNicolson() if stepper is None else stepper
    checkpointing = StoreStates() if checkpointing is None else checkpointing
    given, u0 = u0, jax.tree.map(jnp.asarray, u0)
    require_floating(u0, "rollout: u0")
    implicit = isinstance(stepper, ImplicitStepper)
    require_masses(model, u0, explicit=None if implicit else type(stepper).__name__)
    if batch_ndim is None:
        batch_ndim = find_batch_ndim(model, u0)
    if not isinstance(times, jax.Array):
        times = np.asarray(times, np.float64)
    dtype = result_dtype(u0)
    found = None
    jumps = declared_jumps(model, jump_times)
    stepper, choice = with_automatic_choice(
        stepper, model, given, times, dt, batch_ndim=batch_ndim, jump_times=jumps
    )
    stops = make_stops(times, jumps, dtype)
    if isinstance(dt, AdaptiveStep):
        # as arrays: one program serves all tolerances
        control = jax.tree.map(lambda leaf: jnp.asarray(leaf, dtype), dt)
        stops = stops.cast(dtype)
        found = find_steps(
            *without_tangents((model, u0, stepper, control, stops)), batch_ndim=batch_ndim
        )
        known = not isinstance(found.accepted, jax.core.Tracer)
        schedule = found.schedule(stops, cut=known and probe is None)
        # the search has found steps that succeed: no halving is needed
        halving = False if halving is None else halving
    else:
        schedule = make_schedule(stops, dt, dtype)

    batch = jax.tree.leaves(u0)[0].shape[:batch_ndim]
    if probe is not None and probe.shape[:1] != (schedule.steps,):
        raise InputError(
            f"rollout: the probe has {probe.shape[0]} rows; expected one for each of the "
            f"{schedule.steps} steps, those that lead to jump_times included"
        )
    if probe is not None and probe.shape[1:] != batch:
        raise InputError(
            f"rollout: a row of the probe has shape {probe.shape[1:]}; expected {batch}, the batch "
            f"axes of u0, which is one sample of {type(model).__name__} beyond these: give the "
            "model a field `grid`, or u0 an axis of samples"
        )

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
            with_empty_steps=found is not None or stops.ordered is not None,
        )

    result = run(stepper if halving else without_halving(stepper))
    may_halve = halving is None and max_halvings(stepper) > 0 and _is_known(result.stats)
    if may_halve and bool(jnp.any(can_be_halved(result.stats))):
        result = run(stepper)
    result = dataclasses.replace(
        result, times=jnp.asarray(times, dtype), method=Method.of(stepper, dt, dtype, choice)
    )
    if found is not None:
        result = _with_search(result, found)
    if throw:
        if _is_known(result.stats):
            result.raise_for_failure()
        else:
            result = _fail_at_run_time(result)
    return result


def number_of_steps(
    times: Any, dt: float | AdaptiveStep | None, jump_times: Sequence[float] | None = None
) -> int:
    """Number of steps of a rollout with these arguments, for the shape of its `probe`."""
    if isinstance(dt, AdaptiveStep):
        return dt.max_steps
    return int(np.sum(steps_per_interval(times, dt, jump_times)))


def declared_jumps(
    model: HybridModel, jump_times: Sequence[float] | None = None
) -> Sequence[float]:
    """The times given, or those declared by the model."""
    if jump_times is not None:
        return jump_times
    return declared(model, "jump_times")


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
    latents = evaluate_latents(model, schedule, stepper.nodes)
    steady = latents.of_nodes is None
    samples = sample_indices(u0, batch_ndim)
    restarts = None if schedule.passed is None else jnp.diff(schedule.passed, prepend=0) > 0

    def advance(parameters, carry, x):
        """One step of every sample."""
        stepper, model, latents, _ = parameters
        coefficients = latents.initial if steady else x.of_nodes

        def step_sample(carry, sample, coefficients, step_probe):
            u, memory = carry
            here = of_sample(coefficients)
            step = step_or_halve(
                stepper,
                model,
                x.start,
                x.length,
                u,
                memory,
                (here,) * len(stepper.nodes) if steady else here,
                (lambda t: here) if steady else (lambda t: of_sample(model.latent(t), sample)),
                step_probe,
            )
            last = here if steady else here[-1]
            status = with_well_posedness(step.status, model, x.start + x.length, step.u, last)
            return (step.u, step.memory), status

        axes = (0, 0, sample_axes(coefficients), 0)
        return over_batch(step_sample, batch_ndim, axes)(carry, samples, coefficients, x.probe)

    def renewed(parameters, carry, x):
        """State and memory after a jump, and the status of solving for an algebraic state there."""
        stepper, model, latents, _ = parameters
        latent = latents.initial
        if latents.after_jumps is not None:
            latent = jax.tree.map(lambda all: all[x.passed - 1], latents.after_jumps)

        # not stored for the backward pass of every step, jump or not
        @eqx.filter_checkpoint
        def renew(stepper, model, u, t, latent):
            u, status = consistent(stepper, model, t, u, latent, batch_ndim)
            return (u, started(stepper, model, t, u, latent, batch_ndim)), status

        return renew(stepper, model, carry[0], x.start, latent)

    def take(parameters, carry, x):
        """Renew state and memory after a jump, then advance, or pass over a step of length 0."""
        if x.passed is None:
            return pass_or_advance(parameters, carry, x)
        stepper, model, latents, jumps = parameters
        parameters = (stepper, within(model, jumps, x.passed), latents, jumps)
        shape = eqx.filter_eval_shape(renewed, parameters, carry, x)[1]
        carry, status = jax.lax.cond(
            x.restart,
            lambda carry: renewed(parameters, carry, x),
            lambda carry: (carry, _nothing_to_solve(shape)),
            carry,
        )
        carry, stats = pass_or_advance(parameters, carry, x)
        if status is None:
            return carry, stats
        both = jax.tree.map(lambda *all: jnp.stack(all), status, stats)
        return carry, both.combined()

    def stay(parameters, carry, x):
        """Take a step of length 0; one that only fills up the schedule has no derivative by it."""
        if x.no_length is None:
            return carry
        stepper, model, latents, _ = parameters
        coefficients = (latents.initial,) * len(stepper.nodes) if steady else x.of_nodes

        # not stored for the backward pass of every step, empty or not
        @eqx.filter_checkpoint
        def stay(stepper, model, t, dt, carry, coefficients):
            def of_one(carry, coefficients):
                return stepper.stay(model, t, dt, *carry, of_sample(coefficients))

            axes = (0, sample_axes(coefficients))
            return over_batch(of_one, batch_ndim, axes)(carry, coefficients)

        return stay(stepper, model, x.start, x.no_length, carry, coefficients)

    def pass_or_advance(parameters, carry, x):
        """Apply `advance`, or nothing for a step of length 0."""
        if x.empty is None:
            return advance(parameters, carry, x)
        stats = eqx.filter_eval_shape(advance, parameters, carry, x)[1]
        return jax.lax.cond(
            x.empty,
            lambda carry: (stay(parameters, carry, x), _nothing_to_solve(stats)),
            lambda carry: advance(parameters, carry, x),
            carry,
        )

    passed = schedule.passed
    first = within(model, schedule.jumps, None if passed is None else passed[0])
    t0 = schedule.starts[0]
    in_loop = is_solved_in_loop(stepper, first, u0)
    initial = None
    if not in_loop:
        u0, initial = consistent(stepper, first, t0, u0, latents.initial, batch_ndim)
    u0 = carry_with_tangents(u0, (model, latents, schedule))
    carry = (u0, started(stepper, first, t0, u0, latents.initial, batch_ndim))
    checkpointing = checkpointing.chosen(
        Sizes(
            steps=schedule.steps,
            carry=_bytes(carry),
            kept=stepper.solves_per_step * _bytes(u0),
        )
    )
    empty = no_length = None
    lengths = schedule.lengths
    if with_empty_steps:
        empty = ~(lengths > 0)
        if schedule.failed is not None:
            no_length = jnp.where(empty & ~schedule.failed, lengths, 0.0)
        # under `jax.vmap` a skipped step is computed nevertheless, and discarded
        lengths = jnp.where(empty, shortest(lengths), lengths)
    xs = _Steps(
        start=schedule.starts,
        length=lengths,
        of_nodes=latents.of_nodes,
        probe=probe,
        empty=empty,
        no_length=no_length,
        passed=schedule.passed,
        restart=None if restarts is None else restarts.at[0].set(False),
    )
    outputs_of_steps = schedule.outputs
    if in_loop:
        xs = xs.after_initial_solve(latents.initial)
        outputs_of_steps = jnp.append(jnp.zeros_like(outputs_of_steps[:1]), outputs_of_steps)
    saved, stats = checkpointing.run(
        take,
        (stepper, model, latents._replace(of_nodes=None), schedule.jumps),
        carry,
        xs,
        outputs_of_steps,
        outputs,
    )
    if in_loop:
        initial = jax.tree.map(lambda all: all[0], stats)
        stats = jax.tree.map(lambda all: all[1:], stats)
    result = Rollout(
        u=saved,
        times=schedule.starts,
        stats=with_initial(stats, initial),
        step_times=jnp.append(schedule.starts, schedule.end),
        checkpointing=checkpointing,
    )
    return result if schedule.failed is None else _with_disorder(result, schedule)


class _Steps(NamedTuple):
    """Data of each step for the loop; all have a leading axis of steps, or are None.

    - `empty`: True for steps to skip.
    - `no_length`: 0, as the difference of two equal traced times.
    - `passed`, `restart`: number of jumps before the step, and whether it begins at one.
    """

    start: Float[Array, " steps"]
    length: Float[Array, " steps"]
    of_nodes: tuple[PyTree[Any], ...] | None
    probe: Float[Array, "steps *batch"] | None
    empty: Bool[Array, " steps"] | None
    no_length: Float[Array, " steps"] | None
    passed: Int[Array, " steps"] | None
    restart: Bool[Array, " steps"] | None

    def after_initial_solve(self, initial: PyTree[Any]) -> "_Steps":
        """The steps after one of length 0, with the latent at the initial time at all its nodes."""
        none = jax.tree.map(lambda all: jnp.zeros_like(all[:1]), self)
        nodes = self.of_nodes
        first = none._replace(
            start=self.start[:1],
            of_nodes=None
            if nodes is None
            else tuple(jax.tree.map(lambda x: x[None], initial) for _ in nodes),
            passed=None if self.passed is None else self.passed[:1],
        )
        return jax.tree.map(lambda a, b: jnp.concatenate([a, b]), first, self)


def _nothing_to_solve(shape: Any) -> Any:
    """The status without any solve."""
    if shape is None:
        return None
    nothing = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shape)
    return eqx.tree_at(lambda s: s.converged, nothing, jnp.ones_like(nothing.converged))


def _with_disorder(result: Rollout, schedule: Schedule) -> Rollout:
    """The rollout with steps at decreasing times marked as failed."""
    failed = jnp.asarray(schedule.failed)

    def of_steps(like: Array) -> Array:
        return jnp.broadcast_to(failed.reshape(-1, *[1] * (like.ndim - 1)), like.shape)

    stats = result.stats
    lost = of_steps(stats.converged)
    outcome = jax.tree.map(
        lambda here, of_lost: jnp.where(lost, of_lost, here), stats.outcome, Outcome.times_decrease
    )
    stats = eqx.tree_at(
        lambda s: (s.converged, s.outcome), stats, (stats.converged & ~lost, outcome)
    )
    outputs = jax.tree.leaves(result.u)[0].shape[0]
    missed = jnp.zeros(outputs, bool).at[schedule.outputs].max(failed)
    return eqx.tree_at(lambda r: (r.u, r.stats), result, (_lost(result.u, missed), stats))


def _lost(u: PyTree, missed: Bool[Array, " outputs"]) -> PyTree:
    """The states, NaN for output times that were not reached."""

    def of_leaf(x):
        # a product, so that derivatives are NaN too
        return jnp.where(missed.reshape(-1, *[1] * (x.ndim - 1)), jnp.nan, 1.0).astype(x.dtype) * x

    return jax.tree.map(of_leaf, u)


def _with_search(result: Rollout, found: AcceptedSteps) -> Rollout:
    """The rollout with the result of the search for its steps.

    If it did not reach the last time, unreached states are NaN and its last step counts as failed.
    Outside `jax.jit` the statistics end with the last step.
    """
    stats, last = result.stats, jnp.maximum(found.accepted - 1, 0)
    of_last = jax.tree.map(lambda all: all[last], stats.outcome)
    ended = Outcome.where(found.ordered, Outcome.step_limit, Outcome.times_decrease)
    outcome = Outcome.where(found.reached, of_last, ended)
    stats = eqx.tree_at(
        lambda s: (s.converged, s.outcome),
        stats,
        (
            stats.converged.at[last].min(found.reached),
            jax.tree.map(lambda all, one: all.at[last].set(one), stats.outcome, outcome),
        ),
    )
    missed = (jnp.arange(result.times.shape[0], dtype=jnp.int32) >= found.output) & ~found.reached
    u = _lost(result.u, missed)
    step_times = result.step_times
    if not (isinstance(found.accepted, jax.core.Tracer) or isinstance(missed, jax.core.Tracer)):
        count = int(last) + 1
        stats = jax.tree.map(lambda a: a[:count], stats)
        step_times = step_times[: count + 1]
    return dataclasses.replace(
        result, u=u, stats=stats, step_times=step_times, rejected_steps=found.rejected
    )


def _bytes(tree: PyTree) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _is_known(stats: Status) -> bool:
    """True if the statistics are numbers, not tracers of a JAX transformation."""
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
