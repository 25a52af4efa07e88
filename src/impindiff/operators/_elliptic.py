"""Reaction, diffusion and drift in flux form, as multigrid needs them."""

import dataclasses
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float

from impindiff.errors import InputError
from impindiff.grid import (
    Boundaries,
    BoundaryLike,
    Grid,
    Periodic,
    ghosts_of_layers,
    homogeneous,
)
from impindiff.grid.boundary import Boundary
from impindiff.grid.geometry import (
    AtFaces,
    cells_vary_in_shape,
    distances,
    inflow_factors,
    relative_volumes,
    typical_spacing,
)
from impindiff.grid.given import real_array
from impindiff.operators._diffusion import face_coefficients
from impindiff.operators._embedded import diffusion_through
from impindiff.operators._faces import (
    Faces,
    difference,
    layer,
    lower_faces,
    neighbours,
    on_lower_side,
    on_upper_side,
    over,
    upper_faces,
)
from impindiff.operators.given import given_field
from impindiff.operators.inflow import TwoPoint, inflow_of, inflow_product


class Elliptic(eqx.Module):
    r"""Elliptic operator $A u = r u - \nabla \cdot (D \nabla u) + \nabla \cdot (v u)$.

    Boundary values are 0. It is the matrix of an implicit step of diffusion, advection and decay,
    or of a quasi-steady balance: the flux from a cell to the next one is k (u - u_next) + w (u +
    u_next). Without drift w it is symmetric; for r >= 0 and k >= |w| it is an M-matrix. It acts on
    one sample, without batch axes; use `jax.vmap` for several.

    - `faces`: per axis the conductances k between the two cells at each face, D / h^2; on a wall
      that between the cell and the wall's value, 2 D / h^2 for Dirichlet, D / h^2 2 a h / (2 b + a
      h) for Robin, 0 for Neumann.
    - `reaction`: r in each cell.
    - `spacing`: cell width per axis; `periodic`: flags of periodic axes.
    - `drift`: w in the same places, v / (2 h) for a velocity v; None without drift.
    - `volumes`: of cells over the largest, where they differ, on stretched axes and in radial
      coordinates; else None. Conductances, drift and reaction are then those of whole cells and
      faces, i.e. times volumes, and A is their operator (`per_cell`, symmetric without drift)
      divided by volumes.
    - `lines`: cells vary in shape over the grid, so that no axis has the stronger couplings
      everywhere: multigrid smooths along lines.
    - `isolated`: some cells can be without neighbours, outside a domain. Their volume is as good as
      0, and their row is that of the reaction, or u itself where that is 0.

    Built by `Elliptic.of`, or from any matrix of that pattern by `star_of`.
    """

    faces: tuple[Faces, ...]
    reaction: Float[Array, "*cells"]
    spacing: tuple[float, ...] = eqx.field(static=True)
    periodic: tuple[bool, ...] = eqx.field(static=True)
    drift: tuple[Faces, ...] | None = None
    volumes: Float[Array, "..."] | None = None
    lines: bool = eqx.field(static=True, default=False)
    isolated: bool = eqx.field(static=True, default=False)

    @classmethod
    def of(
        cls,
        coefficient: ArrayLike | Sequence[ArrayLike],
        reaction: ArrayLike,
        grid: Grid,
        *,
        averaging: str = "harmonic",
        boundary: BoundaryLike | None = None,
        embedded: Boundary | None = None,
    ) -> "Elliptic":
        """Build the operator u -> reaction u - diffusion(u, coefficient, grid), boundary values 0.

        An implicit step of u_t = div(D grad u), of weight w (see `StageEquation`), has the matrix
        `Elliptic.of(w * D, 1.0, grid)`.

        **Arguments:**

        - `coefficient`: D >= 0, a number or an array (*cells); or a sequence with one of these per
          axis.
        - `reaction`: r >= 0, a number or an array (*cells).
        - `averaging`, `boundary`, `embedded`: as for `diffusion`; equal ones give the same one,
          whatever the values of boundary conditions.

        **Raises:** `InputError` on shapes that do not fit the grid, on batch axes, and as
        `diffusion`.
        """
        boundaries = homogeneous(grid.boundary_or_own(boundary))
        per_axis = coefficient if isinstance(coefficient, Sequence) else (coefficient,)
        given = (
            real_array(reaction, None, "reaction"),
            *(real_array(x, None, "coefficient") for x in per_axis),
        )
        dtype = jnp.result_type(1.0, *given)
        r = given_field(reaction, grid, 0, dtype, "reaction")
        for name, x in (("reaction", r), *(("coefficient", x) for x in per_axis)):
            if jnp.ndim(x) > grid.ndim:
                raise InputError(
                    f"{name}: an Elliptic is one sample's, expected shape {grid.cells}, got "
                    f"{jnp.shape(x)}; jax.vmap what builds it over the samples"
                )
        wall = grid.embedded_or_own(embedded)
        if wall is not None:
            wall = dataclasses.replace(wall, value=0.0)
        on_faces = face_coefficients(coefficient, grid, averaging, boundaries, dtype, wall)
        ones = jnp.ones(grid.cells, dtype)
        volumes = relative_volumes(grid, dtype)
        if wall is not None:
            # outside, the equation is u = 0 where there is no reaction
            r = jnp.where(jnp.asarray(grid.inside) | (r != 0), r, 1.0)
        if volumes is not None:
            r = r * volumes
        through = diffusion_through(coefficient, grid, averaging, wall, boundaries, None, dtype)
        if through is not None:
            r = r - through.per_unit
        return cls(
            faces=tuple(
                _conductances(D, ones, grid, axis, boundaries) for axis, D in enumerate(on_faces)
            ),
            reaction=jnp.broadcast_to(r, grid.cells),
            spacing=typical_spacing(grid),
            periodic=tuple(isinstance(lower, Periodic) for lower, _ in boundaries),
            volumes=None if volumes is None else jnp.asarray(volumes),
            lines=cells_vary_in_shape(grid),
            isolated=wall is not None,
        )

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the fields it applies to."""
        return self.reaction.shape

    def per_cell(self) -> "Elliptic":
        """The operator whose rows are not divided by volumes: itself where cells are alike."""
        return self if self.volumes is None else dataclasses.replace(self, volumes=None)

    def outflows(self, axis: int) -> tuple[Faces, Faces]:
        """Fluxes per unit value: up from the cell below a face, down from the one above."""
        if self.drift is None:
            return self.faces[axis], self.faces[axis]
        up = jax.tree.map(jnp.add, self.faces[axis], self.drift[axis])
        return up, jax.tree.map(jnp.subtract, self.faces[axis], self.drift[axis])

    def __call__(self, u: Float[Array, "*cells"]) -> Float[Array, "*cells"]:
        """Apply A to u."""
        fluxes, walls = [], []
        for axis, k in enumerate(self.faces):
            w = None if self.drift is None else self.drift[axis]
            if not self.periodic[axis]:
                up, down = self.outflows(axis)
                n = self.shape[axis]
                through = on_lower_side(down.lower, axis, n) + on_upper_side(up.upper, axis, n)
                walls.append(-through)
                k, w = _closed(k), None if w is None else _closed(w)
            v = None if w is None else jax.tree.map(lambda w: 2 * w, w)
            fluxes.append(TwoPoint(v, k))
        total = self.reaction * u - inflow_product(inflow_of(fluxes, walls), u, self.periodic)
        return total if self.volumes is None else total / self.volumes

    def main_diagonal(self) -> Float[Array, "*cells"]:
        """Diagonal entries A_ii: reaction and all outflow of a cell."""
        total = self.reaction
        for axis in range(len(self.faces)):
            up, down = self.outflows(axis)
            total += upper_faces(up.inner, up.upper, axis)
            total += lower_faces(down.inner, down.lower, axis)
        return total if self.volumes is None else total / self.volumes

    def has_neighbours(self) -> Bool[Array, "*cells"]:
        """Cells that are coupled with another one."""
        total = jnp.zeros_like(self.reaction)
        for axis in range(len(self.faces)):
            up, down = (jax.tree.map(jnp.abs, x) for x in self.outflows(axis))
            if not self.periodic[axis]:
                up, down = _closed(up), _closed(down)
            total += upper_faces(up.inner + down.inner, up.upper + down.upper, axis)
            total += lower_faces(up.inner + down.inner, up.lower + down.lower, axis)
        return total > 0

    def transposed(self) -> "Elliptic":
        """The transpose A^T: the drift reversed, and its change of the diagonal added to r.

        Where cells differ in volume, columns are divided by it instead of rows: a drift towards
        larger cells.
        """
        if self.volumes is not None:
            return self.per_cell().transposed()._of_densities(self.volumes)
        if self.drift is None:
            return self
        reaction, turned = self.reaction, []
        for axis, drift in enumerate(self.drift):
            reaction = reaction + difference(drift, axis, 0.5)
            turned.append(jax.tree.map(jnp.negative, drift))
        return dataclasses.replace(self, reaction=reaction, drift=tuple(turned))

    def _of_densities(self, volumes: Array) -> "Elliptic":
        """The operator of u / volumes."""
        sizes = jnp.broadcast_to(volumes, self.shape)
        faces, drifts = [], []
        for axis in range(len(self.faces)):
            up, down = self.outflows(axis)
            first, last = layer(sizes, axis, 0), layer(sizes, axis, -1)
            low, high = neighbours(sizes, axis)
            beyond = (last, first) if self.periodic[axis] else (first, last)
            up = jax.tree.map(jnp.divide, up, Faces(low, beyond[0], last))
            down = jax.tree.map(jnp.divide, down, Faces(high, first, beyond[1]))
            faces.append(jax.tree.map(lambda p, q: 0.5 * (p + q), up, down))
            drifts.append(jax.tree.map(lambda p, q: 0.5 * (p - q), up, down))
        return dataclasses.replace(
            self, faces=tuple(faces), drift=tuple(drifts), reaction=self.reaction / sizes
        )


def _closed(faces: Faces) -> Faces:
    """Set the fluxes through the sides to zero."""
    return faces._replace(lower=jnp.zeros_like(faces.lower), upper=jnp.zeros_like(faces.upper))


def _conductances(D: Faces, ones: Array, grid: Grid, axis: int, boundaries: Boundaries) -> Faces:
    """Conductance D / h^2 on every face, times 1 - g on a wall.

    g is the ghost of a cell with value 1: the factor is 2 for Dirichlet and 0 for Neumann.
    """
    below, _ = neighbours(ones, axis)
    one = layer(ones, axis, 0)
    whole = Faces(below, one, one)
    periodic = isinstance(boundaries[axis][0], Periodic)
    factors = inflow_factors(grid, axis, ones.dtype)
    if isinstance(factors, AtFaces):
        slope = over(D, distances(grid, axis, periodic, ones.dtype))
        scaled = jax.tree.map(lambda D, like, f: D * like * f, slope, whole, Faces(*factors))
    else:
        h = grid.spacing[axis]
        scaled = jax.tree.map(lambda D, like: D * like / h**2, D, whole)
    if periodic:
        return scaled
    lower, upper = ghosts_of_layers(one, one, grid, axis, boundaries, None)
    return Faces(scaled.inner, scaled.lower * (one - lower), scaled.upper * (one - upper))
