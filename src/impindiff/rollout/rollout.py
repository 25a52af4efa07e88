"""Advance a model through time."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit import Status
from impindiff.implicit.pytree import require_floating, result_dtype
from impindiff.rollout.checkpointing import AbstractCheckpointing, Sizes, StoreStates
from impindiff.rollout.coefficients import evaluate_latents
from impindiff.rollout.halving import can_be_halved, max_halvings, step_or_halve, without_halving
from impindiff.rollout.result import Rollout
from impindiff.rollout.schedule import Schedule, make_schedule
from impindiff.steppers import AbstractStepper, CrankNicolson, HybridModel


def rollout(
    model: HybridModel,
    u0: PyTree[ArrayLike],
    times: Any,
    *,
    stepper: AbstractStepper | None = None,
    dt: float | None = None,
    checkpointing: AbstractCheckpointing | None = None,
    throw: bool = True,
    batch_ndim: int | None = None,
    probe: Float[Array, "steps *batch"] | None = None,
    halving: bool | None = None,
) -> Rollout:
    """The trajectory of du/dt = model.tendency(t, u, model.latent(t)) from u(times[0]) = u0.

    - `u0`: one array or a pytree of arrays. Trailing axes are the grid's, leading axes a batch of
      samples, each of which is its own system: it meets the tolerance itself, and a sample that
      fails does not change its neighbours.
    - `times`: strictly increasing, evenly spaced or not; steps land on each of them.
    - `stepper`: default `CrankNicolson()`.
    - `dt`: the largest step; intervals between output times are divided equally. Default: one step
      per interval.
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

    Differentiable in `model`, `u0` and (with `dt=None`) `times`, in forward and reverse mode. A
    Hessian-vector product is `jax.grad(lambda u: jax.jvp(loss, (u,), (v,))[1])`; forward mode over
    reverse mode is an error of JAX's through a loop of implicit layers. Raises `InputError`
    for times, dt or shapes that do not fit.

    Source: Akhare et al. (2025), section 2; the split of latent and tendency is this library's.
    """
    stepper = CrankNicolson() if stepper is None else stepper
    checkpointing = StoreStates() if checkpointing is None else checkpointing
    u0 = jax.tree.map(jnp.asarray, u0)
    require_floating(u0, "rollout: u0")
    if batch_ndim is None:
        batch_ndim = _batch_ndim(model, u0)
    if not isinstance(times, jax.Array):
        times = np.asarray(times, np.float64)
    dtype = result_dtype(u0)
    schedule = make_schedule(times, dt, dtype)
    step_times = (jnp.asarray(schedule.starts), jnp.asarray(schedule.lengths))

    def run(stepper: AbstractStepper) -> Rollout:
        return _rollout(
            model,
            u0,
            step_times,
            probe,
            outputs=tuple(schedule.outputs.tolist()),
            stepper=stepper,
            checkpointing=checkpointing,
            batch_ndim=batch_ndim,
        )

    result = run(stepper if halving else without_halving(stepper))
    may_halve = halving is None and max_halvings(stepper) > 0 and _is_known(result.stats)
    if may_halve and bool(jnp.any(can_be_halved(result.stats))):
        result = run(stepper)
    result = eqx.tree_at(lambda r: r.times, result, jnp.asarray(times, dtype))
    if throw:
        if _is_known(result.stats):
            result.raise_for_failure()
        else:
            result = _fail_at_run_time(result)
    return result


@eqx.filter_jit
def _rollout(
    model: HybridModel,
    u0: PyTree,
    step_times: tuple[Array, Array],
    probe: Array | None,
    *,
    outputs: tuple[int, ...],
    stepper: AbstractStepper,
    checkpointing: AbstractCheckpointing,
    batch_ndim: int,
) -> Rollout:
    schedule = Schedule(*step_times, np.asarray(outputs))
    initial_latent, latents = evaluate_latents(model, schedule, stepper.nodes)

    def advance(parameters, carry, x):
        """One step of every sample."""
        stepper, model, initial_latent = parameters
        t, dt, of_step, step_probe = x
        if latents is None:
            of_step = (initial_latent,) * len(stepper.nodes)
        latent_at = model.latent if latents is not None else lambda t: initial_latent

        def of_sample(carry, step_probe):
            u, memory = carry
            u, memory, status = step_or_halve(
                stepper, model, t, dt, u, memory, of_step, latent_at, step_probe
            )
            return (u, memory), status

        return _over_batch(of_sample, batch_ndim)(carry, step_probe)

    def start(u0):
        return stepper.start(model, schedule.starts[0], u0, initial_latent)

    carry = (u0, _over_batch(start, batch_ndim)(u0))
    checkpointing = checkpointing.chosen(
        Sizes(
            steps=schedule.steps,
            carry=_bytes(carry),
            kept=stepper.solves_per_step * _bytes(u0),
        )
    )
    saved, stats = checkpointing.run(
        advance,
        (stepper, model, initial_latent),
        carry,
        (*step_times, latents, probe),
        schedule.outputs,
    )
    starts, lengths = step_times
    ends = jnp.append(starts, starts[-1] + lengths[-1])
    return Rollout(u=saved, times=starts, stats=stats, step_times=ends, checkpointing=checkpointing)


def _over_batch(function: Callable[..., Any], batch_ndim: int) -> Callable[..., Any]:
    """The function of one sample, over the leading axes of its arguments."""
    for _ in range(batch_ndim):
        function = jax.vmap(function)
    return function


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


def _batch_ndim(model: HybridModel, u0: PyTree) -> int:
    grid = getattr(model, "grid", None)
    if grid is None:
        return 0
    found: dict[int, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(u0)[0]:
        name = "u0" + jax.tree_util.keystr(path)
        if leaf.shape[leaf.ndim - grid.ndim :] != tuple(grid.shape) or leaf.ndim < grid.ndim:
            raise InputError(
                f"rollout: {name} has shape {leaf.shape}; expected trailing axes {grid.shape}, the "
                "cells of model.grid (pass batch_ndim if some part of the state is not on the grid)"
            )
        found[leaf.ndim - grid.ndim] = name
    if len(found) > 1:
        raise InputError(
            "rollout: the parts of u0 have different numbers of batch axes: "
            + ", ".join(f"{name} has {count}" for count, name in found.items())
        )
    return next(iter(found))
