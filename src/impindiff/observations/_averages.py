"""Observation operators for averages: over blocks of cells (voxels), and over the whole part."""

import math
from collections.abc import Sequence

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.observations.checks import leading_axes


class BlockAverages(eqx.Module):
    r"""Observation operator of means over blocks of cells: voxels coarser than the grid.

    $(H u)_j = |B_j|^{-1} \sum_{i \in B_j} u_i$, with the blocks $B_j$ in row-major order. Called on
    an array whose trailing axes are the grid's, it keeps the axes before them:
    `(..., *cells) -> (..., N)`.

    **Arguments:**

    - `cells`: the number of cells along each axis of the grid.
    - `block`: number of cells that a block spans along each axis.
    - `volumes`: of the cells where they differ, `grid.volumes`, broadcasting to `cells`: weights of
      the means.

    **Raises:** `InputError` if blocks do not tile the grid, and for an array of another grid.
    """

    cells: tuple[int, ...] = eqx.field(static=True)
    block: tuple[int, ...] = eqx.field(static=True)
    volumes: Float[Array | np.ndarray, "..."] | None

    def __init__(
        self,
        cells: tuple[int, ...],
        block: tuple[int, ...],
        volumes: Float[Array | np.ndarray, "..."] | None = None,
    ):
        if len(block) != len(cells) or any(
            b < 1 or n % b for n, b in zip(cells, block, strict=True)
        ):
            raise InputError(
                f"observations.block: blocks of {_by(block)} cells do not divide a grid of "
                f"{_by(cells)}; along each axis give a number that divides the cells"
            )
        self.cells, self.block, self.volumes = tuple(cells), tuple(block), volumes

    @property
    def shape(self) -> tuple[int, ...]:
        """The number of blocks along each axis."""
        return tuple(n // b for n, b in zip(self.cells, self.block, strict=True))

    @property
    def count(self) -> int:
        """$N$, the number of blocks."""
        return math.prod(self.shape)

    def __call__(self, u: Float[Array | np.ndarray, "..."]) -> Float[Array | np.ndarray, "..."]:
        """The means, `(..., *cells) -> (..., N)`."""
        leading = leading_axes("averages over blocks", self.cells, u.shape)
        pairs = [n for pair in zip(self.shape, self.block, strict=True) for n in pair]
        within = tuple(len(leading) + 1 + 2 * axis for axis in range(len(self.cells)))
        if self.volumes is not None:
            weights = np.broadcast_to(self.volumes, self.cells).reshape(pairs)
            of_block = weights.sum(
                axis=tuple(axis - len(leading) for axis in within), keepdims=True
            )
            # a block outside the grid's domain reads 0
            shares = (weights / np.where(of_block > 0, of_block, 1.0)).astype(u.dtype)
            whole = (u.reshape(*leading, *pairs) * shares).sum(axis=within)
            return whole.reshape(*leading, self.count)
        return u.reshape(*leading, *pairs).mean(axis=within).reshape(*leading, self.count)

    def positions(
        self, coordinates: Sequence[Float[np.ndarray, " _"]]
    ) -> Float[np.ndarray, "block dimension"]:
        """The centres of the blocks, given the cell centres along each axis: a row per block."""
        centres = [c.reshape(-1, b).mean(-1) for c, b in zip(coordinates, self.block, strict=True)]
        return np.stack(np.meshgrid(*centres, indexing="ij"), -1).reshape(self.count, -1)


class PartAverage(eqx.Module):
    r"""Observation operator $H u = V^{-1} \int u \, dV$, the mean over the part.

    Called on an array whose trailing axes are the grid's, it keeps the axes before them:
    `(..., *cells) -> (..., 1)`. A balance measures such a mean of the density.

    **Arguments:**

    - `cells`: the number of cells along each axis of the grid, all of one size.
    - `volumes`: of the cells where they differ, `grid.volumes`, broadcasting to `cells`.

    **Raises:** `InputError` for an array of another grid.
    """

    cells: tuple[int, ...] = eqx.field(static=True)
    volumes: Float[Array | np.ndarray, "..."] | None = None

    @property
    def count(self) -> int:
        """Number of values read per field, 1."""
        return 1

    def __call__(self, u: Float[Array | np.ndarray, "..."]) -> Float[Array | np.ndarray, "..."]:
        """The mean, `(..., *cells) -> (..., 1)`."""
        leading = leading_axes("an average over the part", self.cells, u.shape)
        if self.volumes is not None:
            whole = np.broadcast_to(self.volumes, self.cells)
            shares = whole / np.sum(whole)
            axes = tuple(range(len(leading), u.ndim))
            return (u * shares.astype(u.dtype)).sum(axis=axes)[..., None]
        return u.reshape(*leading, 1, math.prod(self.cells)).mean(axis=-1)


def _by(numbers: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in numbers)
