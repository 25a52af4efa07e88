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
    """The steps of a rollout: where each starts, how long it is, which output it leads to."""

    starts: Float[Array | np.ndarray, " steps"]
    lengths: Float[Array | np.ndarray, " steps"]
    outputs: Int[np.ndarray, " steps"]

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
    if np.ndim(times) != 1 or np.shape(times)[0] < 2:
        raise InputError(
            f"rollout: times has shape {np.shape(times)}; expected a sequence of at least two "
            "times, the first that of u0"
        )
    if isinstance(times, jax.core.Tracer):
        if dt is not None:
            raise InputError(
                "rollout: dt was given with traced times, so the number of steps is not known; "
                "pass times as a NumPy array, or list every step in times and leave dt out"
            )
        times = times.astype(dtype)
        return Schedule(times[:-1], jnp.diff(times), np.arange(1, times.shape[0]))

    exact = np.asarray(times, np.float64)
    intervals = np.diff(exact)
    if not np.all(np.isfinite(exact)) or not np.all(intervals > 0):
        index = int(np.argmin(np.where(np.isfinite(intervals) & (intervals > 0), 1, 0)))
        raise InputError(
            f"rollout: times must increase and be finite; times[{index}] = {exact[index]} is "
            f"followed by times[{index + 1}] = {exact[index + 1]}"
        )
    if dt is None:
        counts = np.ones(len(intervals), int)
    else:
        if not (math.isfinite(dt) and dt > 0):
            raise InputError(f"rollout: dt = {dt}; expected a positive number")
        counts = np.ceil(intervals / dt * (1 - _SLACK)).astype(int).clip(min=1)
    starts = [
        a + (b - a) * np.arange(n) / n
        for a, b, n in zip(exact[:-1], exact[1:], counts, strict=True)
    ]
    return Schedule(
        np.concatenate(starts).astype(dtype),
        np.repeat(intervals / counts, counts).astype(dtype),
        np.repeat(np.arange(1, len(exact)), counts),
    )


def number_of_steps(times: Float[np.ndarray, " outputs"], dt: float | None) -> int:
    """How many steps `rollout` takes with these arguments."""
    return make_schedule(times, dt, jnp.dtype(jnp.float64)).steps
