"""Checks of numbers given by a user, also when a program is traced."""

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

from impindiff.errors import InputError


def real_array(x: ArrayLike, dtype: DTypeLike | None, name: str) -> Array:
    """Convert real `x` to an array of that dtype, or its own. Raises `InputError` for others."""
    try:
        given = jnp.result_type(x) if isinstance(x, jax.Array | np.ndarray) else np.asarray(x).dtype
        if any(jnp.issubdtype(given, kind) for kind in (jnp.floating, jnp.integer, jnp.bool_)):
            return jnp.asarray(x, dtype)
    except (TypeError, ValueError):
        pass
    hint = "; call it for its value" if callable(x) else ""
    shown = repr(x).replace("\n", " ")
    raise InputError(f"{name}: expected real numbers, got {type(x).__name__} {shown[:60]}{hint}")


def extremes(x: ArrayLike) -> tuple[float, float]:
    """The smallest and the largest entry, both NaN if one is; (0, 0) where unknown.

    They are unknown while x is traced, or if a part of it lies in another process.
    """
    if isinstance(x, jax.core.Tracer) or not getattr(x, "is_fully_addressable", True):
        return 0.0, 0.0
    known = np.asarray(x, np.float64)
    if known.size == 0:
        return 0.0, 0.0
    low, high = float(known.min()), float(known.max())
    return (low, high) if np.isfinite(low) and np.isfinite(high) else (np.nan, np.nan)
