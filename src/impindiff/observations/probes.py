"""Fixed probes, such as thermocouples: a field at places between the cell centres."""

import math

import equinox as eqx
import numpy as np
from jaxtyping import Array, Float, Int

from impindiff.errors import InputError
from impindiff.observations.checks import leading_axes
from impindiff.observations.interpolation import linear_in_space

# Positions computed from bounds may leave the part by rounding alone.
_OUTSIDE = 1e-9


class Probes(eqx.Module):
    r"""The measuring operator $H u = (u(x_1), \dots, u(x_N))$ of $N$ probes at fixed places.

    Between cell centres the field is interpolated linearly along each axis, so exactly where it is
    multilinear; beyond the outermost centres, half a cell from the surface, it is continued as a
    constant. Called on an array whose trailing axes are the grid's, it keeps the axes before them:
    `(..., *cells) -> (..., N)`.

    **Arguments:**

    - `lower`, `upper`: the corners of the part.
    - `cells`: the number of cells along each axis, all of one size.
    - `positions`: $x$, a row per probe, (N, dimensions), in the unit of the corners.

    **Raises:** `InputError` for a probe outside the part, for bounds or positions of another
    number of dimensions than the grid's, and for an array of another grid.
    """

    cells: tuple[int, ...] = eqx.field(static=True)
    positions: Float[np.ndarray, "probe dimension"]
    _neighbours: Int[np.ndarray, "probe corner"]
    _weights: Float[np.ndarray, "probe corner"]

    def __init__(
        self,
        lower: tuple[float, ...],
        upper: tuple[float, ...],
        cells: tuple[int, ...],
        positions: Float[np.ndarray, "..."],
    ):
        dimensions = len(cells)
        if (
            (len(lower), len(upper)) != (dimensions, dimensions)
            or positions.ndim != 2
            or positions.shape[1] != dimensions
            or len(positions) == 0
        ):
            raise InputError(
                f"observations.probes: positions of shape {positions.shape} in a part from {lower} "
                f"to {upper} with {cells} cells; expected shape (N, {dimensions}) with N at least "
                f"1, and {dimensions} number(s) in each corner"
            )
        low, high = np.asarray(lower, float), np.asarray(upper, float)
        if not (low < high).all():
            raise InputError(
                f"observations.probes: the part reaches from {lower} to {upper}; every lower bound "
                f"must be below its upper bound"
            )
        scaled = (positions - low) / (high - low)
        inside = ((scaled >= -_OUTSIDE) & (scaled <= 1 + _OUTSIDE)).all(axis=1)
        if not inside.all():
            probe = int(np.argmin(inside))
            raise InputError(
                f"observations.probes: probe {probe} is at {_point(positions[probe])}, outside the "
                f"part from {_point(low)} to {_point(high)}; move it inside or leave it out"
            )
        self.cells = tuple(cells)
        self.positions = positions
        self._neighbours, self._weights = linear_in_space(scaled, self.cells)

    @property
    def count(self) -> int:
        """$N$, the number of probes."""
        return len(self.positions)

    def __call__(self, u: Float[Array | np.ndarray, "..."]) -> Float[Array | np.ndarray, "..."]:
        """The values at the probes, `(..., *cells) -> (..., N)`."""
        leading = leading_axes("probes", self.cells, u.shape)
        near = u.reshape(*leading, math.prod(self.cells))[..., self._neighbours]
        return (near * self._weights.astype(u.dtype)).sum(axis=-1)


def _point(position: Float[np.ndarray, " dimension"]) -> str:
    return "(" + ", ".join(f"{x:g}" for x in position) + ")"
