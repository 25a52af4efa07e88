"""Values on the faces of one grid axis, stored as inner faces and the two sides.

An axis of n cells has n + 1 faces. The cells at the n - 1 inner ones are plain slices of the field;
only the two faces on the boundary need a ghost cell. This avoids a padded copy of the field, and
the transpose, which an adjoint solve applies repeatedly, becomes shifted sums. Every slice that an
operator takes of the field costs a full-size sum in that transpose, so `cells_beside` takes each
slice once, for all uses.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import Boundaries, Grid, ghosts_of_layers
from impindiff.grid.geometry import AtFaces, balance, mean_spacing
from impindiff.operators._layers import put_layer, take_layer


class Faces(NamedTuple):
    """Values on the faces of an axis: n - 1 inside (or one number for all), 1 on each side.

    `inner` is None, which `jax.tree.map` skips, for values on the sides alone.
    """

    inner: Any
    lower: Float[Array, "..."]
    upper: Float[Array, "..."]


class Beside(NamedTuple):
    """Values in the cell below and in the cell above each face, ghost cells included."""

    below: Faces
    above: Faces


def cells_beside(
    u: Array, grid: Grid, axis: int, boundary: Boundaries, t: ArrayLike | None
) -> Beside:
    """The cells below and above each face of an axis."""
    along = axis - grid.ndim
    below, above = neighbours(u, along)
    sides = layers_beside(layer(u, along, 0), layer(u, along, -1), grid, axis, boundary, t)
    return Beside(sides.below._replace(inner=below), sides.above._replace(inner=above))


def layers_beside(
    first: Array, last: Array, grid: Grid, axis: int, boundary: Boundaries, t: ArrayLike | None
) -> Beside:
    """The cells next to the two sides of an axis; `inner` is None, a tree without leaves."""
    lower, upper = ghosts_of_layers(first, last, grid, axis, boundary, t)
    return Beside(Faces(None, lower, last), Faces(None, first, upper))


def layer(u: Array, along: int, index: int) -> Array:
    """One layer of cells across an axis, counted from the end if negative, with its axis kept."""
    if not fields_are_spread():
        return take_layer(u, along, index)
    start = index % u.shape[along]
    return lax.slice_in_dim(u, start, start + 1, axis=along)


def neighbours(u: Array, along: int) -> tuple[Array, Array]:
    """The cells below and above each inner face."""
    n = u.shape[along]
    return lax.slice_in_dim(u, 0, n - 1, axis=along), lax.slice_in_dim(u, 1, n, axis=along)


def arithmetic_mean(a: Array, b: Array) -> Array:
    """(a + b) / 2."""
    return 0.5 * (a + b)


def face_means(beside: Beside, weights: AtFaces | None = None) -> Faces:
    """Means of the two cells at each face: on a wall, the condition's own value.

    - `weights`: of the cells below, by which a stretched axis interpolates linearly.
    """
    if weights is None:
        return jax.tree.map(arithmetic_mean, *beside)
    w = like(weights, beside.below)
    return jax.tree.map(lambda w, a, b: w * a + (1.0 - w) * b, w, *beside)


def like(numbers: AtFaces, faces: Faces) -> Faces:
    """Numbers at faces as `Faces`, without inner ones where `faces` has none."""
    return Faces(None if faces.inner is None else numbers.inner, numbers.lower, numbers.upper)


def over(faces: Faces, lengths: float | AtFaces) -> Faces:
    """Values on faces divided by a length, or by one for each face."""
    if isinstance(lengths, AtFaces):
        return jax.tree.map(lambda x, d: x * (1.0 / d), faces, like(lengths, faces))
    scale = 1.0 / lengths
    return jax.tree.map(lambda x: x * scale, faces)


def from_below(x: Array, along: int, wraps: bool) -> Array:
    """Value in the cell below each cell of an axis; in the first, the last's if it wraps, or 0.

    An axis of length 1 that wraps stands for any number of equal values.
    """
    if wraps and x.shape[along] == 1:
        return x
    shifted = on_inner_lower(lax.slice_in_dim(x, 0, x.shape[along] - 1, axis=along), along)
    return _with_layer(shifted, layer(x, along, -1), along, 0) if wraps else shifted


def from_above(x: Array, along: int, wraps: bool) -> Array:
    """Value in the cell above each cell of an axis; in the last, the first's if it wraps, or 0.

    An axis of length 1 that wraps stands for any number of equal values.
    """
    if wraps and x.shape[along] == 1:
        return x
    shifted = on_inner_upper(lax.slice_in_dim(x, 1, x.shape[along], axis=along), along)
    return _with_layer(shifted, layer(x, along, 0), along, -1) if wraps else shifted


def _with_layer(x: Array, values: Array, along: int, index: int) -> Array:
    """Set a layer of x, which is 0 there, to the given values."""
    n = x.shape[along]
    if fields_are_spread():
        return x + (on_lower_side if index == 0 else on_upper_side)(values, along, n)
    cells = [1] * x.ndim
    cells[along] = n
    here = lax.broadcasted_iota(jnp.int32, cells, along % x.ndim) == index % n
    return jnp.where(here, values, x)


def on_inner_lower(inner: Array, along: int) -> Array:
    """[0, inner]: the value on the lower face of each cell of an axis, 0 on the side."""
    return _padded(inner, along, 1, 0)


def on_inner_upper(inner: Array, along: int) -> Array:
    """[inner, 0]: the value on the upper face of each cell of an axis, 0 on the side."""
    return _padded(inner, along, 0, 1)


def on_lower_side(lower: Array, along: int, n: int) -> Array:
    """[lower, 0 ...]: n layers of zeros, except the first."""
    return _padded(lower, along, 0, n - 1) if fields_are_spread() else put_layer(lower, along, 0, n)


def on_upper_side(upper: Array, along: int, n: int) -> Array:
    """[0 ..., upper]: n layers of zeros, except the last."""
    if fields_are_spread():
        return _padded(upper, along, n - 1, 0)
    return put_layer(upper, along, n - 1, n)


def lower_faces(inner: Array, lower: Array, along: int) -> Array:
    """[lower, inner]: the value on the lower face of each cell of an axis."""
    return on_inner_lower(inner, along) + on_lower_side(lower, along, inner.shape[along] + 1)


def upper_faces(inner: Array, upper: Array, along: int) -> Array:
    """[inner, upper]: the value on the upper face of each cell of an axis."""
    return on_inner_upper(inner, along) + on_upper_side(upper, along, inner.shape[along] + 1)


def on_both_sides(faces: Faces, along: int) -> tuple[Array, Array]:
    """`lower_faces` and `upper_faces` of an expensive expression, materialised once."""
    inner, lower, upper = faces
    if fields_are_spread():
        return lower_faces(inner, lower, along), upper_faces(inner, upper, along)
    return jnp.concatenate([lower, inner], along), jnp.concatenate([inner, upper], along)


def fields_are_spread() -> bool:
    """True if the cells of fields, not just samples, are distributed over devices.

    Along such an axis, a slice or a pad communicates one layer of cells, which the compiler does
    not recognise in a selection by index.
    """
    shares = dict(jax.sharding.get_abstract_mesh().shape)
    shares.pop("batch", None)
    return any(n > 1 for n in shares.values())


def _padded(x: Array, along: int, before: int, after: int) -> Array:
    widths = [(0, 0, 0)] * x.ndim
    widths[along] = (before, after, 0)
    return lax.pad(x, jnp.zeros((), x.dtype), widths)


def difference(faces: Faces, along: int, spacing: float | np.ndarray) -> Array:
    """(upper face - lower face) / spacing in each cell: the flux form that ensures conservation."""
    inner, lower, upper = faces
    above, below = upper_faces(inner, upper, along), lower_faces(inner, lower, along)
    return (above - below) * (1.0 / spacing)


def flux_divergence(fluxes: Sequence[Faces], grid: Grid) -> Array:
    """Divergence of a flux given on the faces of each axis: outflow of a cell, per volume."""
    parts = []
    for axis, flux in enumerate(fluxes):
        along, metric = axis - grid.ndim, balance(grid, axis, flux.lower.dtype)
        if metric is None:
            parts.append(difference(flux, along, mean_spacing(grid)[axis]))
        else:
            passed = jax.tree.map(jnp.multiply, flux, Faces(*metric.areas))
            parts.append(difference(passed, along, metric.volumes))
    total = sum(parts[1:], start=parts[0])
    if grid.domain is None:
        return total
    inside = jnp.asarray(grid.domain.volumes, total.dtype)
    return total / jnp.where(inside > 0, inside, 1.0)


def check_choice(name: str, given: str, allowed: tuple[str, ...]) -> None:
    """Raise `InputError`, with the allowed names, unless `given` is among them."""
    if given not in allowed:
        raise InputError(f"{name}: expected one of {', '.join(allowed)}, got {given!r}")
