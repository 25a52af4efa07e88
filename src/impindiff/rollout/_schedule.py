"""Steps from one output time to the next, and from jump to jump."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from impindiff.errors import InputError

# error of a given time in units in the last place: `linspace` rounds more than once
_ULPS = 4
# a step may exceed `dt` by the round-off of the times, but never by more than this fraction
_MOST_SLACK, _LEAST_SLACK = 0.1, 1e-9
# that fraction for times whose values need less than their precision: they may have been rounded,
# or be round numbers
_PERHAPS = 1e-3
# distance of times next to a jump in units in the last place: one may be lost where a model
# multiplies or divides the time by a unit
_BESIDE = 2


class Jumps(NamedTuple):
    """Jumps of the right-hand side, between the first and the last output time.

    - `lower`, `upper`: the range of times that may be evaluated before the first jump, between the
      first and the second, ...: one entry more than jumps.
    """

    lower: Float[Array, " jumps_and_one"]
    upper: Float[Array, " jumps_and_one"]


class Stops(NamedTuple):
    """The times at which steps must end, outputs and jumps, and the intervals between them.

    - `points`: the times; one more than intervals.
    - `lengths`: of the intervals: differences taken before any rounding to the state's precision,
      in which late times may be equal.
    - `outputs`: the output time at or after the end of each interval.
    - `passed`: number of jumps at or before the start of each interval.
    - `slack`: the fraction of each length that may be round-off of the times.
    - `ordered`: True while output times are finite and do not decrease; None for concrete times,
      for which others are refused.
    """

    points: Float[Array | np.ndarray, " stops"]
    lengths: Float[Array | np.ndarray, " intervals"]
    outputs: Int[Array | np.ndarray, " intervals"]
    passed: Int[Array | np.ndarray, " intervals"]
    slack: Float[Array | np.ndarray, " intervals"]
    ordered: Bool[Array, " intervals"] | None
    jumps: Jumps | None

    def cast(self, dtype: Any) -> "Stops":
        """Convert to JAX arrays in the precision of the state."""

        def of(array: Any) -> Array:
            floating = jnp.issubdtype(array.dtype, jnp.floating)
            integer = jnp.issubdtype(array.dtype, jnp.integer)
            return jnp.asarray(array, dtype if floating else jnp.int32 if integer else bool)

        return jax.tree.map(of, self)


class Schedule(NamedTuple):
    """The steps of a rollout: start, length and output time of each.

    The state is unchanged by a step of length 0. Adaptive step sizes end with such steps where the
    number of steps is fixed before their lengths are known, and traced times have them where two
    are equal.

    - `end`: end of the last step.
    - `passed`: number of jumps at or before the start of each step; None if there are none.
    - `failed`: True for steps between times that are not in order; None if times are concrete.
    """

    starts: Float[Array, " steps"]
    lengths: Float[Array, " steps"]
    outputs: Int[Array, " steps"]
    end: Float[Array, ""]
    passed: Int[Array, " steps"] | None = None
    failed: Bool[Array, " steps"] | None = None
    jumps: Jumps | None = None

    @property
    def steps(self) -> int:
        """Number of steps."""
        return len(self.outputs)


def known_times(times: Any) -> Float[np.ndarray, "..."] | None:
    """The times as a NumPy array, or None if traced by `jax.jit` or `jax.vmap`.

    Times that are only differentiated are known.
    """
    if isinstance(times, jax.Array):
        times = jax.lax.stop_gradient(times)
    return None if isinstance(times, jax.core.Tracer) else np.asarray(times)


def make_stops(times: Any, jump_times: Sequence[float] | None, dtype: Any) -> Stops:
    """Collect the stops of a rollout. `times` may be traced, `jump_times` may not.

    **Raises:** `InputError` for times that are not a finite increasing sequence of at least two
    (traced ones may repeat), and for jumps that are not finite, traced, or closer to each other
    than the precision of the state resolves.
    """
    traced = isinstance(times, jax.core.Tracer)
    known = known_times(times)
    require_times(times if known is None else known, may_repeat=traced)
    jumps = _checked_jumps(() if jump_times is None else jump_times)
    if traced and not jnp.issubdtype(times.dtype, jnp.floating):
        times = times.astype(dtype)
    eps, most = _rounding(times.dtype if known is None else known.dtype, known)
    xp: Any = jnp if traced else np
    exact = times if traced else np.asarray(times, np.float64)
    if known is not None:
        jumps = jumps[(jumps >= known[0]) & (jumps <= known[-1])]
    if len(jumps) == 0:
        points, is_output = exact, np.ones(len(exact), bool)
    else:
        points, is_output = _merged(exact, jumps, eps, xp)
    lengths = xp.diff(points)
    positive = lengths > 0
    size = xp.maximum(abs(points[1:]), abs(points[:-1]))
    slack = _ULPS * eps * size / xp.where(positive, lengths, 1.0)
    outputs = xp.cumsum(is_output)[:-1]
    # before the first output there is no time that it could be out of order with
    rising = xp.concatenate([xp.ones(1, bool), xp.diff(exact) >= 0])
    in_order = xp.cumprod(rising) if len(jumps) == 0 else xp.min(rising) * xp.ones(len(rising))
    stops = Stops(
        points=points,
        lengths=lengths,
        outputs=outputs,
        passed=xp.cumsum(~is_output)[:-1],
        slack=xp.clip(xp.where(positive, slack, 0.0), _LEAST_SLACK, most),
        ordered=in_order[outputs] > 0 if traced else None,
        jumps=_windows(jumps, dtype),
    )
    if traced:
        return stops
    # coincident times have no interval between them
    kept = np.flatnonzero(lengths > 0)
    columns = (column[kept] for column in stops[1:-2])
    ends = np.append(points[kept], points[-1])
    return Stops(ends, *columns, ordered=None, jumps=stops.jumps)


def make_schedule(stops: Stops, dt: float | None, dtype: Any) -> Schedule:
    """Divide every interval between stops into equal steps of at most `dt`.

    With `dt=None` there is one step per interval, and the stops may be traced.

    **Raises:** `InputError` for a `dt` that is not positive, and for a `dt` together with traced
    times.
    """
    lengths, slack = known_times(stops.lengths), known_times(stops.slack)
    if lengths is None or slack is None:
        if dt is not None:
            raise InputError(
                "rollout: dt was given with traced times, so the number of steps is not known; "
                "pass times as a NumPy array, or list every step in times and leave dt out"
            )
        counts = np.ones(stops.lengths.shape[0], int)
    else:
        counts = _counts(lengths, dt, slack)
    index = np.repeat(np.arange(len(counts)), counts)
    own: Any = stops.lengths.dtype
    done = np.concatenate([np.arange(n) / n for n in counts]).astype(own)
    starts = stops.points[index] + done * stops.lengths[index]
    parts = stops.lengths[index] / counts[index].astype(own)
    return as_schedule(stops, index, starts, parts, stops.points[-1], dtype)


def as_schedule(
    stops: Stops, index: Any, starts: Any, lengths: Any, end: Any, dtype: Any
) -> Schedule:
    """The schedule of steps, each in the interval `index` of the stops."""
    return Schedule(
        jnp.asarray(starts, dtype),
        jnp.asarray(lengths, dtype),
        jnp.asarray(stops.outputs[index], jnp.int32),
        jnp.asarray(end, dtype),
        None if stops.jumps is None else jnp.asarray(stops.passed[index], jnp.int32),
        None if stops.ordered is None else ~stops.ordered[index],
        stops.jumps,
    )


def require_times(times: Any, *, may_repeat: bool = False) -> None:
    """Raise `InputError` unless there are two or more times, finite and increasing (if known)."""
    if np.ndim(times) != 1 or np.shape(times)[0] < 2:
        raise InputError(
            f"rollout: times has shape {np.shape(times)}; expected a sequence of at least two "
            "times, the first that of u0"
        )
    if isinstance(times, jax.core.Tracer):
        return
    exact = np.asarray(times, np.float64)
    difference = np.diff(exact)
    rising = np.isfinite(difference) & ((difference >= 0) if may_repeat else (difference > 0))
    if not np.all(rising):
        index = int(np.argmin(rising))
        raise InputError(
            f"rollout: times must increase and be finite; times[{index}] = {exact[index]} is "
            f"followed by times[{index + 1}] = {exact[index + 1]}"
        )


def steps_per_interval(
    times: Float[np.ndarray, " outputs"],
    dt: float | None,
    jump_times: Sequence[float] | None = None,
) -> Int[np.ndarray, " intervals"]:
    """Number of steps of at most `dt` in each interval between outputs and jumps.

    A step may exceed `dt` by the round-off of the times.

    **Raises:** `InputError` for a `dt` that is not positive, and as `make_stops`.
    """
    stops = make_stops(np.asarray(times), jump_times, jnp.dtype(np.float64))
    return _counts(np.asarray(stops.lengths), dt, np.asarray(stops.slack))


def _counts(
    lengths: Float[np.ndarray, " intervals"],
    dt: float | None,
    slack: Float[np.ndarray, " intervals"],
) -> Int[np.ndarray, " intervals"]:
    if dt is None:
        return np.ones(len(lengths), int)
    if not dt > 0:
        raise InputError(f"rollout: dt = {dt}; expected a positive number")
    return steps_of_at_most(lengths / dt, slack, np).astype(int)


def steps_of_at_most(quotient: Any, slack: Any, xp: Any) -> Any:
    """Number of steps for a length `quotient` times the longest step; at least 1.

    A whole number that `quotient` exceeds by no more than the fraction `slack` of it suffices.
    """
    whole = xp.maximum(xp.round(quotient), 1.0)
    return xp.where(quotient <= whole * (1 + slack), whole, xp.ceil(quotient))


def shortest(lengths: Float[Array, " steps"]) -> Float[Array, ""]:
    """The shortest step of positive length; 1 if there is none."""
    found = jnp.min(jnp.where(lengths > 0, lengths, jnp.inf))
    return jax.lax.stop_gradient(jnp.where(jnp.isfinite(found), found, 1.0))


def _rounding(dtype: Any, known: Float[np.ndarray, " outputs"] | None) -> tuple[float, float]:
    """(relative round-off of the times, largest `slack` that it may cause).

    The round-off is that of the lowest precision that represents them all: lists are made of
    arrays, too.
    """
    eps = float(jnp.finfo(dtype).eps) if jnp.issubdtype(dtype, jnp.floating) else 0.0
    if known is not None:
        exact = known.astype(np.float64)
        with np.errstate(over="ignore", under="ignore"):
            single = exact.astype(np.float32)
        lower = float(np.finfo(np.float32).eps)
        if eps < lower and np.array_equal(single, exact):
            # short decimals and whole numbers are exact; others that need every bit have been
            # rounded
            every_bit = np.any(np.frexp(exact)[0] * 2**22 % 1 != 0)
            rounded = every_bit and np.any(exact % 1 != 0)
            return lower, _MOST_SLACK if rounded else _PERHAPS
    return eps, _MOST_SLACK


def _checked_jumps(jump_times: Sequence[float]) -> Float[np.ndarray, " jumps"]:
    if any(isinstance(t, jax.core.Tracer) for t in jax.tree.leaves(jump_times)):
        raise InputError(
            "rollout: jump_times are traced, so the steps to land on them are not known; expected "
            "numbers that are known outside of jax.jit and jax.grad"
        )
    try:
        found = np.asarray(jump_times, np.float64)
    except (TypeError, ValueError):
        found = np.asarray(np.nan)
    if found.ndim != 1 or not np.all(np.isfinite(found)):
        raise InputError(f"rollout: jump_times = {jump_times}; expected a sequence of finite times")
    return np.unique(found)


def _merged(times: Any, jumps: np.ndarray, eps: float, xp: Any) -> tuple[Any, Any]:
    """(times and jumps in their order, mask of the times).

    A jump equal to a time up to round-off is moved to it; one outside of a traced range, to its
    end. Of two that coincide the jump is first.
    """
    jumps = xp.asarray(jumps, times.dtype)
    near = xp.argmin(abs(times[:, None] - jumps[None, :]), axis=0)
    nearest = times[near]
    same = abs(nearest - jumps) <= _ULPS * eps * xp.maximum(abs(nearest), abs(jumps))
    snapped = xp.clip(xp.where(same, nearest, jumps), times[0], times[-1])
    both = xp.concatenate([snapped, times])
    order = np.argsort(both, kind="stable") if xp is np else jnp.argsort(both, stable=True)
    return both[order], order >= len(jumps)


def _windows(jumps: Float[np.ndarray, " jumps"], dtype: Any) -> Jumps | None:
    """Ranges of evaluation times from jump to jump; see `Jumps`."""
    if len(jumps) == 0:
        return None
    before, after = (_beside(jumps, towards, dtype) for towards in (-np.inf, np.inf))
    if np.any(after[:-1] > before[1:]):
        index = int(np.argmax(after[:-1] > before[1:]))
        raise InputError(
            f"rollout: jump_times {jumps[index]} and {jumps[index + 1]} cannot be told apart in "
            f"{jnp.dtype(dtype).name}, the precision of the state; expected jumps farther apart, "
            "or times counted from a later start"
        )
    infinite = np.asarray([np.inf], before.dtype)
    return Jumps(
        jnp.asarray(np.concatenate([-infinite, after]), dtype),
        jnp.asarray(np.concatenate([before, infinite]), dtype),
    )


def _beside(times: np.ndarray, towards: float, dtype: jnp.dtype) -> np.ndarray:
    """Just before or after each time, by `_BESIDE` units in the last place of the precision."""
    kind: Any = np.dtype(dtype)
    found = np.asarray(times, kind)
    direction = np.asarray(towards, kind)
    for _ in range(_BESIDE):
        found = np.nextafter(found, direction)
    # numbers smaller than normal ones count as zero on most devices
    tiny = np.finfo(kind).tiny
    return np.where(np.abs(found) < tiny, np.sign(direction) * tiny, found)
