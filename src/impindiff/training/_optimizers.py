"""Optax's optimisers and learning-rate schedules by name."""

import optax
import optax.contrib

_FINAL_FACTOR = 0.01


def learning_rate_schedule(
    name: str, learning_rate: float, steps: int, warmup: int = 0
) -> optax.Schedule:
    """`constant`, or `cosine` and `exponential` decay to a hundredth of `learning_rate`.

    In the first `warmup` steps the rate grows linearly: (k + 1) / (warmup + 1) of `learning_rate`
    in step k = 0, 1, ...; `steps` is the total.
    """
    if warmup:
        rising = optax.linear_schedule(learning_rate / (warmup + 1), learning_rate, warmup)
        after = learning_rate_schedule(name, learning_rate, max(1, steps - warmup))
        return optax.join_schedules([rising, after], [warmup])
    if name == "constant":
        return optax.constant_schedule(learning_rate)
    if name == "cosine":
        return optax.cosine_decay_schedule(learning_rate, steps, alpha=_FINAL_FACTOR)
    return optax.exponential_decay(learning_rate, steps, _FINAL_FACTOR)


def adam(
    schedule: str, learning_rate: float, steps: int, weight_decay: float = 0.0, warmup: int = 0
) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) with the named schedule; with decay AdamW (Loshchilov 2019)."""
    rate = learning_rate_schedule(schedule, learning_rate, steps, warmup)
    return optax.adamw(rate, weight_decay=weight_decay) if weight_decay else optax.adam(rate)


def muon(
    schedule: str, learning_rate: float, steps: int, warmup: int = 0
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
