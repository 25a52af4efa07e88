"""Priors and penalties that a loss adds to its misfit."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
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


class GaussianPrior(eqx.Module):
    r"""A Gaussian prior on parameters near 0: pseudo-measurements $p / \sigma$ of value 0.

    Passed to a loss as its `prior`, with measurements that are divided by their own errors.
    Combinations of parameters that the data do not determine stay near 0, with the error $\sigma$
    rather than an infinite one.

    - `where`: selects the parameters of a model, an array or a pytree of such; for example the log
      slopes of a closure, of which 0 is its prior law.
    - `standard_deviation`: of the prior.

    Source: Tarantola, "Inverse Problem Theory", SIAM 2005, section 1.5.
    """

    where: Callable[[Any], Any] = eqx.field(static=True)
    standard_deviation: float = eqx.field(static=True)

    def __call__(self, model: HybridModel) -> Float[Array, " parameters"]:
        """The parameters over the standard deviation."""
        return ravel_pytree(self.where(model))[0] / self.standard_deviation
