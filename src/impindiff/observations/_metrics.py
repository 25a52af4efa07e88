"""Error metrics of fields."""

import numpy as np
from jaxtyping import Float


def relative_l1_percent(
    found: Float[np.ndarray, "..."],
    truth: Float[np.ndarray, "..."],
    *,
    space_axes: int,
    volumes: Float[np.ndarray, "*space"] | None = None,
) -> Float[np.ndarray, "..."]:
    r"""Relative L1 error: $100 \sum V |u - u_\mathrm{true}| / \sum V |u_\mathrm{true}|$ over cells.

    **Arguments:**

    - `found`, `truth`: one field, or many along leading axes; NaN in `truth` (unknown) is left out.
    - `space_axes`: number of trailing axes that are spatial.
    - `volumes`: V of each cell, up to a factor; None if all are alike. Broadcasts from the right.

    **Returns:** one percentage per field (the leading axes), not finite where the truth is zero.
    """
    axes = tuple(range(-space_axes, 0))
    unknown = np.isnan(truth)
    with np.errstate(divide="ignore", invalid="ignore"):
        weights = np.where(unknown, 0.0, 1.0 if volumes is None else volumes)
        off = np.where(unknown, 0.0, weights * np.abs(found - truth)).sum(axis=axes)
        ratio = off / np.where(unknown, 0.0, weights * np.abs(truth)).sum(axis=axes)
    return np.asarray(100.0 * ratio)
