"""What the status of a step says of an equation that is not well-posed."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit import Outcome, Status
from impindiff.operators.well_posed import noting_ill_posed
from impindiff.steppers import HybridModel
from impindiff.steppers.mass import negative


def with_well_posedness(
    status: Status, model: HybridModel, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]
) -> Status:
    """The status, converged no more if the tendency at (t, u) has a negative
    diffusivity, or a component a negative mass.

    Each step of such an equation has an answer, and a solver finds it. It is worthless: it depends
    on the grid, the smallest scales growing fastest. Only the coefficients are evaluated again.
    """
    with noting_ill_posed() as flags:
        model.tendency(t, *jax.lax.stop_gradient((u, latent)))
    flags += negative(model, u)
    if not flags:
        return status
    ill_posed = status.converged & functools.reduce(jnp.logical_or, flags)
    return eqx.tree_at(
        lambda s: (s.converged, s.outcome),
        status,
        (
            status.converged & ~ill_posed,
            Outcome.where(ill_posed, Outcome.ill_posed, status.outcome),
        ),
    )
