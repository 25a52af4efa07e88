"""Detection of ill-posed equations in the status of a step."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import jaxpr_as_fun
from jaxtyping import Array, Float, PyTree

from impindiff.implicit import Outcome, Status
from impindiff.operators.notes import noting
from impindiff.steppers import HybridModel
from impindiff.steppers.mass import negative


def with_well_posedness(
    status: Status, model: HybridModel, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]
) -> Status:
    """Mark a step as failed if its equation is ill-posed.

    This is so if the tendency at (t, u) has a negative diffusivity, or a component a negative mass.

    Each step of such an equation has a solution, which a solver finds. It is meaningless: it
    depends on the grid, since the smallest scales grow fastest. Only the coefficients are evaluated
    again.
    """

    # a separate program, which is dropped unless something may be ill-posed
    def flags_of_tendency():
        with noting("ill_posed") as found:
            model.tendency(t, *jax.lax.stop_gradient((u, latent)))
        return found["ill_posed"]

    program = jax.make_jaxpr(flags_of_tendency)()
    flags = negative(model, u)
    if program.out_avals:
        flags += jaxpr_as_fun(program)()
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
