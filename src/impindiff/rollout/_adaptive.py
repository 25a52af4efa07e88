"""Adaptive step sizes by an error estimate."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.errors import InputError
from impindiff.implicit.pytree import max_norm, rms_norm, tree_where
from impindiff.rollout._coefficients import depends_on_time
from impindiff.rollout._initial import consistent
from impindiff.rollout._schedule import Schedule, Stops, as_schedule, steps_of_at_most
from impindiff.rollout.samples import of_sample, over_batch, sample_axes, started
from impindiff.steppers import AbstractStepper, HybridModel, Step
from impindiff.steppers.mass import rate
from impindiff.steppers.window import Between

# Hairer and Wanner's PI controller: exponents (of one over the order of the error) for the errors
# of this step and the last one, and limits on the change of a step
_NOW, _BEFORE = 0.7, 0.4
_SAFETY, _SHORTEST, _LONGEST = 0.9, 0.2, 5.0
_AFTER_FAILURE = 0.25
# default `atol`, relative to `rtol` and the size of the state
_SMALL = 1e-2
# an interval that exceeds a whole number of steps by less than this needs no further one
_SLACK = 1e-6
# fraction of an interval that counts as instantaneous: a change in it is a switch
_CAUTIOUS = 1e-6


class AdaptiveStep(eqx.Module):
    r"""Adaptive steps limited by their estimated error; passed to `rollout` as its `dt`.

    A step is accepted if, in every sample, the root mean square over all unknowns of e / (atol +
    rtol max(|u_n|, |u_{n+1}|)) is at most 1, with e the estimate of the stepper's embedded method
    (`KenCarp3`, `KenCarp4`); otherwise, or if one of its solves fails, it is rejected and repeated
    with a shorter length. The next length follows from this error and the last one (PI control).
    All samples of a batch take the same steps, and steps divide the interval to the next output
    time (or jump, see `rollout`) equally, so that none is tiny.

    In a gradient the steps are fixed fractions of the interval from one output time to the next:
    they are found first, then taken, so a rollout with adaptive steps costs two forward passes, and
    its gradient, with any checkpoint schedule, is exactly that of the steps taken.

    **Arguments:**

    - `rtol`: of one step's error, relative.
    - `atol`: absolute error allowed for every unknown, in the state's units; default `0.01 * rtol`
      times the largest value so far of the unknown's own array, in each sample, so that the steps
      do not depend on units.
    - `first`: length of the first step tried; default from the size of state and tendency.
    - `max_steps`: limit on accepted steps, and on rejected ones. Inside `jax.jit` the loop always
      has this length, with no work in the rest; outside it is cut to size.
    - `max_step`: the longest step. An estimate evaluates the tendency at the stages only: give a
      length below that of a short pulse, or its edges as `jump_times`, lest it be missed.

    **Raises:** `InputError` for tolerances, lengths or counts that are not positive, and in
    `rollout` for a stepper without an error estimate.

    Source: Hairer and Wanner, "Solving Ordinary Differential Equations II", section IV.8; the first
    step follows volume I, section II.4.
    """

    rtol: float = 1e-4
    atol: float | None = None
    first: float | None = None
    max_steps: int = eqx.field(static=True, default=256)
    max_step: float | None = None

    def __check_init__(self) -> None:
        for name in ("rtol", "atol", "first", "max_step"):
            value = getattr(self, name)
            if isinstance(value, float | int) and not (math.isfinite(value) and value > 0):
                raise InputError(f"AdaptiveStep: {name} = {value}; expected a positive number")
        if self.max_steps < 1:
            raise InputError(f"AdaptiveStep: max_steps = {self.max_steps}; expected at least 1")


class AcceptedSteps(NamedTuple):
    """The accepted steps, and the end of the search for them.

    - `interval`, `done`, `part`: the interval between stops that contains each of the `max_steps`
      steps, the fraction of it done before, and the step's own; those beyond `accepted` are of
      length 0 and lie at the end of the search.
    - `output`, `reached`: the output time that the search was approaching at its end, and whether
      it was reached.
    - `ordered`: False if it ended at decreasing times.
    """

    interval: Int[Array, " max_steps"]
    done: Float[Array, " max_steps"]
    part: Float[Array, " max_steps"]
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    output: Int[Array, ""]
    reached: Bool[Array, ""]
    ordered: Bool[Array, ""]

    def schedule(self, stops: Stops, *, cut: bool) -> Schedule:
        """The schedule of these steps, whose starts and lengths are fractions between the stops.

        - `cut`: drop steps of length 0, up to a coarse choice of lengths. Programs are compiled for
          a number of steps; rounding it up lets similar rollouts share one.
        """
        kept = len(self.interval)
        if cut:
            count = max(int(self.accepted), 1)
            grain = 2 ** max(count.bit_length() - 3, 0)
            kept = min(-(-count // grain) * grain, kept)
        index, done, part = (column[:kept] for column in (self.interval, self.done, self.part))
        lengths, points = stops.lengths, jnp.asarray(stops.points)

        def place(index, done):
            inside = points[index] + done * jnp.asarray(lengths)[index]
            return jnp.where(done < 1, inside, points[index + 1])

        end = place(self.interval[-1], self.done[-1] + self.part[-1])
        steps = part * jnp.asarray(lengths)[index]
        return as_schedule(stops, index, place(index, done), steps, end, points.dtype)


class _Search(NamedTuple):
    """State of the search; `done` is the completed part of the `interval`, `lost` its round-off."""

    interval: Int[Array, ""]
    done: Float[Array, ""]
    lost: Float[Array, ""]
    u: PyTree[Any]
    memory: PyTree[Any]
    largest: PyTree[Any]
    proposal: Float[Array, ""]
    last_error: Float[Array, ""]
    accepted: Int[Array, ""]
    rejected: Int[Array, ""]
    after_rejection: Bool[Array, ""]
    steps: tuple[Int[Array, " max_steps"], Float[Array, " max_steps"], Float[Array, " max_steps"]]


class _System(NamedTuple):
    """Model and stepper as the search uses them, for all samples together.

    - `take(index, t, dt, u, memory)`: a step in an interval.
    - `renewed(index, u)`: state and memory after the jump that the interval begins with.
    """

    take: Callable[..., Step]
    renewed: Callable[..., tuple[PyTree[Any], PyTree[Any]]]
    order: int
    batch_ndim: int


@eqx.filter_jit
def find_steps(
    model: HybridModel,
    u0: PyTree[Any],
    stepper: AbstractStepper,
    control: AdaptiveStep,
    stops: Stops,
    *,
    batch_ndim: int,
) -> AcceptedSteps:
    """Find the steps that `control` accepts through the stops (`Stops.cast` arrays).

    Since they are not known in advance, a time-dependent latent is evaluated during the search,
    once per attempted step and node.

    **Raises:** `InputError` for a stepper without an error estimate.
    """
    if stepper.embedded_order is None:
        raise InputError(
            f"AdaptiveStep: {type(stepper).__name__} has no error estimate; use KenCarp3 or "
            "KenCarp4, or give dt as a number"
        )
    t0 = jnp.asarray(stops.points[0])
    steady = not depends_on_time(model, t0)
    initial_latent = within(model, stops.jumps, stops.passed[0]).latent(t0)

    def take(index, t, dt, u, memory):
        here = within(model, stops.jumps, stops.passed[index])
        latents = () if steady else tuple(here.latent(t + c * dt) for c in stepper.nodes)

        def of_one(u, memory, initial, latents):
            nodes = (of_sample(initial),) * len(stepper.nodes) if steady else of_sample(latents)
            return stepper.step(here, t, dt, u, memory, nodes, None)

        axes = (0, 0, sample_axes(initial_latent), sample_axes(latents))
        return over_batch(of_one, batch_ndim, axes)(u, memory, initial_latent, latents)

    def renewed(index, u):
        here, t = within(model, stops.jumps, stops.passed[index]), jnp.asarray(stops.points)[index]
        latent = initial_latent if steady else here.latent(t)
        u, _ = consistent(stepper, here, t, u, latent, batch_ndim)
        return u, started(stepper, here, t, u, latent, batch_ndim)

    u0, memory = renewed(jnp.zeros((), jnp.int32), u0)
    model0 = within(model, stops.jumps, stops.passed[0])

    def initial_rate(u, latent):
        return rate(model0, t0, u, of_sample(latent))

    of_u0 = over_batch(initial_rate, batch_ndim, (0, sample_axes(initial_latent)))(
        u0, initial_latent
    )
    system = _System(take, renewed, stepper.embedded_order + 1, batch_ndim)
    return _search(control, system, u0, memory, of_u0, stops)


def within(model: HybridModel, jumps: Any, passed: Any) -> HybridModel:
    """The model on the near side of the jumps around a step, `passed` of which lie before it."""
    if jumps is None:
        return model
    return Between(model, jumps.lower[passed], jumps.upper[passed])


def _search(
    control: AdaptiveStep,
    system: _System,
    u0: PyTree[Any],
    memory: PyTree[Any],
    rate: PyTree[Any],
    stops: Stops,
) -> AcceptedSteps:
    """Search for the steps; `rate` is the tendency of u0, for the length of the first step."""
    points, lengths = jnp.asarray(stops.points), jnp.asarray(stops.lengths)
    outputs, passed = jnp.asarray(stops.outputs), jnp.asarray(stops.passed)
    intervals, order = lengths.shape[0], system.order
    eps = jnp.finfo(lengths.dtype).eps

    def relative_error(
        error: PyTree[Any], u: PyTree[Any], z: PyTree[Any], largest: PyTree[Any], ahead: Any
    ) -> Float[Array, ""]:
        """Error over tolerance, in units of the largest value, which may be of any size.

        - `ahead`: number of steps like this one that count as instantaneous. The values that a
          switched-on state reaches in that many are not small for it.
        """

        def scaled(e, a, b, unit):
            sudden = jnp.max(jnp.abs(b - a)) * jnp.asarray(ahead, e.dtype)
            unit = jnp.maximum(unit, sudden)
            something = unit > 0
            unit = jnp.where(something, unit, 1.0)
            size = jnp.maximum(jnp.abs(a), jnp.abs(b)) / unit
            floor = _SMALL * control.rtol if control.atol is None else control.atol / unit
            allowed = jnp.asarray(floor + control.rtol * size, e.dtype)
            # zeros that stay zeros have no error in any unit
            return jnp.where(something, e / unit / allowed, 0.0)

        return rms_norm(jax.tree.map(scaled, error, u, z, largest))

    def worst(error, u, z, largest, ahead):
        of_samples = over_batch(relative_error, system.batch_ndim, (0, 0, 0, 0, None))
        return jnp.max(of_samples(error, u, z, largest, ahead))

    def sizes(u):
        return over_batch(lambda u: jax.tree.map(max_norm, u), system.batch_ndim, (0,))(u)

    def going(s: _Search) -> Bool[Array, ""]:
        here = jnp.minimum(s.interval, intervals - 1)
        length = lengths[here]
        room = (s.accepted < control.max_steps) & (s.rejected < control.max_steps)
        # the sum of the parts keeps twice the digits of one of them
        moves = (length == 0) | (s.proposal > eps**2 * length)
        return (s.interval < intervals) & room & moves & (length >= 0)

    def pass_over(s: _Search) -> _Search:
        """Skip an interval of length 0."""
        return _reached(s, s.u, s.memory, s.interval, jnp.zeros(()), jnp.ones(()))

    def _reached(s, u, memory, index, done, part):
        """The search at the end of its interval."""
        after = index + 1
        if stops.jumps is not None:
            here = jnp.minimum(after, intervals - 1)
            u, memory = jax.lax.cond(
                (passed[here] > passed[index]) & (after < intervals),
                lambda u, memory: system.renewed(here, u),
                lambda u, memory: (u, memory),
                u,
                memory,
            )
        return s._replace(
            interval=after,
            done=jnp.zeros_like(s.done),
            lost=jnp.zeros_like(s.lost),
            u=u,
            memory=memory,
            accepted=s.accepted + 1,
            steps=_written(s, done, part),
        )

    def _written(s, done, part):
        return tuple(
            column.at[s.accepted].set(jnp.asarray(value, column.dtype))
            for column, value in zip(s.steps, (s.interval, done, part), strict=True)
        )

    def attempt(s: _Search) -> _Search:
        length = lengths[s.interval]
        left = (1 - s.done) - s.lost
        longest = s.proposal
        if control.max_step is not None:
            longest = jnp.minimum(longest, jnp.asarray(control.max_step, longest.dtype))
        parts = steps_of_at_most(left * length / longest, _SLACK, jnp)
        part = left / parts
        dt = part * length
        step = system.take(s.interval, points[s.interval] + s.done * length, dt, s.u, s.memory)
        largest = jax.tree.map(jnp.maximum, s.largest, sizes(step.u))
        size = worst(step.error, s.u, step.u, largest, _CAUTIOUS / part)
        fine = jnp.all(step.status.converged) & jnp.isfinite(size)
        size = jnp.clip(jnp.where(fine, size, 1.0), 1e-8)
        enough = fine & (size <= 1)
        wished = _SAFETY * size ** (-_NOW / order) * s.last_error ** (_BEFORE / order)
        # a step does not grow right after a rejection
        most = jnp.where(s.after_rejection | ~enough, 1.0, _LONGEST)
        factor = jnp.where(fine, jnp.clip(wished, _SHORTEST, most), _AFTER_FAILURE)
        # a step cut short by an output time is no reason against a longer one
        kept = jnp.where(enough & (factor >= 1), s.proposal, 0.0)

        def taken() -> _Search:
            total, lost = _sum(s.done, s.lost, part)
            on = s._replace(
                done=total,
                lost=lost,
                u=step.u,
                memory=step.memory,
                accepted=s.accepted + 1,
                steps=_written(s, s.done, part),
            )
            end = _reached(s, step.u, step.memory, s.interval, s.done, part)
            return tree_where(parts <= 1, end, on)._replace(
                largest=largest,
                proposal=jnp.maximum(factor * dt, kept),
                last_error=size,
                after_rejection=jnp.zeros((), bool),
            )

        refused = s._replace(
            proposal=factor * dt,
            rejected=s.rejected + 1,
            after_rejection=jnp.ones((), bool),
        )
        return tree_where(enough, taken(), refused)

    zero, none = jnp.zeros((), jnp.int32), jnp.zeros((), lengths.dtype)
    largest = sizes(u0)
    total = jnp.sum(jnp.where(lengths > 0, lengths, 0))
    if control.first is None:
        amount, speed = (worst(v, u0, u0, largest, 0.0) for v in (u0, rate))
        usable = (amount > 1e-5) & (speed > 1e-5) & jnp.isfinite(speed)
        ratio = 0.01 * amount / jnp.where(usable, speed, 1.0)
        first = jnp.where(usable, ratio, _CAUTIOUS * total)
    else:
        first = jnp.asarray(control.first)
    start = _Search(
        interval=zero,
        done=none,
        lost=none,
        u=u0,
        memory=memory,
        largest=largest,
        proposal=jnp.minimum(first, total).astype(lengths.dtype),
        last_error=jnp.ones_like(none),
        accepted=zero,
        rejected=zero,
        after_rejection=jnp.zeros((), bool),
        steps=(
            jnp.zeros(control.max_steps, jnp.int32),
            jnp.zeros(control.max_steps, lengths.dtype),
            jnp.zeros(control.max_steps, lengths.dtype),
        ),
    )

    def go_on(s: _Search) -> _Search:
        return jax.lax.cond(lengths[s.interval] > 0, attempt, pass_over, s)

    end = jax.lax.while_loop(going, go_on, start)
    reached = end.interval >= intervals
    last = jnp.minimum(end.interval, intervals - 1)
    beyond = jnp.arange(control.max_steps, dtype=jnp.int32) >= end.accepted
    rest = (last, jnp.where(reached, 1.0, end.done), jnp.zeros_like(none))
    index, done, part = (
        jnp.where(beyond, jnp.asarray(of_end, column.dtype), column)
        for of_end, column in zip(rest, end.steps, strict=True)
    )
    return AcceptedSteps(
        index,
        done,
        part,
        end.accepted,
        end.rejected,
        outputs[last],
        reached,
        jnp.ones((), bool) if stops.ordered is None else stops.ordered[last],
    )


def _sum(
    high: Float[Array, ""], low: Float[Array, ""], added: Float[Array, ""]
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Sum high + low + added, as a rounded sum and its round-off.

    Source: Neumaier's variant of Kahan's compensated summation (1974).
    """
    total = high + added
    return total, low + jnp.where(high >= added, (high - total) + added, (added - total) + high)
