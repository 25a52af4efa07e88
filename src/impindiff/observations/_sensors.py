"""Fixed sensors at randomly chosen cells."""

import math
from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int, Shaped

from impindiff.errors import InputError
from impindiff.observations.checks import leading_axes


class Sensors(eqx.Module):
    r"""Observation operator $H u = (u_{i_1}, \dots, u_{i_N})$ of $N$ distinct random cells.

    Called on an array whose trailing axes are the grid's, it returns the same leading axes and one
    last axis of $N$ values: `(..., *cells) -> (..., N)`. With `count=None` every cell is measured,
    in row-major order, so that a loss reads the same with and without sensors.

    **Arguments:**

    - `cells`: the number of cells along each axis of the grid.
    - `count`: number of cells measured; `None` for all of them.
    - `seed`: the same seed and cells always give the same sensors.

    **Raises:** `InputError` if `count` is below 1 or above the number of cells.
    """

    cells: tuple[int, ...] = eqx.field(static=True)
    indices: Int[np.ndarray, " sensor"] | None

    def __init__(self, cells: tuple[int, ...], count: int | None = None, seed: int = 0):
        total = math.prod(cells)
        self.cells = tuple(cells)
        if count is None:
            self.indices = None
            return
        if not 1 <= count <= total:
            shape = " x ".join(str(n) for n in cells)
            raise InputError(
                f"observations.sensors: {count} sensors asked for on a grid of {shape} = {total} "
                f"cells; give 1 to {total}, or null to observe every cell"
            )
        drawn = np.random.default_rng(seed).choice(total, size=count, replace=False)
        self.indices = np.sort(drawn).astype(np.int32)

    @property
    def count(self) -> int:
        """$N$, the number of cells measured."""
        return math.prod(self.cells) if self.indices is None else len(self.indices)

    def __call__(self, u: Shaped[Array | np.ndarray, "..."]) -> Shaped[Array | np.ndarray, "..."]:
        """The measured values, `(..., *cells) -> (..., N)`."""
        leading = leading_axes("sensors", self.cells, u.shape)
        flat = u.reshape(*leading, math.prod(self.cells))
        return flat if self.indices is None else flat[..., self.indices]

    def positions(
        self, coordinates: Sequence[Float[np.ndarray, " _"]]
    ) -> Float[np.ndarray, "sensor dimension"]:
        """Positions of the sensors, given the cell centres along each axis: a row per sensor."""
        indices = np.arange(self.count) if self.indices is None else np.asarray(self.indices)
        per_axis = np.unravel_index(indices, self.cells)
        return np.stack([c[i] for c, i in zip(coordinates, per_axis, strict=True)], axis=-1)
