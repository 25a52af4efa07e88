"""Measurement noise, added to data and never to a model."""

import numpy as np
from jaxtyping import Float

from impindiff.errors import InputError


def add_noise(
    values: Float[np.ndarray, "..."], level: float, seed: int, *, space_axes: int | None = None
) -> Float[np.ndarray, "..."]:
    r"""Add Gaussian noise proportional to the field: $u + s\,\sigma(u)\,\xi$, $\xi \sim N(0, 1)$.

    $\sigma(u)$ is the standard deviation of a noise-free field over space. Add the noise before
    sensors choose cells, since the whole field determines it.

    **Arguments:**

    - `values`: one field, or many along leading axes.
    - `level`: $s \ge 0$; 0 returns the values unchanged.
    - `seed`: the same seed gives the same noise.
    - `space_axes`: number of trailing axes that are spatial, each field before them having its own
      $\sigma$; `None` takes all axes as one field.

    **Raises:** `InputError` for a level that is negative or not finite.
    """
    if not (np.isfinite(level) and level >= 0):
        raise InputError(
            f"observations.noise: must be 0 or more, a fraction of the field's standard "
            f"deviation, not {level}"
        )
    if level == 0:
        return values
    axes = tuple(range(-(values.ndim if space_axes is None else space_axes), 0))
    deviation = np.std(values, axis=axes, keepdims=True)
    noise = np.random.default_rng(seed).standard_normal(values.shape)
    return (values + level * deviation * noise).astype(values.dtype)
