"""Priors that a loss adds to its misfit."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from impindiff.steppers import HybridModel

# Times at which the latent fields are looked at: more resolve what a smooth field does not have.
_TIMES = 9


class SlowChange(eqx.Module):
    r"""A prior against latent fields that bend fast in time, where the data do not ask for it.

    R(model) = weight mean |d^2 v / ds^2|^2, the mean over components, space and the times s = t / T
    in [0, 1], with T = `until`; v is the model's latent, an array. By central differences over 9
    even times. A field that changes linearly costs nothing: it is what a forecast past the data
    goes on with.

    - `weight`: relative to the loss, whose misfit is relative too.
    - `until`: the end of the times, those of the forecast included.

    Source: Wahba, "Spline models for observational data", SIAM 1990, chapter 1 (the penalty of a
    smoothing spline).
    """

    weight: float = eqx.field(static=True)
    until: float = eqx.field(static=True)

    def __call__(self, model: HybridModel) -> Float[Array, ""]:
        """R of the model."""
        times = jnp.asarray(np.linspace(0.0, self.until, _TIMES))
        latent = jax.vmap(model.latent)(times)
        bend = latent[2:] - 2 * latent[1:-1] + latent[:-2]
        return self.weight * (_TIMES - 1) ** 4 * jnp.mean(bend**2)


class GaussianPrior(eqx.Module):
    r"""The belief that some parameters are near 0: pseudo-measurements $p / \sigma$ of value 0.

    Given to a loss as its `prior`, with measurements that are divided by their own errors. It keeps
    combinations of parameters that the data cannot tell apart where they started, and gives them
    the error $\sigma$ rather than an infinite one.

    - `where`: the parameters, an array or a pytree of such, of a model; such as the log slopes of a
      closure, of which 0 is its prior law.
    - `standard_deviation`: of the belief.

    Source: Tarantola, "Inverse Problem Theory", SIAM 2005, section 1.5.
    """

    where: Callable[[Any], Any] = eqx.field(static=True)
    standard_deviation: float = eqx.field(static=True)

    def __call__(self, model: HybridModel) -> Float[Array, " parameters"]:
        """The parameters over the standard deviation."""
        return ravel_pytree(self.where(model))[0] / self.standard_deviation
