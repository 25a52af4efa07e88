"""Optax's optimisers and learning-rate schedules by name."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
import optax.contrib
from jaxtyping import Array, Float, PyTree

_FINAL_FACTOR = 0.01


class WithNumbers(eqx.Module):
    """An Optax optimiser whose numbers are arguments of the compiled training step.

    A learning rate inside an Optax transformation is a constant of the program, so that another
    rate is another program to compile. Here the same program takes both.

    - `build`: the transformation for these numbers, which may be traced.
    - `numbers`: learning rate, weight decay, ...; any pytree of floats.
    """

    build: Callable[[Any], optax.GradientTransformation] = eqx.field(static=True)
    numbers: PyTree[Float[Array, ""]]

    def __init__(self, build: Callable[[Any], optax.GradientTransformation], numbers: Any):
        # weakly typed, as the numbers were: the updates keep the type of the parameters
        self.build, self.numbers = build, jax.tree.map(jnp.asarray, numbers)

    def transformation(self) -> optax.GradientTransformation:
        """The transformation for the numbers as they are, traced or not."""
        return self.build(self.numbers)


def learning_rate_schedule(
    name: str, learning_rate: Any, steps: int, warmup: int = 0
) -> optax.Schedule:
    """`constant`, or `cosine` and `exponential` decay to a hundredth of `learning_rate`.

    In the first `warmup` steps the rate grows linearly: (k + 1) / (warmup + 1) of `learning_rate`
    in step k = 0, 1, ...; `steps` is the total. The rate may be a traced number.
    """
    unit = _of_unit_rate(name, steps, warmup)
    return lambda count: unit(count) * learning_rate


def _of_unit_rate(name: str, steps: int, warmup: int) -> optax.Schedule:
    """The schedule of rate 1, to which every other is proportional."""
    if warmup:
        rising = optax.linear_schedule(1 / (warmup + 1), 1.0, warmup)
        after = _of_unit_rate(name, max(1, steps - warmup), 0)
        return optax.join_schedules([rising, after], [warmup])
    if name == "constant":
        return optax.constant_schedule(1.0)
    if name == "cosine":
        return optax.cosine_decay_schedule(1.0, steps, alpha=_FINAL_FACTOR)
    return optax.exponential_decay(1.0, steps, _FINAL_FACTOR)


def adam(
    schedule: str, learning_rate: Any, steps: int, weight_decay: Any = None, warmup: int = 0
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) with the named schedule; with decay AdamW (Loshchilov 2019)."""
    rate = learning_rate_schedule(schedule, learning_rate, steps, warmup)
    if weight_decay is None:
        return optax.adam(rate)
    return optax.adamw(rate, weight_decay=weight_decay)


def muon(
    schedule: str, learning_rate: Any, steps: int, warmup: int = 0
) -> optax.GradientTransformation:
    """Muon with the named schedule: orthogonalised momentum for matrices, Adam for the rest.

    All directions in a layer's weights move at the same pace, also those that hardly affect the
    loss; fields inferred through a rollout, whose fine detail is such a direction, train in fewer
    steps.

    Source: Jordan et al., "Muon: an optimizer for hidden layers in neural networks" (2024), as
    implemented in Optax.
    """
    return optax.contrib.muon(learning_rate_schedule(schedule, learning_rate, steps, warmup))


def lbfgs(memory: int = 20) -> optax.GradientTransformationExtraArgs:
    """L-BFGS with the zoom line search of Nocedal and Wright (2006), ch. 3.5 and 7.2.

    A step costs a few evaluations of the loss and its gradient, and replaces many of Adam's where
    the loss is smooth and free of noise.
    """
    return optax.lbfgs(memory_size=memory)
