"""The uniform Cartesian cell-centred grid."""

import math
from collections.abc import Sequence
from typing import SupportsFloat, SupportsIndex

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid.boundary import Boundaries, BoundaryLike, Periodic, normalise_boundary

# neither the volume of a cell nor a width to the power of -2 may overflow or vanish
_SHORTEST = 1e-100


class Grid(eqx.Module):
    """A uniform Cartesian grid in 1, 2 or 3 dimensions; unknowns live at cell centres.

    Axis i is divided into cells[i] cells of width h_i = (upper[i] - lower[i]) / cells[i], with
    centres x_k = lower[i] + (k + 1/2) h_i and faces lower[i] + k h_i. A field's trailing axes are
    the grid's, in the same order; its leading axes are a batch.

    **Arguments:**

    - `lower`, `upper`: the box's corners, one number per axis, in the user's unit of length.
    - `cells`: number of cells per axis, at least 2.
    - `boundary`: one entry per axis, a `Boundary` for both sides or a pair (lower, upper); default
      `Periodic` everywhere. It is stored as a pair per axis in `grid.boundary`, and is only a
      default: operators take `boundary=` for each variable.

    **Raises:** `InputError` if lengths disagree, there are more than 3 axes, an upper bound is not
    above its lower one, an axis has fewer than 2 cells, cells are narrower than 1e-100, wider than
    1e100 or below round-off of their coordinates, or a boundary entry is wrong.
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    cells: tuple[int, ...] = eqx.field(static=True)
    boundary: Boundaries

    def __init__(
        self,
        lower: Sequence[SupportsFloat],
        upper: Sequence[SupportsFloat],
        cells: Sequence[SupportsIndex],
        boundary: BoundaryLike | None = None,
    ):
        try:
            self.lower = tuple(float(x) for x in lower)
            self.upper = tuple(float(x) for x in upper)
            self.cells = tuple(n.__index__() for n in cells)
        except (TypeError, ValueError, AttributeError):
            raise InputError(
                "grid: lower and upper must be sequences of numbers and cells one of whole "
                f"numbers, got lower={lower!r}, upper={upper!r}, cells={cells!r}"
            ) from None
        ndim = len(self.cells)
        if not len(self.lower) == len(self.upper) == ndim or ndim not in (1, 2, 3):
            raise InputError(
                "grid: lower, upper and cells need the same length, 1, 2 or 3, "
                f"got {len(self.lower)}, {len(self.upper)} and {ndim}"
            )
        for axis, (low, high, n) in enumerate(zip(self.lower, self.upper, self.cells, strict=True)):
            if not (math.isfinite(low) and math.isfinite(high) and high > low):
                raise InputError(f"grid: axis {axis} needs lower < upper, got {low} and {high}")
            if n < 2:
                raise InputError(f"grid: axis {axis} needs at least 2 cells, got {n}")
            width = (high - low) / n
            if not _SHORTEST < width < 1 / _SHORTEST:
                raise InputError(
                    f"grid: axis {axis} from {low} to {high} has cells of width {width:.3g}; "
                    f"expected {_SHORTEST:g} to {1 / _SHORTEST:g}; choose another unit of length"
                )
            if width < 4 * math.ulp(max(abs(low), abs(high))):
                raise InputError(
                    f"grid: axis {axis} from {low} to {high} with {n} cells has centres that are "
                    f"the same number; shift the box to 0, or take fewer cells"
                )
        self.boundary = normalise_boundary(
            (Periodic(),) * ndim if boundary is None else boundary, ndim
        )

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.cells)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one field on the grid: the cells per axis."""
        return self.cells

    @property
    def size(self) -> int:
        """Number of cells."""
        return math.prod(self.cells)

    @property
    def spacing(self) -> tuple[float, ...]:
        """Cell width per axis."""
        sides = zip(self.lower, self.upper, self.cells, strict=True)
        return tuple((high - low) / n for low, high, n in sides)

    @property
    def cell_volume(self) -> float:
        """Length, area or volume of one cell: the weight of a cell in an integral."""
        return math.prod(self.spacing)

    @property
    def centers(self) -> Float[Array, "..."]:
        """Coordinates of the cell centres, (ndim, *cells), in JAX's default float."""
        axes = [self.axis_centers(axis) for axis in range(self.ndim)]
        return jnp.asarray(np.stack(np.meshgrid(*axes, indexing="ij")))

    @property
    def periodic(self) -> tuple[bool, ...]:
        """Flags of the periodic axes, by the grid's own boundary."""
        return tuple(isinstance(lower, Periodic) for lower, _ in self.boundary)

    def axis_centers(self, axis: int) -> Float[np.ndarray, " cells"]:
        """Coordinates of the cell centres along one axis, float64."""
        return self.lower[axis] + (np.arange(self.cells[axis]) + 0.5) * self.spacing[axis]

    def boundary_or_own(self, boundary: BoundaryLike | None) -> Boundaries:
        """Convert `boundary` to one (lower, upper) pair per axis; the grid's own if None."""
        return self.boundary if boundary is None else normalise_boundary(boundary, self.ndim)

    def check_field(self, u: Array | np.ndarray, name: str) -> None:
        """Raise `InputError` unless `u` is floating point and its trailing axes are the grid's."""
        if not hasattr(u, "shape") or not hasattr(u, "dtype"):
            raise InputError(
                f"{name}: expected an array with trailing axes {self.cells} (the grid's), got "
                f"{type(u).__name__}"
            )
        if u.shape[-self.ndim :] != self.cells:
            raise InputError(
                f"{name}: trailing axes must be the grid's {self.cells}, got shape {u.shape}"
            )
        if not jnp.issubdtype(u.dtype, jnp.floating):
            raise InputError(f"{name}: expected a floating-point array, got {u.dtype}")
