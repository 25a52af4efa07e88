"""A matrix given by its products, read off as fluxes between neighbouring cells."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float, Int

from impindiff.operators.elliptic import Elliptic
from impindiff.operators.faces import Faces, layer, lower_faces, upper_faces

Field = Float[Array, "*cells"]


class Colouring(NamedTuple):
    """The colour of a cell: the sum of its labels along the axes, modulo `colours`.

    Neighbours of a cell differ in colour from it and from each other, through the periodic seam
    too.
    """

    labels: tuple[Int[np.ndarray, " cells"], ...]
    colours: int

    def of_cells(self, axis: int = 0, step: int = 0) -> Int[Array, "*cells"]:
        """The colours of the cells `step` further along an axis, round the seam.

        A sum of short arrays, which XLA fuses into what uses it.
        """
        total = jnp.zeros((), jnp.int32)
        for i, labels in enumerate(self.labels):
            along = [1] * len(self.labels)
            along[i] = -1
            shifted = np.roll(labels, -step) if i == axis else labels
            total = total + jnp.asarray(shifted, jnp.int32).reshape(along)
        return total % self.colours


def colouring(cells: tuple[int, ...], periodic: tuple[bool, ...]) -> Colouring:
    """Few colours: 2 ndim + 1, the fewest there can be, between walls, at times more.

    Cell x has the colour sum_i s_i x_i mod c, with strides s for which 0 and the +-s_i are
    distinct; a periodic axis of n cells needs s n = 0 mod c. Where that takes more, each axis
    counts 0 1 2 0 1 2 ..., with one or two labels of their own at the seam.
    """
    labels, product = [], 1
    for n, closed in zip(cells, periodic, strict=True):
        along = np.arange(n) % 3
        if closed and n % 3:
            along[n - n % 3 :] = 3 + np.arange(n % 3)
        labels.append(product * along)
        product *= int(along.max()) + 1
    for colours in range(2 * len(cells) + 1, product):
        strides = _strides(cells, periodic, colours)
        if strides is not None:
            pairs = zip(strides, cells, strict=True)
            return Colouring(tuple(s * np.arange(n) for s, n in pairs), colours)
    return Colouring(tuple(labels), product)


def _strides(
    cells: tuple[int, ...], periodic: tuple[bool, ...], colours: int
) -> tuple[int, ...] | None:
    found: list[int] = []
    for n, closed in zip(cells, periodic, strict=True):
        for stride in range(1, (colours + 1) // 2):
            fits = not closed or (stride * n) % colours == 0
            if fits and stride not in found:
                found.append(stride)
                break
        else:
            return None
    return tuple(found)


def star_of(
    matvec: Callable[[Field], Field],
    like: Field,
    periodic: tuple[bool, ...],
    spacing: tuple[float, ...],
) -> Elliptic:
    r"""The matrix of `matvec` as an `Elliptic`, entry by entry.

    It is exact where the matrix couples a cell with its 2 ndim neighbours only, as that of an
    implicit step of diffusion, advection and reaction does. Entries further off are taken for some
    that are near. Its entries are found by products with vectors that are 1 in the cells of one
    colour (Curtis, Powell and Reid 1974), some 2 ndim + 1 of them, however many cells there are;
    where two axes' neighbours coincide (one or two cells, periodic) they are one.

    The column sums of A are the reaction, but for what they are more in a layer of cells at a wall
    than in the layer behind it: that is taken for the wall's conductance.

    **Arguments**

    - `matvec`: v -> A v, linear, for fields like `like` (only its shape and precision count).
    - `periodic`: which axes close on themselves.
    - `spacing`: cell width per axis.

    Source: Curtis, Powell and Reid, "On the estimation of sparse Jacobian matrices", 1974; the
    colours are those of Goldfarb and Toint, "Optimal estimation of Jacobian and Hessian matrices
    that arise in finite difference calculations", Math. Comput. 43 (1984).
    """
    cells, dtype = like.shape, like.dtype
    seam = tuple(closed and n > 2 for closed, n in zip(periodic, cells, strict=True))
    plan = colouring(cells, seam)
    colour = plan.of_cells()
    offsets = [(axis, step) for axis in range(len(cells)) for step in (-1, 1)]
    # the colour of the neighbour in that direction, whose column the entry is in
    of_column = [plan.of_cells(axis, step) for axis, step in offsets]

    def probe(entries: tuple[Field, ...], c: Array) -> tuple[tuple[Field, ...], None]:
        product = matvec(jnp.asarray(colour == c, dtype))
        columns = (colour, *of_column)
        found = zip(entries, columns, strict=True)
        return tuple(jnp.where(column == c, product, e) for e, column in found), None

    start = tuple(jnp.zeros(cells, dtype) for _ in range(1 + len(offsets)))
    (diagonal, *couplings), _ = lax.scan(probe, start, jnp.arange(plan.colours))

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
            reaction, lower = _wall(reaction, axis, 0, 1)
            reaction, upper = _wall(reaction, axis, -1, -2)
            faces[axis] = faces[axis]._replace(lower=lower, upper=upper)
    return Elliptic(tuple(faces), reaction, spacing, periodic, tuple(drifts))


def _wall(reaction: Field, axis: int, at: int, behind: int) -> tuple[Field, Float[Array, "*layer"]]:
    """What a layer's column sums have beyond the next one's, taken out of them."""
    n = reaction.shape[axis]
    excess = jnp.maximum(layer(reaction, axis, at) - layer(reaction, axis, behind), 0.0)
    start = [0] * reaction.ndim
    start[axis] = at % n
    return lax.dynamic_update_slice(reaction, layer(reaction, axis, at) - excess, start), excess
