"""Step sizes chosen by an estimate of the error."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.errors import InputError
from impindiff.implicit.pytree import rms_norm
from impindiff.rollout.coefficients import depends_on_time
from impindiff.rollout.initial import consistent
from impindiff.rollout.samples import of_sample, over_batch, sample_axes, started
from impindiff.rollout.schedule import Schedule
from impindiff.steppers import AbstractStepper, HybridModel, Step
from impindiff.steppers.mass import rate

# Hairer and Wanner's PI controller: exponents (of one over the order of the error) of this step's
# error and the last one's, and how far a step may change.
_NOW, _BEFORE = 0.7, 0.4
_SAFETY, _SHORTEST, _LONGEST = 0.9, 0.2, 5.0
_AFTER_FAILURE = 0.25
# An interval that is this little longer than a whole number of steps needs no further one.
_SLACK = 1e-6


class AdaptiveStep(eqx.Module):
    r"""Steps as long as their estimated error allows; given to `rollout` as its `dt`.

    A step is accepted if, in every sample, the root mean square over all unknowns of
    e / (atol + rtol max(|u_n|, |u_{n+1}|)) is at most 1, with e the estimate of the stepper's
    embedded method (`KenCarp3`, `KenCarp4`); otherwise, or if one of its solves fails, it is
    rejected and taken again, shorter. The next length follows from this error and the last one (PI
    control). All samples of a batch take the same steps, and steps divide the interval to the next
    output time equally, so that none is tiny.

    In a gradient the steps are held fixed: they are found first, then taken, so that a rollout with
    adaptive steps costs two forward passes, and its gradient, with any checkpoint schedule, is
    exactly that of the steps taken.

    - `rtol`, `atol`: of one step's error, relative and in the state's units.
    - `first`: length of the first step tried; default from the size of state and tendency.
    - `max_steps`: that may be accepted, and that may be rejected. Inside `jax.jit` the loop has
      this length whatever is needed, with nothing done in the rest; outside it is cut to size.

    Raises `InputError` for tolerances or counts that are not positive, and in `rollout` for a
    stepper without an error estimate.

    Source: Hairer and Wanner, "Solving Ordinary Differential Equations II", section IV.8; the first
    step follows volume I, section II.4.
    """

    rtol: float = 1e-4
    atol: float = 1e-6
    first: float | None = None
    max_steps: int = eqx.field(static=True, default=256)

    def __check_init__(self) -> None:
        for name in ("rtol", "atol", "first"):
            value = getattr(self, name)
            if isinstance(value, float | int) and not (math.isfinite(value) and value > 0):
                raise InputError(f"AdaptiveStep: {name} = {value}; expected a positive number")
        if self.max_steps < 1:
            raise InputError(f"AdaptiveStep: max_steps = {self.max_steps}; expected at least 1")


class AcceptedSteps(NamedTuple):
    """The steps that were accepted, and how the search for them ended.

    - `schedule`: `max_steps` of them, those beyond `accepted` of length 0 at time `t`.
    - `t`, `reached`: where they lead to, and whether that is the last time.
    """

    schedule: Schedule
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    t: Float[Array, ""]
    reached: Bool[Array, ""]

    def cut(self) -> Schedule:
        """The schedule with as few steps of length 0 as a coarse choice of lengths allows.

        Programs are compiled for a number of steps; rounding it up lets similar rollouts share one.
        """
        count = max(int(self.accepted), 1)
        grain = 2 ** max(count.bit_length() - 3, 0)
        kept = min(-(-count // grain) * grain, self.schedule.steps)
        return Schedule(*(column[:kept] for column in self.schedule))


class _Search(NamedTuple):
    t: Float[Array, ""]
    u: PyTree[Any]
    memory: PyTree[Any]
    target: Int[Array, ""]
    proposal: Float[Array, ""]
    last_error: Float[Array, ""]
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    after_rejection: Bool[Array, ""]
    schedule: Schedule


@eqx.filter_jit
def find_steps(
    model: HybridModel,
    u0: PyTree[Any],
    stepper: AbstractStepper,
    control: AdaptiveStep,
    times: Float[Array, " outputs"],
    *,
    batch_ndim: int,
) -> AcceptedSteps:
    """The steps that `control` accepts on the way through the times.

    They are not known before, so that a latent which changes in time is evaluated as they come,
    once per attempted step and node. Raises `InputError` for a stepper without an error estimate.
    """
    if stepper.embedded_order is None:
        raise InputError(
            f"AdaptiveStep: {type(stepper).__name__} has no error estimate; use KenCarp3 or "
            "KenCarp4, or give dt as a number"
        )
    initial_latent = model.latent(times[0])
    steady = not depends_on_time(model, times[0])

    def take(t, dt, u, memory):
        latents = () if steady else tuple(model.latent(t + c * dt) for c in stepper.nodes)

        def of_one(u, memory, initial, latents):
            nodes = (of_sample(initial),) * len(stepper.nodes) if steady else of_sample(latents)
            return stepper.step(model, t, dt, u, memory, nodes, None)

        axes = (0, 0, sample_axes(initial_latent), sample_axes(latents))
        return over_batch(of_one, batch_ndim, axes)(u, memory, initial_latent, latents)

    def initial_rate(u, latent):
        return rate(model, times[0], u, of_sample(latent))

    u0, _ = consistent(stepper, model, times[0], u0, initial_latent, batch_ndim)
    of_u0 = over_batch(initial_rate, batch_ndim, (0, sample_axes(initial_latent)))(
        u0, initial_latent
    )
    memory = started(stepper, model, times[0], u0, initial_latent, batch_ndim)
    return _search(control, take, u0, memory, of_u0, times, stepper.embedded_order + 1, batch_ndim)


def _search(
    control: AdaptiveStep,
    take: Callable[..., Step],
    u0: PyTree[Any],
    memory: PyTree[Any],
    rate: PyTree[Any],
    times: Float[Array, " outputs"],
    order: int,
    batch_ndim: int,
) -> AcceptedSteps:
    """See `find_steps`.

    - `take(t, dt, u, memory)`: a step of all samples.
    - `rate`: the tendency of u0, for the length of the first step.
    - `order`: p, where the estimated error of a step is of the size of dt^p.
    """
    last = times.shape[0] - 1

    def relative_error(error: PyTree[Any], u: PyTree[Any], z: PyTree[Any]) -> Float[Array, ""]:
        def scaled(e, a, b):
            size = jnp.maximum(jnp.abs(a), jnp.abs(b))
            return e / jnp.asarray(control.atol + control.rtol * size, e.dtype)

        return _largest(jax.tree.map(scaled, error, u, z), batch_ndim)

    def going(s: _Search) -> Bool[Array, ""]:
        room = (s.accepted < control.max_steps) & (s.rejected < control.max_steps)
        return (s.target <= last) & room & (s.t + s.proposal > s.t)

    def attempt(s: _Search) -> _Search:
        end = times[s.target]
        parts = jnp.maximum(jnp.ceil((end - s.t) / s.proposal - _SLACK), 1)
        dt = (end - s.t) / parts
        step = take(s.t, dt, s.u, s.memory)
        size = relative_error(step.error, s.u, step.u)
        fine = jnp.all(step.status.converged) & jnp.isfinite(size)
        size = jnp.clip(jnp.where(fine, size, 1.0), 1e-8)
        enough = fine & (size <= 1)
        wished = _SAFETY * size ** (-_NOW / order) * s.last_error ** (_BEFORE / order)
        # right after a rejection a step does not grow
        longest = jnp.where(s.after_rejection | ~enough, 1.0, _LONGEST)
        factor = jnp.where(fine, jnp.clip(wished, _SHORTEST, longest), _AFTER_FAILURE)
        # a step cut short by an output time says nothing against a longer one
        kept = jnp.where(enough & (factor >= 1), s.proposal, 0.0)
        reaches = parts <= 1
        steps = Schedule(
            s.schedule.starts.at[s.accepted].set(s.t),
            s.schedule.lengths.at[s.accepted].set(dt),
            s.schedule.outputs.at[s.accepted].set(s.target),
        )
        taken = _Search(
            t=jnp.where(reaches, end, s.t + dt),
            u=step.u,
            memory=step.memory,
            target=s.target + reaches,
            proposal=jnp.maximum(factor * dt, kept),
            last_error=size,
            accepted=s.accepted + 1,
            rejected=s.rejected,
            after_rejection=jnp.zeros((), bool),
            schedule=steps,
        )
        refused = s._replace(
            proposal=factor * dt,
            rejected=s.rejected + 1,
            after_rejection=jnp.ones((), bool),
        )
        return jax.tree.map(lambda a, b: jnp.where(enough, a, b), taken, refused)

    zero = jnp.zeros((), jnp.int32)
    # those beyond the last step: of length 0, leading to the last time
    nothing = Schedule(
        jnp.full(control.max_steps, times[0]),
        jnp.zeros(control.max_steps, times.dtype),
        jnp.full(control.max_steps, last, jnp.int32),
    )
    if control.first is None:
        amount, speed = (relative_error(v, u0, u0) for v in (u0, rate))
        usable = (amount > 1e-5) & (speed > 1e-5)
        first = jnp.where(usable, 0.01 * amount / jnp.where(usable, speed, 1.0), 1e-6)
    else:
        first = jnp.asarray(control.first)
    start = _Search(
        t=times[0],
        u=u0,
        memory=memory,
        target=zero + 1,
        proposal=jnp.minimum(first, times[1] - times[0]).astype(times.dtype),
        last_error=jnp.ones((), times.dtype),
        accepted=zero,
        rejected=zero,
        after_rejection=jnp.zeros((), bool),
        schedule=nothing,
    )
    end = jax.lax.while_loop(going, attempt, start)
    # The end of the last step is read off the start of the one that follows.
    beyond = jnp.arange(control.max_steps) >= end.accepted
    schedule = end.schedule._replace(starts=jnp.where(beyond, end.t, end.schedule.starts))
    return AcceptedSteps(schedule, end.accepted, end.rejected, end.t, end.target > last)


def _largest(error: PyTree[Any], batch_ndim: int) -> Float[Array, ""]:
    """The largest root mean square of any sample."""
    norm = rms_norm
    for _ in range(batch_ndim):
        norm = jax.vmap(norm)
    return jnp.max(norm(error))
