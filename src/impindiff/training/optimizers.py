"""Optimisers and learning-rate schedules by name."""

import optax

_FINAL_FACTOR = 0.01


def learning_rate_schedule(name: str, learning_rate: float, steps: int) -> optax.Schedule:
    """`constant`; `cosine` or `exponential`, which end at a hundredth of `learning_rate`."""
    if name == "constant":
        return optax.constant_schedule(learning_rate)
    if name == "cosine":
        return optax.cosine_decay_schedule(learning_rate, steps, alpha=_FINAL_FACTOR)
    return optax.exponential_decay(learning_rate, steps, _FINAL_FACTOR)


def adam(schedule: str, learning_rate: float, steps: int) -> optax.GradientTransformation:
    """Adam (Kingma and Ba 2015) with the named schedule."""
    return optax.adam(learning_rate_schedule(schedule, learning_rate, steps))
