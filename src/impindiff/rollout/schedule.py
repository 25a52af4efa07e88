"""Which steps lead from one output time to the next."""

import math
from typing import NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from impindiff.errors import InputError

# A step count is not raised because of the rounding in (t1 - t0) / dt.
_SLACK = 1e-9


class Schedule(NamedTuple):
    """The steps of a rollout: where each starts, how long it is, which output it leads to.

    A step of length 0 is none: the state passes through unchanged. Adaptive step sizes end with
    such steps where the number of steps has to be fixed before their lengths are known.
    """

    starts: Float[Array, " steps"]
    lengths: Float[Array, " steps"]
    outputs: Int[Array, " steps"]

    @property
    def steps(self) -> int:
        """How many."""
        return len(self.outputs)


def make_schedule(
    times: Float[Array | np.ndarray, "..."], dt: float | None, dtype: jnp.dtype
) -> Schedule:
    """Land on every output time; between two of them, equal steps of at most `dt`.

    With `dt=None` there is one step per interval, and `times` may be traced.

    Raises `InputError` for times that are not a strictly increasing, finite sequence of at least
    two, for a `dt` that is not positive, and for a `dt` together with traced times.
    """
    require_times(times)
    if isinstance(times, jax.core.Tracer):
        if dt is not None:
            raise InputError(
                "rollout: dt was given with traced times, so the number of steps is not known; "
                "pass times as a NumPy array, or list every step in times and leave dt out"
            )
        times = times.astype(dtype)
        return Schedule(times[:-1], jnp.diff(times), jnp.arange(1, len(times), dtype=jnp.int32))

    exact = np.asarray(times, np.float64)
    intervals = np.diff(exact)
    counts = steps_per_interval(exact, dt)
    starts = [
        a + (b - a) * np.arange(n) / n
        for a, b, n in zip(exact[:-1], exact[1:], counts, strict=True)
    ]
    return Schedule(
        jnp.asarray(np.concatenate(starts), dtype),
        jnp.asarray(np.repeat(intervals / counts, counts), dtype),
        jnp.asarray(np.repeat(np.arange(1, len(exact)), counts), jnp.int32),
    )


def require_times(times: Float[Array | np.ndarray, "..."]) -> None:
    """Raise `InputError` unless there are two or more times, finite and increasing (if known)."""
    if np.ndim(times) != 1 or np.shape(times)[0] < 2:
        raise InputError(
            f"rollout: times has shape {np.shape(times)}; expected a sequence of at least two "
            "times, the first that of u0"
        )
    if isinstance(times, jax.core.Tracer):
        return
    exact = np.asarray(times, np.float64)
    rising = np.isfinite(np.diff(exact)) & (np.diff(exact) > 0)
    if not np.all(rising):
        index = int(np.argmin(rising))
        raise InputError(
            f"rollout: times must increase and be finite; times[{index}] = {exact[index]} is "
            f"followed by times[{index + 1}] = {exact[index + 1]}"
        )


def steps_per_interval(
    times: Float[np.ndarray, " outputs"], dt: float | None
) -> Int[np.ndarray, " intervals"]:
    """Into how many steps of at most `dt` each interval is divided.

    Raises `InputError` for a `dt` that is not positive.
    """
    if dt is None:
        return np.ones(len(times) - 1, int)
    if not (math.isfinite(dt) and dt > 0):
        raise InputError(f"rollout: dt = {dt}; expected a positive number")
    return np.ceil(np.diff(times) / dt * (1 - _SLACK)).astype(int).clip(min=1)
