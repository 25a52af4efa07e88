"""Repetition of a failed step in smaller parts."""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit import Outcome, Status
from impindiff.implicit.pytree import any_sample, tree_where
from impindiff.steppers import AbstractStepper, HybridModel, ImplicitStepper, Step


def can_be_halved(stats: Status) -> Bool[Array, "*shape"]:
    """Flags of failed solves that a smaller step may repair.

    Not those with a NaN, an ill-posed equation or decreasing times, nor of an adaptive step, which
    has been shortened already.
    """
    beyond_help = [
        stats.outcome == outcome
        for outcome in (
            Outcome.not_finite,
            Outcome.step_limit,
            Outcome.times_decrease,
            Outcome.ill_posed,
            Outcome.not_unique,
        )
    ]
    return ~stats.converged & ~functools.reduce(jnp.logical_or, beyond_help)


def max_halvings(stepper: AbstractStepper) -> int:
    """Number of halvings allowed by the stepper; 0 for an explicit one, which has no solves."""
    return stepper.max_halvings if isinstance(stepper, ImplicitStepper) else 0


def without_halving(stepper: AbstractStepper) -> AbstractStepper:
    """The stepper with `max_halvings` 0."""
    if max_halvings(stepper) == 0:
        return stepper
    return eqx.tree_at(lambda s: s.max_halvings, stepper, 0)


class _Partial(eqx.Module):
    """A step in progress: the fraction done, the state there, and the cost so far."""

    done: Float[Array, ""]
    length: Float[Array, ""]
    u: PyTree[Any]
    memory: PyTree[Any]
    status: Status


def step_or_halve(
    stepper: AbstractStepper,
    model: HybridModel,
    t: Float[Array, ""],
    dt: Float[Array, ""],
    u: PyTree[Any],
    memory: PyTree[Any],
    latents: tuple[PyTree[Any], ...],
    latent_at: Callable[[Float[Array, ""]], PyTree[Any]],
    probe: Float[Array, ""] | None,
) -> Step:
    """Take `stepper.step`; where its solve fails, repeat the step in 2, 4, ... parts.

    A part that fails is halved, at most `stepper.max_halvings` times in all; the following ones
    keep its length. If that fails too, the result is that of the whole step, with its status.
    Differentiable at fixed lengths. The backward pass recomputes the parts from u_n and the memory,
    which are stored; where no sample fails they cost no time. `latent_at(t)` gives the coefficients
    inside the step; `probe` gets the sum of the parts' residuals.
    """
    step = stepper.step(model, t, dt, u, memory, latents, probe)
    bound = max_halvings(stepper)
    if bound == 0:
        return step
    z, new_memory, status, _ = step

    def under_way(part: _Partial) -> Bool[Array, ""]:
        return (part.done < 1) & (part.status.halvings <= bound)

    @eqx.filter_checkpoint
    def in_parts(model, t, dt, u, memory, probe, failed):
        def attempt(part: _Partial) -> _Partial:
            start = t + part.done * dt
            length = part.length * dt
            of_part = tuple(latent_at(start + c * length) for c in stepper.nodes)
            v, v_memory, v_status, _ = stepper.step(
                model, start, length, part.u, part.memory, of_part, probe
            )
            taken = v_status.converged & under_way(part)
            new = _Partial(
                done=part.done + part.length,
                length=part.length,
                u=v,
                memory=v_memory,
                status=_added(part.status, v_status, taken),
            )
            rejected = eqx.tree_at(
                lambda p: (p.length, p.status),
                part,
                (0.5 * part.length, _added(part.status, v_status, taken, halved=1)),
            )
            return tree_where(under_way(part), tree_where(taken, new, rejected), part)

        def maybe(part, _):
            going = any_sample(under_way(part))
            return jax.lax.cond(going, attempt, lambda part: part, part), None

        zero = jnp.zeros_like(failed.residual)
        first = _Partial(
            # a sample whose whole step succeeded, or cannot be repaired, is done
            done=jnp.where(can_be_halved(failed), zero, 1.0),
            length=jnp.full_like(zero, 0.5),
            u=u,
            memory=memory,
            status=eqx.tree_at(
                lambda s: (s.residual, s.halvings), failed, (zero, failed.halvings + 1)
            ),
        )
        # failed parts, and all the parts that a step has at the smallest length
        attempts = bound - 1 + 2**bound
        end, _ = jax.lax.scan(maybe, first, length=attempts)
        return end.u, end.memory, end.status, end.done == 1

    def halve(_):
        v, v_memory, v_status, finished = in_parts(model, t, dt, u, memory, probe, status)
        improved = can_be_halved(status) & finished
        succeeded = eqx.tree_at(
            lambda s: (s.converged, s.outcome),
            v_status,
            (finished, Outcome.where(finished, Outcome.converged, v_status.outcome)),
        )
        failed = eqx.tree_at(
            lambda s: (s.iterations, s.linear_iterations, s.halvings),
            status,
            (
                v_status.iterations,
                v_status.linear_iterations,
                jnp.minimum(v_status.halvings, bound),
            ),
        )
        kept = tree_where(can_be_halved(status), failed, status)
        return tree_where(improved, (v, v_memory, succeeded), (z, new_memory, kept))

    def keep(_):
        return z, new_memory, status

    return Step(*jax.lax.cond(any_sample(can_be_halved(status)), halve, keep, None))


def _added(
    total: Status, part: Status, taken: Bool[Array, ""], halved: int | Int[Array, ""] = 0
) -> Status:
    """Statistics of a step with one more attempt."""
    return Status(
        converged=part.converged,
        iterations=total.iterations + part.iterations,
        linear_iterations=total.linear_iterations + part.linear_iterations,
        residual=jnp.where(taken, jnp.maximum(total.residual, part.residual), total.residual),
        worst_leaf=part.worst_leaf,
        outcome=part.outcome,
        halvings=total.halvings + halved,
    )
