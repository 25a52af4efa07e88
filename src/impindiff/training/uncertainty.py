"""How well numbers that were found are determined by the data."""

from collections.abc import Callable
from typing import TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, Float

from impindiff.steppers import HybridModel
from impindiff.training.levenberg_marquardt import covariance, value_and_jacobian
from impindiff.training.loss import TrajectoryLoss

Linearization = tuple[Float[Array, " m"], Float[Array, "m n"]]
"""Misfit and its Jacobian in the parameters."""

M = TypeVar("M", bound=HybridModel)


def standard_errors(
    quantities: Callable[[M], dict[str, Float[Array, ""]]],
    model: M,
    loss: TrajectoryLoss,
    linearization: Linearization | None = None,
) -> dict[str, Float[Array, ""]]:
    """Of each of the named `quantities` of a fitted model, by its covariance (see `covariance`).

    Errors of the parameters are carried over to first order: g^T C g with g = dq/dp. For models
    with few parameters: the Jacobian has a column for each. `linearization` is misfit and Jacobian
    at the model's parameters if they are known already, as after Levenberg-Marquardt.
    """
    parameters, static = eqx.partition(model, eqx.is_inexact_array)
    flat, unravel = ravel_pytree(parameters)

    @jax.jit
    def linearize(flat):
        def misfit(flat):
            return loss.misfit(eqx.combine(unravel(flat), static), None)

        return value_and_jacobian(misfit, flat)[:2]

    value, jacobian = linearize(flat) if linearization is None else linearization
    of_parameters = covariance(jacobian, value)
    slopes = jax.jacobian(lambda p: quantities(eqx.combine(unravel(p), static)))(flat)
    return jax.tree.map(lambda g: jnp.sqrt(g @ of_parameters @ g), slopes)
