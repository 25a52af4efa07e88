"""Validation sets, split from the observations to detect overfitting."""

import dataclasses
import math
from typing import Any, Literal, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool

from impindiff.errors import InputError
from impindiff.observations.walls import of_model
from impindiff.training._loss import TrajectoryLoss

L = TypeVar("L", bound=TrajectoryLoss)


def split(
    loss: L,
    model: Any,
    fraction: float,
    *,
    seed: int = 0,
    by: Literal["value", "sample", "last"] = "value",
) -> tuple[L, L]:
    """(training loss, validation loss): the same loss with different weights.

    **Arguments:**

    - `loss`: its values of weight 0 keep it in both.
    - `model`: any model that `loss` takes; its unknowns are irrelevant.
    - `fraction`: size of the validation set, as a fraction of the values; of the samples for
      "sample"; of the times for "last".
    - `seed`: of the random choice.
    - `by`: "value", values at random; "sample", all values of samples at random; "last", all values
      that depend on the last times. Values near training values are easily interpolated: the later
      choices are the harder tests.

    **Raises:** `InputError` if one of the sets would be empty.
    """
    before = np.ones(loss.values.shape) if loss.weights is None else np.asarray(loss.weights)
    rng = np.random.default_rng(seed)
    if by == "value":
        places = np.flatnonzero(before)
        held_back = np.zeros(before.size, bool)
        held_back[rng.permutation(places)[: _part(fraction, len(places))]] = True
        held_back = held_back.reshape(before.shape)
    elif by == "sample":
        count = jax.tree.leaves(loss.u0)[0].shape[0]
        chosen = rng.permutation(count)[: _part(fraction, count)]
        held_back = depends_on(loss, model, samples=chosen)
    else:
        count = len(loss.times)
        chosen = np.arange(count - _part(fraction, count - 1), count)
        held_back = depends_on(loss, model, times=chosen)
    of_training, of_validation = np.where(held_back, 0, before), np.where(held_back, before, 0)
    if not of_training.any() or not of_validation.any():
        side = "training" if not of_training.any() else "validation"
        raise InputError(
            f"training.validation: {fraction:g} by {by} leaves nothing for {side} of "
            f"{np.count_nonzero(before)} values; choose another fraction or validation_by"
        )
    return _weighing(loss, of_training), _weighing(loss, of_validation)


def depends_on(
    loss: TrajectoryLoss,
    model: Any,
    *,
    times: Any = slice(None),
    samples: Any = slice(None),
) -> Bool[np.ndarray, "..."]:
    """Mask of the loss's values that depend on the states at these times and samples.

    Computed by a derivative along states that change there only, at states near the initial ones:
    exact for a linear observation operator, and for others unless a derivative vanishes by chance.

    - `times`: indices in `loss.times`.
    - `samples`: indices.
    """
    u0 = loss.u0 if loss.prepare is None else loss.prepare(model)[1]
    observe = of_model(loss.observe, loss.prepared(model))
    rng = np.random.default_rng(0)
    count = len(loss.times)

    def near(x):
        all_times = np.broadcast_to(np.asarray(x), (count, *x.shape))
        return jnp.asarray(all_times * rng.uniform(0.98, 1.02, all_times.shape), x.dtype)

    def change(x):
        moved = np.zeros(x.shape)
        there = np.ix_(np.arange(count)[times], np.arange(x.shape[1])[samples])
        moved[there] = rng.uniform(0.5, 1.5, moved[there].shape)
        return jnp.asarray(moved, x.dtype)

    states = jax.tree.map(near, u0)
    _, moved = eqx.filter_jvp(observe, (states,), (jax.tree.map(change, states),))
    return np.asarray(moved) != 0


def _part(fraction: float, count: int) -> int:
    return min(count, math.ceil(fraction * count * (1 - 1e-9)))


def _weighing(loss: L, weights: np.ndarray) -> L:
    return dataclasses.replace(loss, weights=jnp.asarray(weights, loss.values.dtype))
