"""Conversion of a trajectory from another integrator to a `Rollout`."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PyTree

from impindiff.implicit import Outcome, Status
from impindiff.rollout import Rollout, StoreStates


def as_rollout(
    u: PyTree[Array],
    times: tuple[float, ...],
    succeeded: Bool[Array, "intervals samples"],
    failure: Any,
    iterations: Int[Array, "intervals samples"] | None = None,
) -> Rollout:
    """The trajectory u, (times, samples, ...), with each interval of `times` as one step.

    - `succeeded`: intervals without failure; for others `failure`, an `Outcome`, is the reason.
    - `iterations`: taken per interval, none by default.
    """
    none = jnp.zeros(succeeded.shape, jnp.int32)

    def reason(flag: Array) -> Outcome:
        return Outcome.where(flag, Outcome.converged, failure)

    stats = Status(
        converged=succeeded,
        iterations=none if iterations is None else iterations,
        linear_iterations=none,
        residual=jnp.zeros(succeeded.shape, jax.tree.leaves(u)[0].dtype),
        worst_leaf=none,
        outcome=jax.vmap(jax.vmap(reason))(succeeded),
        halvings=none,
    )
    when = jnp.asarray(times)
    return Rollout(u, when, stats, when, StoreStates())
