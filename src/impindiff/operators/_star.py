"""Extraction of a stencil from matrix products, as fluxes between neighbouring cells."""

import itertools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Bool, Float, Int

from impindiff.operators._elliptic import Elliptic
from impindiff.operators._faces import Faces, layer, lower_faces, upper_faces

Field = Float[Array, "*cells"]


class Colouring(NamedTuple):
    """Colour of a cell: the sum of its labels along the axes, modulo `colours`.

    Neighbours of a cell differ in colour from it and from each other, also across the periodic
    seam.
    """

    labels: tuple[Int[np.ndarray, " cells"], ...]
    colours: int

    def of_cells(self, axis: int = 0, step: int = 0) -> Int[Array, "*cells"]:
        """Colours of the cells `step` further along an axis, across the seam.

        A sum of short arrays, which XLA fuses into its uses.
        """
        total = jnp.zeros((), jnp.int32)
        for i, labels in enumerate(self.labels):
            along = [1] * len(self.labels)
            along[i] = -1
            shifted = np.roll(labels, -step) if i == axis else labels
            total = total + jnp.asarray(shifted, jnp.int32).reshape(along)
        return lax.rem(total, jnp.asarray(self.colours, jnp.int32))


def colouring(cells: tuple[int, ...], periodic: tuple[bool, ...]) -> Colouring:
    """A colouring with 2 ndim + 1 colours, the minimum, between walls; sometimes more.

    From cell to cell along axis i the colour grows by a stride s_i, modulo the number of colours; 0
    and the +-s_i are distinct. The strides around a periodic axis must sum to no colour: where
    those of one kind do not, the last cells take another, and 4 ndim + 1 colours suffice or a few
    more.
    """
    tried = ((c, _strided(cells, periodic, c)) for c in itertools.count(2 * len(cells) + 1))
    colours, labels = next((c, found) for c, found in tried if found is not None)
    return Colouring(labels, colours)


def _strided(
    cells: tuple[int, ...], periodic: tuple[bool, ...], colours: int
) -> tuple[Int[np.ndarray, " cells"], ...] | None:
    labels: list[Int[np.ndarray, " cells"]] = []
    free = set(range(1, (colours + 1) // 2))
    for n, closed in zip(cells, periodic, strict=True):
        strides = _strides(n, closed, colours, sorted(free))
        if strides is None:
            return None
        free -= set(strides)
        labels.append(np.concatenate([[0], np.cumsum(strides[: n - 1])]) % colours)
    return tuple(labels)


def _strides(n: int, closed: bool, colours: int, free: list[int]) -> list[int] | None:
    """Strides from each cell to the next, the last to the first: of one or two kinds."""
    for s, t in [*((s, s) for s in free), *itertools.permutations(free, 2)]:
        for others in range(min(n, colours)):
            if not closed or (s * (n - others) + t * others) % colours == 0:
                return [s] * (n - others) + [t] * others
    return None


def star_of(
    matvec: Callable[[Field], Field],
    like: Field,
    periodic: tuple[bool, ...],
    spacing: tuple[float, ...],
    volumes: ArrayLike | None = None,
    lines: bool = False,
    isolated: bool = False,
) -> Elliptic:
    r"""The matrix of `matvec` as an `Elliptic`, entry by entry.

    It is exact if the matrix couples a cell with its 2 ndim neighbours only, like that of an
    implicit step of diffusion, advection and reaction. Entries further off are mistaken for near
    ones. Entries are found from products with vectors that are 1 in the cells of one colour, some 2
    ndim + 1 of them, for any number of cells; where two axes' neighbours coincide (one or two
    cells, periodic) they are one.

    The column sums of A are the reaction, except that their excess in a layer of cells at a wall
    over the next layer counts as the wall's conductance.

    **Arguments:**

    - `matvec`: v -> A v, linear, for fields like `like` (only its shape and precision count).
    - `periodic`: flags of periodic axes.
    - `spacing`: cell width per axis.
    - `volumes`: of cells, broadcasting with them, where they differ: rows are multiplied by them
      first, after which diffusion is symmetric (`Elliptic.volumes`).
    - `lines`, `isolated`: those of `Elliptic`.

    Source: Curtis, Powell and Reid, "On the estimation of sparse Jacobian matrices", 1974; the
    colours are those of Goldfarb and Toint, "Optimal estimation of Jacobian and Hessian matrices
    that arise in finite difference calculations", Math. Comput. 43 (1984).
    """
    cells, dtype = like.shape, like.dtype
    seam = tuple(closed and n > 2 for closed, n in zip(periodic, cells, strict=True))
    plan = colouring(cells, seam)
    colour = plan.of_cells()

    sizes = None if volumes is None else jnp.asarray(volumes, dtype)

    def probe(_: None, chosen: Bool[Array, "*cells"]) -> tuple[None, Field]:
        product = matvec(jnp.asarray(chosen, dtype))
        return None, product if sizes is None else sizes * product

    # entries are picked from all products at once, since rereading them at each product would
    # dominate the time
    every = jnp.arange(plan.colours, dtype=jnp.int32).reshape(-1, *(1 for _ in cells))
    _, products = lax.scan(probe, None, colour[None] == every)

    def entries(axis: int = 0, step: int = 0) -> Field:
        """Entries of the column of the neighbour in that direction."""
        return lax.select_n(plan.of_cells(axis, step), *products)

    diagonal = entries()
    couplings = [entries(axis, step) for axis in range(len(cells)) for step in (-1, 1)]

    faces, drifts, reaction = [], [], diagonal
    for axis, n in enumerate(cells):
        from_below, from_above = couplings[2 * axis], couplings[2 * axis + 1]
        none = jnp.zeros_like(layer(diagonal, axis, 0))
        wrap_up = -layer(from_below, axis, 0) if seam[axis] else none
        wrap_down = -layer(from_above, axis, -1) if seam[axis] else none
        up = Faces(-lax.slice_in_dim(from_below, 1, n, axis=axis), wrap_up, wrap_up)
        down = Faces(-lax.slice_in_dim(from_above, 0, n - 1, axis=axis), wrap_down, wrap_down)
        reaction -= upper_faces(up.inner, up.upper, axis)
        reaction -= lower_faces(down.inner, down.lower, axis)
        faces.append(jax.tree.map(lambda p, q: 0.5 * (p + q), up, down))
        drifts.append(jax.tree.map(lambda p, q: 0.5 * (p - q), up, down))
    for axis, n in enumerate(cells):
        if not periodic[axis] and n > 2:
            reaction, lower = _wall(reaction, sizes, axis, 0, 1)
            reaction, upper = _wall(reaction, sizes, axis, -1, -2)
            faces[axis] = faces[axis]._replace(lower=lower, upper=upper)
    return Elliptic(
        tuple(faces), reaction, spacing, periodic, tuple(drifts), sizes, lines, isolated
    )


def _wall(
    reaction: Field, sizes: Array | None, axis: int, at: int, behind: int
) -> tuple[Field, Float[Array, "*layer"]]:
    """Excess of a layer's column sums, per volume, over the next one's, removed from them."""
    n = reaction.shape[axis]
    outer, inner = layer(reaction, axis, at), layer(reaction, axis, behind)
    if sizes is not None and sizes.shape[axis] > 1:
        inner = inner * (layer(sizes, axis, at) / layer(sizes, axis, behind))
    excess = jnp.maximum(outer - inner, 0.0)
    start = [0] * reaction.ndim
    start[axis] = at % n
    return lax.dynamic_update_slice(reaction, layer(reaction, axis, at) - excess, start), excess
