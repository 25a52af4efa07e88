"""Samples of a batch: their axes, and sample-specific parts of the model."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from impindiff.errors import InputError
from impindiff.steppers import AbstractStepper, HybridModel, PerSample


def find_batch_ndim(model: HybridModel, u0: PyTree) -> int:
    """Number of batch axes of the state: its leading axes before those of `model.grid`.

    0 for a model without a grid.

    **Raises:** `InputError` for a state that does not fit the grid.
    """
    grid = getattr(model, "grid", None)
    if grid is None:
        return 0
    found: dict[int, str] = {}
    for path, leaf in jax.tree_util.tree_flatten_with_path(u0)[0]:
        name = "u0" + jax.tree_util.keystr(path)
        if leaf.shape[leaf.ndim - grid.ndim :] != tuple(grid.shape) or leaf.ndim < grid.ndim:
            raise InputError(
                f"rollout: {name} has shape {leaf.shape}; expected trailing axes {grid.shape}, the "
                "cells of model.grid (pass batch_ndim if some part of the state is not on the grid)"
            )
        found[leaf.ndim - grid.ndim] = name
    if len(found) > 1:
        raise InputError(
            "rollout: the parts of u0 have different numbers of batch axes: "
            + ", ".join(f"{name} has {count}" for count, name in found.items())
        )
    return next(iter(found))


def over_batch(
    function: Callable[..., Any], batch_ndim: int, in_axes: tuple[Any, ...]
) -> Callable[..., Any]:
    """Map a function of one sample over the leading axes of those arguments that have them."""
    for _ in range(batch_ndim):
        function = jax.vmap(function, in_axes)
    return function


def sample_indices(u0: PyTree, batch_ndim: int) -> Int[Array, "*batch axes"]:
    """Index of each sample along every batch axis."""
    batch = jax.tree.leaves(u0)[0].shape[:batch_ndim]
    return jnp.moveaxis(jnp.indices(batch), 0, -1)


def _is_per_sample(leaf: Any) -> bool:
    return isinstance(leaf, PerSample)


def sample_axes(latent: PyTree[Any]) -> PyTree[int | None]:
    """Axes for `jax.vmap` over the samples of a batch: axis 0 of `PerSample` values."""
    return jax.tree.map(
        lambda leaf: 0 if _is_per_sample(leaf) else None, latent, is_leaf=_is_per_sample
    )


def of_sample(latent: PyTree[Any], index: Int[Array, " axes"] | None = None) -> PyTree[Any]:
    """The latent as passed to the `tendency` of a sample.

    - `index`: the sample's index along every batch axis; None if `jax.vmap` has already selected it
      (see `sample_axes`).
    """

    def chosen(leaf):
        if not _is_per_sample(leaf):
            return leaf
        if index is None:
            return leaf.values
        place = tuple(index)
        # NumPy's own arrays, such as conditions of the data, take no traced index
        return jax.tree.map(lambda all: jnp.asarray(all)[place], leaf.values)

    return jax.tree.map(chosen, latent, is_leaf=_is_per_sample)


def started(
    stepper: AbstractStepper,
    model: HybridModel,
    t: Array,
    u0: PyTree,
    latent: PyTree,
    batch_ndim: int,
) -> PyTree:
    """The stepper's initial memory for every sample."""

    def start(u0, latent):
        return stepper.start(model, t, u0, of_sample(latent))

    return over_batch(start, batch_ndim, (0, sample_axes(latent)))(u0, latent)
