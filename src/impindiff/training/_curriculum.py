"""Curriculum training: first on the beginning of the trajectories, an easier loss."""

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.observations.walls import of_model
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._split import depends_on
from impindiff.training._state import Job

L = TypeVar("L", bound=TrajectoryLoss)


class _Padded(eqx.Module):
    """Observe all times, given the states of the first only: the last of them is repeated.

    Values that depend on missing states have weight 0, so any finite value will do.
    """

    observe: Callable[..., Any]
    times: int = eqx.field(static=True)

    def of_model(self, model: Any) -> "_Padded":
        return _Padded(of_model(self.observe, model), self.times)

    def __call__(self, u: PyTree) -> Any:
        def pad(x):
            missing = self.times - x.shape[0]
            return jnp.concatenate([x, jnp.broadcast_to(x[-1:], (missing, *x.shape[1:]))])

        return self.observe(jax.tree.map(pad, u))


def shortened(loss: L, model: Any, fraction: float) -> L:
    """Restrict `loss` to the first part of the observed times.

    Values that depend on later times get weight 0. The rollout is shorter, and as much cheaper.

    **Arguments:**

    - `model`: any model that `loss` takes.
    - `fraction`: of the observed times, rounded up; at least one is left.
    """
    count = len(loss.times)
    kept = 1 + max(1, math.ceil(fraction * (count - 1) * (1 - 1e-9)))
    if kept >= count:
        return loss
    before = np.ones(loss.values.shape) if loss.weights is None else np.asarray(loss.weights)
    late = depends_on(loss, model, times=range(kept, count))
    return dataclasses.replace(
        loss,
        times=loss.times[:kept],
        observe=_Padded(loss.observe, count),
        weights=jnp.asarray(np.where(late, 0, before), loss.values.dtype),
    )


def stages(job: Job, model: Any, horizon: Sequence[tuple[int, float]]) -> list[tuple[int, Job]]:
    """(last training step, job) of each stage before the whole horizon's.

    **Arguments:**

    - `horizon`: pairs of a number of training steps and a fraction of the observed times.

    **Raises:** `InputError` for a stage without observations.

    The smallest loss is tracked after them only: losses of different horizons are not comparable.
    """
    found, last = [], 0
    for steps, fraction in horizon:
        loss = shortened(job.loss, model, fraction)
        if loss.number_of_observations() == 0:
            raise InputError(
                f"training.horizon: nothing is observed in the first {fraction:g} of the times "
                "alone; begin with a larger fraction"
            )
        validation = job.validation
        if validation is not None:
            validation = shortened(validation, model, fraction)
        last += steps
        stage = dataclasses.replace(job, loss=loss, validation=validation, watching=False)
        found.append((last, stage))
    return found
