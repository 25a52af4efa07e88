"""Sinusoidal representation networks."""

import itertools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray


def _uniform(key: PRNGKeyArray, shape: tuple[int, ...], bound: float) -> Array:
    return jax.random.uniform(key, shape, minval=-bound, maxval=bound)


class Siren(eqx.Module):
    """phi(x) = W_n (sin o ... o sin)(omega (W_0 x + b_0)) + b_n, with omega in every sine layer.

    h_0 = sin(omega_first (W_0 x + b_0)), h_i = sin(omega (W_i h_{i-1} + b_i)), and a linear output.

    - `in_size`, `out_size`: numbers of inputs (expected in [-1, 1]) and outputs.
    - `width`, `depth`: neurons per sine layer, and number of sine layers.
    - `omega_first`, `omega`: frequency factors of the first and of the other sine layers. Larger
      ones represent finer detail and are harder to fit to sparse data.

    Initialised as published, so that activations keep their distribution through any depth:
    W_0 ~ U(-1/in, 1/in), W_i ~ U(-c, c) with c = sqrt(6/width)/omega; biases ~ U(-1/sqrt(fan in),
    1/sqrt(fan in)).

    Source: Sitzmann et al., "Implicit neural representations with periodic activation functions",
    NeurIPS 2020, section 3.2 and the authors' supplement, section 1.
    """

    weights: tuple[Float[Array, "outputs inputs"], ...]
    biases: tuple[Float[Array, " outputs"], ...]
    omega_first: float = eqx.field(static=True)
    omega: float = eqx.field(static=True)

    def __init__(
        self,
        in_size: int,
        out_size: int,
        *,
        width: int = 64,
        depth: int = 3,
        omega_first: float = 30.0,
        omega: float = 30.0,
        key: PRNGKeyArray,
    ):
        self.omega_first = omega_first
        self.omega = omega
        sizes = [in_size, *[width] * depth, out_size]
        weights, biases = [], []
        for i, (fan_in, fan_out) in enumerate(itertools.pairwise(sizes)):
            key, weight_key, bias_key = jax.random.split(key, 3)
            bound = 1 / fan_in if i == 0 else math.sqrt(6 / fan_in) / omega
            weights.append(_uniform(weight_key, (fan_out, fan_in), bound))
            biases.append(_uniform(bias_key, (fan_out,), 1 / math.sqrt(fan_in)))
        self.weights = tuple(weights)
        self.biases = tuple(biases)

    def __call__(self, x: Float[Array, "in *points"]) -> Float[Array, "out *points"]:
        """Evaluate at all points; the first axis of x is coordinates."""
        h = x.reshape(x.shape[0], -1).astype(self.weights[0].dtype)
        last = len(self.weights) - 1
        for i, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            h = weight @ h + bias[:, None]
            if i < last:
                h = jnp.sin((self.omega_first if i == 0 else self.omega) * h)
        return h.reshape(-1, *x.shape[1:])
