"""The batching rule of a primitive whose parameters are functions of its operands."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def axis_first(
    axis: Any, values: Sequence[Any], dims: Sequence[int | None], count: int
) -> tuple[list[Any], list[int | None]]:
    """The values with their batch axis first, and that axis of each, 0 or None.

    - `axis`: JAX's data of the batch axis.
    - `count`: the first values, which are repeated along the axis if they have none.
    """
    moved, axes = [], []
    for i, (x, dim) in enumerate(zip(values, dims, strict=True)):
        if dim is not None:
            x = jnp.moveaxis(x, dim, 0)
        elif i < count:
            x = jnp.broadcast_to(x, (axis.size, *x.shape))
        moved.append(x)
        axes.append(None if dim is None and i >= count else 0)
    return moved, axes


def over_axis(axis: Any, function: Callable[..., Any], in_axes: Any) -> Callable[..., Any]:
    """Apply `jax.vmap` over that axis."""
    return jax.vmap(
        function,
        in_axes=in_axes,
        axis_size=axis.size,
        axis_name=axis.name,
        spmd_axis_name=axis.spmd_name,
    )
