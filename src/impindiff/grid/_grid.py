"""The cell-centred grid: uniform or stretched axes, Cartesian or radial coordinates."""

import math
from collections.abc import Sequence
from typing import Any, SupportsFloat, SupportsIndex

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from impindiff.errors import InputError
from impindiff.grid.boundary import (
    Boundaries,
    Boundary,
    BoundaryLike,
    Neumann,
    Periodic,
    Wall,
    normalise_boundary,
)
from impindiff.grid.domain import Domain, DomainLike, domain_of
from impindiff.grid.edges import SHORTEST, are_uniform, checked_edges

# axes of each kind of coordinates; Cartesian ones have no names of their own
_RADIAL_AXES = {"cylindrical": ("r", "z"), "spherical": ("r",)}


class Grid(eqx.Module):
    """A grid in 1, 2 or 3 dimensions, on the product of its axes; unknowns live at cell centres.

    Axis i is divided into cells[i] cells of width h_i = (upper[i] - lower[i]) / cells[i], with
    centres x_k = lower[i] + (k + 1/2) h_i and faces lower[i] + k h_i; `Grid.from_edges` stretches
    axes: faces are where they are given, centres midway. A field's trailing axes are the grid's, in
    the same order; its leading axes are a batch.

    In radial coordinates operators use the true areas of faces and volumes of cells. Fields depend
    on the grid's axes only, so vectors have a component for each: v_r, or v_r and v_z. Where r
    starts at 0, that is no boundary (see `Axis`); from a radius above 0, as around a well or in an
    annulus, it is an inner boundary.

    **Arguments:**

    - `lower`, `upper`: the box's corners, one number per axis, in the user's unit of length.
    - `cells`: number of cells per axis, at least 2.
    - `boundary`: one entry per axis, a `Boundary` for both sides or a pair (lower, upper); default
      `Periodic` everywhere. It is stored as a pair per axis in `grid.boundary`, and is only a
      default: operators take `boundary=` for each variable. Along r from 0, one condition is that
      of the outer side; r cannot be periodic.
    - `coordinates`: "cartesian"; "cylindrical", axes r or (r, z); or "spherical", axis r.
    - `edges`: the cell edges of stretched axes and None for others; see `from_edges`.
    - `domain`: the part of the box that is calculated, where that is not all of it: an array of
      booleans (*cells), True inside; the path of an image for two axes, whose light pixels are
      inside and whose top row is at the upper end of the second axis; or a function of the
      coordinates, one array for each axis, that returns a signed distance, NEGATIVE INSIDE, or
      anything with its zeros and signs. The first two make whole cells; a function cuts cells, and
      its parameters may be traced: fractions are differentiable. Cells of which less than 1e-4 is
      inside are closed.
    - `embedded`: the condition on the domain's boundary inside the box, `Dirichlet`, `Neumann` or
      `Robin`, n pointing out of the domain; default `Neumann()`. An array of values has one for
      each cell, (*cells), read at `embedded_points`. It is only a default, as `boundary` is.

    Cells outside the domain keep their value and act on no other.

    **Raises:** `InputError` if lengths disagree, there are more than 3 axes, an upper bound is not
    above its lower one, an axis has fewer than 2 cells, cells are narrower than 1e-100, wider than
    1e100 or below round-off of their coordinates, a boundary entry is wrong, or coordinates have
    other axes or a negative radius, or a domain or its condition is wrong.
    """

    lower: tuple[float, ...] = eqx.field(static=True)
    upper: tuple[float, ...] = eqx.field(static=True)
    cells: tuple[int, ...] = eqx.field(static=True)
    boundary: Boundaries
    coordinates: str = eqx.field(static=True)
    edges: tuple[tuple[float, ...] | None, ...] = eqx.field(static=True)
    domain: Domain | None
    embedded: Wall | None

    def __init__(
        self,
        lower: Sequence[SupportsFloat],
        upper: Sequence[SupportsFloat],
        cells: Sequence[SupportsIndex],
        boundary: BoundaryLike | None = None,
        coordinates: str = "cartesian",
        edges: Sequence[ArrayLike | Sequence[float] | None] | None = None,
        domain: DomainLike | None = None,
        embedded: Boundary | None = None,
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
            if not SHORTEST < width < 1 / SHORTEST:
                raise InputError(
                    f"grid: axis {axis} from {low} to {high} has cells of width {width:.3g}; "
                    f"expected {SHORTEST:g} to {1 / SHORTEST:g}; choose another unit of length"
                )
            if width < 4 * math.ulp(max(abs(low), abs(high))):
                raise InputError(
                    f"grid: axis {axis} from {low} to {high} with {n} cells has centres that are "
                    f"the same number; shift the box to 0, or take fewer cells"
                )
        self.edges = self._stretched(edges)
        self.coordinates = coordinates
        self._check_coordinates(boundary)
        self.boundary = self._normalised((Periodic(),) * ndim if boundary is None else boundary)
        self.embedded = None if domain is None else self._checked_embedded(embedded)
        if domain is None:
            self.domain = None
            if embedded is not None:
                raise InputError(
                    "grid: embedded is a condition on a domain's boundary; give domain="
                )
        else:
            axes = range(ndim)
            edges_of, centers_of = map(self.axis_edges, axes), map(self.axis_centers, axes)
            self.domain = domain_of(domain, [*edges_of], [*centers_of], self.periodic)

    @classmethod
    def from_edges(
        cls,
        edges: Sequence[ArrayLike | Sequence[float]],
        boundary: BoundaryLike | None = None,
        coordinates: str = "cartesian",
        domain: DomainLike | None = None,
        embedded: Boundary | None = None,
    ) -> "Grid":
        """A grid whose cells lie between given edges, such as those of a stretched axis.

            r = ipd.grid.geometric(0.1, 100.0, 60)      # log axis around a well
            z = ipd.grid.tanh(0.0, 10.0, 32)            # fine near both ends
            grid = ipd.Grid.from_edges((r, z), boundary, coordinates="cylindrical")

        An axis whose widths are equal to round-off, such as `np.linspace(0.0, 1.0, 33)`, is
        uniform. Operators are of second order where widths change smoothly from cell to cell; by
        more than a factor of about 1.3 they lose accuracy, and always keep conservation.

        **Arguments:**

        - `edges`: for each axis the edges of its cells, increasing, (cells + 1,).
        - `boundary`, `coordinates`, `domain`, `embedded`: as for `Grid`.

        **Raises:** `InputError` for edges that do not increase, and as `Grid`.
        """
        if not isinstance(edges, Sequence):
            raise InputError(
                "grid: edges must be a sequence with one row of numbers per axis, got "
                f"{type(edges).__name__}; write Grid.from_edges((x_edges,))"
            )
        given = [checked_edges(entry, axis) for axis, entry in enumerate(edges)]
        lower, upper = [entry[0] for entry in given], [entry[-1] for entry in given]
        cells = [len(entry) - 1 for entry in given]
        return cls(lower, upper, cells, boundary, coordinates, given, domain, embedded)

    def _stretched(
        self, edges: Sequence[ArrayLike | Sequence[float] | None] | None
    ) -> tuple[tuple[float, ...] | None, ...]:
        """Edges of stretched axes, None for uniform ones."""
        if edges is None:
            return (None,) * self.ndim
        if len(edges) != self.ndim:
            raise InputError(
                f"grid: edges need {self.ndim} entries, one per axis, got {len(edges)}"
            )
        found = []
        for axis, entry in enumerate(edges):
            given = None if entry is None else checked_edges(entry, axis)
            if given is not None:
                expected = (self.lower[axis], self.upper[axis], self.cells[axis])
                if (given[0], given[-1], len(given) - 1) != expected:
                    raise InputError(
                        f"grid: edges of axis {axis} are {len(given) - 1} cells from {given[0]:g} "
                        f"to {given[-1]:g}, but lower, upper and cells say {expected[2]} from "
                        f"{expected[0]:g} to {expected[1]:g}; write Grid.from_edges(edges)"
                    )
            found.append(None if given is None or are_uniform(given) else given)
        return tuple(found)

    def _check_coordinates(self, boundary: BoundaryLike | None) -> None:
        if self.coordinates == "cartesian":
            return
        if self.coordinates not in _RADIAL_AXES:
            raise InputError(
                "grid: coordinates must be 'cartesian', 'cylindrical' or 'spherical', got "
                f"{self.coordinates!r}"
            )
        names = _RADIAL_AXES[self.coordinates]
        if self.ndim > len(names):
            forms = " or ".join(f"({', '.join(names[: i + 1])})" for i in range(len(names)))
            raise InputError(
                f"grid: {self.coordinates} coordinates have the axes {forms}, got {self.ndim} axes;"
                " a field that varies with an angle needs Cartesian ones"
            )
        if self.lower[0] < 0:
            raise InputError(
                f"grid: {self.coordinates} coordinates start at r >= 0, got {self.lower[0]:g}"
            )
        if boundary is None:
            raise InputError(
                f"grid: {self.coordinates} coordinates need boundary=, since r is not periodic: "
                "one entry per axis, such as Dirichlet(0.0)"
            )

    def _normalised(self, boundary: BoundaryLike) -> Boundaries:
        pairs = normalise_boundary(boundary, self.ndim, self.starts_at_axis)
        if self.coordinates != "cartesian" and isinstance(pairs[0][0], Periodic):
            raise InputError(
                f"boundary of axis 0: r of {self.coordinates} coordinates cannot be Periodic; give "
                "Dirichlet, Neumann or Robin"
            )
        return pairs

    @staticmethod
    def _checked_embedded(given: Boundary | None) -> Wall:
        if given is None:
            return Neumann()
        if not isinstance(given, Wall):
            raise InputError(
                "grid: embedded must be Dirichlet, Neumann or Robin, the condition on the domain's "
                f"boundary, got {given!r}"
            )
        return given

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
        """Cell width per axis. Raises `InputError` on a stretched axis, which has no single one."""
        for axis, edges in enumerate(self.edges):
            if edges is not None:
                raise InputError(
                    f"grid.spacing: axis {axis} is stretched, its cells differ in width; take "
                    f"np.diff(grid.axis_edges({axis})), or a grid without edges"
                )
        sides = zip(self.lower, self.upper, self.cells, strict=True)
        return tuple((high - low) / n for low, high, n in sides)

    @property
    def cell_volume(self) -> float:
        """Length, area or volume of one cell: the weight of a cell in an integral.

        **Raises:** `InputError` where cells differ: on a stretched axis, in radial coordinates
        or with a domain, for which `volumes` has one number per cell.
        """
        if not self.is_box:
            raise InputError(
                f"grid.cell_volume: cells differ in volume ({self.kind}); take grid.volumes"
            )
        return math.prod(self.spacing)

    @property
    def volumes(self) -> Float[Array | np.ndarray, "..."]:
        """Volume of every cell, (*cells), float64: weights of integrals over the domain.

        With a `domain` it is the part of the volume that is inside, 0 in cells outside; a JAX array
        where the domain depends on traced parameters.

        Lengths, areas or volumes in Cartesian coordinates. A cell is a whole shell in radial ones,
        of volume 4/3 pi (r_+^3 - r_-^3) in spherical coordinates and pi (r_+^2 - r_-^2) times its
        height in cylindrical ones, or times a unit height with r alone.
        """
        around = {"cartesian": 1.0, "cylindrical": 2 * np.pi, "spherical": 4 * np.pi}
        product = np.full((1,) * self.ndim, around[self.coordinates])
        for axis in range(self.ndim):
            along = [1] * self.ndim
            along[axis] = -1
            product = product * self.axis_volumes(axis).reshape(along)
        return product if self.domain is None else product * self.domain.volumes

    @property
    def kind(self) -> str:
        """Coordinates and stretched axes in words, such as "cylindrical, axis 0 stretched"."""
        stretched = [str(axis) for axis, edges in enumerate(self.edges) if edges is not None]
        words = [self.coordinates]
        if stretched:
            words.append(
                f"ax{'i' if len(stretched) == 1 else 'e'}s {' and '.join(stretched)} stretched"
            )
        if self.domain is not None:
            words.append("part of the box")
        return ", ".join(words)

    @property
    def axis_names(self) -> tuple[str, ...]:
        """Names of the axes: x, y and z, or r and z; data count them as x, y and z."""
        return _RADIAL_AXES.get(self.coordinates, ("x", "y", "z"))[: self.ndim]

    @property
    def is_box(self) -> bool:
        """True for a uniform Cartesian grid, whose cells are all alike, and all inside."""
        alike = self.coordinates == "cartesian" and all(edges is None for edges in self.edges)
        return alike and self.domain is None

    @property
    def starts_at_axis(self) -> bool:
        """True where the first axis is a radius from r = 0, which is no boundary."""
        return self.coordinates != "cartesian" and self.lower[0] == 0

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
        edges = self.edges[axis]
        if edges is None:
            width = (self.upper[axis] - self.lower[axis]) / self.cells[axis]
            return self.lower[axis] + (np.arange(self.cells[axis]) + 0.5) * width
        at = np.asarray(edges)
        return 0.5 * (at[1:] + at[:-1])

    def axis_edges(self, axis: int) -> Float[np.ndarray, " edges"]:
        """Coordinates of the cell edges along one axis, (cells + 1,), float64."""
        edges = self.edges[axis]
        if edges is None:
            return np.linspace(self.lower[axis], self.upper[axis], self.cells[axis] + 1)
        return np.asarray(edges)

    def axis_volumes(self, axis: int) -> Float[np.ndarray, " cells"]:
        """Volume of cells along one axis, per angle: the integral of 1, r or r^2 over each."""
        edges = self.axis_edges(axis)
        low, high = edges[:-1], edges[1:]
        power = self._radial_power(axis)
        if power == 0:
            return high - low
        # factored, since differences of powers lose digits in narrow cells
        squares = low + high if power == 1 else low**2 + low * high + high**2
        return (high - low) * squares / (power + 1)

    def axis_areas(self, axis: int) -> Float[np.ndarray, " edges"]:
        """Area of faces across one axis, per angle and per extent of other axes: 1, r or r^2."""
        return self.axis_edges(axis) ** self._radial_power(axis)

    def _radial_power(self, axis: int) -> int:
        powers = {"cartesian": 0, "cylindrical": 1, "spherical": 2}
        return powers[self.coordinates] if axis == 0 else 0

    @property
    def inside(self) -> Bool[Array | np.ndarray, "*cells"]:
        """Cells that are in the domain, at least in part."""
        if self.domain is None:
            return np.ones(self.cells, bool)
        return self.domain.inside

    @property
    def embedded_points(self) -> Float[Array | np.ndarray, "..."]:
        """The point of the domain's boundary closest to each cell's centre, (ndim, *cells).

        Values of a condition that depend on the place are read there, and count in cells next to
        the boundary: `Dirichlet(g(*grid.embedded_points))`. A mask's are the centres themselves.

        **Raises:** `InputError` without a domain.
        """
        if self.domain is None:
            raise InputError("grid.embedded_points: the grid has no domain")
        axes = [self.axis_centers(axis) for axis in range(self.ndim)]
        centers = np.stack(np.meshgrid(*axes, indexing="ij"))
        if self.domain.staircase:
            return centers
        d: Any = self.domain.distance
        xp: Any = np if isinstance(d, np.ndarray) else jnp
        slopes = xp.stack([xp.gradient(d, at, axis=i) for i, at in enumerate(axes)])
        return centers - d * slopes / xp.sqrt(xp.maximum(xp.sum(slopes**2, 0), 1e-12))

    def embedded_or_own(self, embedded: Boundary | None) -> Wall | None:
        """The condition on the domain's boundary; the grid's own if None."""
        if embedded is None:
            return self.embedded
        if self.domain is None:
            raise InputError(
                "embedded: a condition on a domain's boundary, but the grid has no domain"
            )
        return self._checked_embedded(embedded)

    def boundary_or_own(self, boundary: BoundaryLike | None) -> Boundaries:
        """Convert `boundary` to one (lower, upper) pair per axis; the grid's own if None."""
        return self.boundary if boundary is None else self._normalised(boundary)

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
