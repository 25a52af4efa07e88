"""Layers of the black-box networks."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.errors import InputError

SMALL = 1e-2
"""Factor of the last layer's initial weights: the first forecast is nearly persistence."""


class Pointwise(eqx.Module):
    """y = W h + b in every cell: a 1x1 convolution, (in, *cells) to (out, *cells).

    W and b ~ U(-c, c) with c = scale / sqrt(in).
    """

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"]

    def __init__(self, in_size: int, out_size: int, *, scale: float = 1.0, key: PRNGKeyArray):
        weight_key, bias_key = jax.random.split(key)
        bound = scale / in_size**0.5
        self.weight = uniform(weight_key, (out_size, in_size), bound)
        self.bias = uniform(bias_key, (out_size,), bound)

    def __call__(self, h: Float[Array, "in *cells"]) -> Float[Array, "out *cells"]:
        """Apply to h's cells, in the weights' precision."""
        product = jnp.tensordot(self.weight, h.astype(self.weight.dtype), 1)
        return product + per_channel(self.bias, h.ndim - 1)


def uniform(key: PRNGKeyArray, shape: tuple[int, ...], bound: float) -> Float[Array, "..."]:
    """Draw from U(-bound, bound) in JAX's default float."""
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


def per_channel(values: Float[Array, " channels"], axes: int) -> Float[Array, "..."]:
    """Reshape to (channels, 1, ..., 1), constant over the given number of spatial axes."""
    return values.reshape(-1, *[1] * axes)


def require_positive(name: str, **numbers: int) -> None:
    """Raise `InputError` unless each is at least 1."""
    for argument, value in numbers.items():
        if value < 1:
            raise InputError(f"{name}: {argument} = {value}; expected at least 1")
