"""Extraction of the first equation that a stepper solves."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.steppers import (
    AbstractStepper,
    HybridModel,
    ImplicitStepper,
    PerSample,
    StageEquation,
)


def first_stage(
    stepper: AbstractStepper,
    model: HybridModel,
    u: PyTree,
    t: jax.Array,
    dt: jax.Array,
    batch_ndim: int = 1,
) -> StageEquation:
    """The equation of the first stage of a step of one sample.

    - `u`: the sample's state; `batch_ndim`: batch axes of latent fields that samples do not share.

    **Raises:** `InputError` for a stepper without one.
    """
    if not isinstance(stepper, ImplicitStepper):
        raise InputError(
            f"explain: {type(stepper).__name__} is explicit and solves no equation; expected an "
            "implicit stepper, such as CrankNicolson"
        )
    latents = tuple(of_first_sample(model.latent(t + c * dt), batch_ndim) for c in stepper.nodes)
    memory = stepper.start(model, t, u, of_first_sample(model.latent(t), batch_ndim))
    return stepper.first_stage(model, t, dt, u, memory, latents)


def of_first_sample(latent: PyTree[Any], batch_ndim: int = 1) -> PyTree[Any]:
    """The latent fields of the first sample."""

    def first(x: Any) -> Any:
        return (
            jax.tree.map(lambda v: v[(0,) * batch_ndim], x.values)
            if isinstance(x, PerSample)
            else x
        )

    return jax.tree.map(first, latent, is_leaf=lambda x: isinstance(x, PerSample))


def one_sample(model: HybridModel, u0: PyTree | None) -> PyTree:
    """The first sample of the state; a field of zeros if none is given.

    **Raises:** `InputError` for a model without grid.
    """
    grid = getattr(model, "grid", None)
    if not isinstance(grid, Grid):
        raise InputError(
            f"explain: {type(model).__name__} has no grid; give the model a field `grid`, an "
            "impindiff.Grid"
        )
    if u0 is None:
        return jnp.zeros(grid.cells)

    def first(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        extra = leaf.ndim - grid.ndim
        return leaf[(0,) * extra] if extra > 0 and leaf.shape[extra:] == grid.cells else leaf

    return jax.tree.map(first, u0)
