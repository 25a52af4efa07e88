"""Penalties that a loss adds to its misfit."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.steppers import HybridModel

# times at which the latent fields are evaluated, enough for smooth fields
_TIMES = 9


class SlowChange(eqx.Module):
    r"""A prior against latent fields with large second derivatives in time.

    R(model) = weight mean |d^2 v / ds^2|^2, the mean over components, space and the times s = t / T
    in [0, 1], with T = `until`; v is the model's latent, an array. By central differences over 9
    even times. A field that changes linearly costs nothing, and a forecast beyond the data
    continues linearly.

    - `weight`: relative to the loss, whose misfit is relative too.
    - `until`: the end of the times, those of the forecast included.

    Source: Wahba, "Spline models for observational data", SIAM 1990, chapter 1 (the penalty of a
    smoothing spline).
    """

    weight: float = eqx.field(static=True)
    until: float = eqx.field(static=True)

    def __call__(self, model: HybridModel) -> Float[Array, ""]:
        """Evaluate R."""
        times = jnp.asarray(np.linspace(0.0, self.until, _TIMES))
        latent = jax.vmap(model.latent)(times)
        bend = latent[2:] - 2 * latent[1:-1] + latent[:-2]
        return self.weight * (_TIMES - 1) ** 4 * jnp.mean(bend**2)
