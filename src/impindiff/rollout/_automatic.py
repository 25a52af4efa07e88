"""The automatic choice of a preconditioner for a rollout."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, PyTree

from impindiff.implicit import evaluated_at_once
from impindiff.implicit.pytree import result_dtype
from impindiff.preconditioners import (
    AutomaticChoice,
    asks_for_choice,
    choose_preconditioner,
    with_choice,
)
from impindiff.rollout._adaptive import AdaptiveStep
from impindiff.rollout._schedule import known_times, make_schedule, make_stops
from impindiff.rollout.samples import find_batch_ndim
from impindiff.steppers import AbstractStepper, HybridModel, ImplicitStepper


def with_automatic_choice(
    stepper: AbstractStepper,
    model: HybridModel,
    u0: PyTree[ArrayLike],
    times: Any,
    dt: float | AdaptiveStep | None,
    *,
    batch_ndim: int | None = None,
    jump_times: Sequence[float] | None = None,
) -> tuple[AbstractStepper, AutomaticChoice | None]:
    """(the stepper with the preconditioner that "auto" stands for, the choice).

    A stepper with another preconditioner is returned as it is, with None. The arguments are those
    of `rollout`, and so are the errors; see `choose_preconditioner`. The length of adaptive steps
    counts as unknown.
    """
    if not asks_for_choice(stepper):
        return stepper, None
    assert isinstance(stepper, ImplicitStepper)
    with evaluated_at_once():
        u0 = jax.tree.map(jnp.asarray, u0)
        dtype = result_dtype(u0)
        if batch_ndim is None:
            batch_ndim = find_batch_ndim(model, u0)
        if not isinstance(times, jax.Array):
            times = np.asarray(times, np.float64)
        adaptive = isinstance(dt, AdaptiveStep)
        stops = make_stops(times, jump_times, dtype)
        # one step an interval, where the steps are not known
        schedule = make_schedule(stops, None if adaptive else dt, dtype)
        lengths, starts = known_times(schedule.lengths), known_times(schedule.starts)
        choice = choose_preconditioner(
            stepper,
            model,
            u0,
            None if lengths is None or adaptive else float(np.max(lengths)),
            t=0.0 if starts is None else float(starts[0]),
            steps=dt.max_steps if isinstance(dt, AdaptiveStep) else schedule.steps,
            batch_ndim=batch_ndim,
        )
    return with_choice(stepper, choice), choice
