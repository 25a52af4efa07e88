r"""Fluxes on a grid of which a domain is only a part: open parts of faces, and its boundary.

Unknowns are values at the centres of cells, also of cut ones, so that each face has a two-point
flux, times its open part (Ng, Min and Gibou): the matrix stays a star, symmetric, with no negative
entry where none was. The balance of a cut cell has one more flux, through the area A of the
domain's boundary. A is the vector that closes the cell, minus the sum of its open faces', so that
linear fields are exact. With a u + b du/dn = g, and the centre at a distance d from the boundary,
negative if it is outside,

$$ \partial u / \partial n = (g - a u) / (b + a d), $$

in which the denominator is at least b / 2 (Papac, Gibou and Ratsch). Where b = 0 that is singular
for d = 0. A Dirichlet condition has its fluxes along the axes instead, through whole faces, from
the centres that are inside to the boundary, at a part theta of the distance to the next centre
(Gibou, Fedkiw, Cheng and Kang):

$$ D (g - u_i) / (\theta h). $$

Cut cells whose centre is outside then have no diffusive neighbours, and follow the boundary's
value.

Sources: Ng, Min and Gibou, An efficient fluid-solid coupling algorithm for single-phase flows,
J. Comput. Phys. 228 (2009); Papac, Gibou and Ratsch, Efficient symmetric discretization for the
Poisson, heat and Stefan-type problems with Robin boundary conditions, J. Comput. Phys. 229 (2010);
Gibou, Fedkiw, Cheng and Kang, A second-order-accurate symmetric discretization of the Poisson
equation on irregular domains, J. Comput. Phys. 176 (2002).
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid import Boundaries, Grid, Periodic
from impindiff.grid.boundary import Wall
from impindiff.grid.domain import Domain
from impindiff.grid.geometry import AtFaces, distances, inflow_factors, width
from impindiff.grid.ghosts import value_at
from impindiff.grid.given import extremes, real_array
from impindiff.operators._faces import (
    Faces,
    from_above,
    from_below,
    layer,
    lower_faces,
    neighbours,
    on_lower_side,
    on_upper_side,
    over,
    upper_faces,
)
from impindiff.operators.given import given_field

# The boundary is at least this part of a cell away from a centre: its value, that of the boundary,
# is then right to the same part of the difference to the next cell.
_NEAREST = 1e-3


class Through(NamedTuple):
    """Inflow of cells through the domain's boundary, times `relative_volumes`.

    - `per_unit`: for a field of ones and values g = 0; `given`: for a field of zeros, or None where
      that is 0.
    """

    per_unit: Array
    given: Array | None


def open_parts(grid: Grid, axis: int, dtype: DTypeLike) -> Faces:
    """Open part of each face, 0 to 1."""
    return _faces(_domain(grid).faces[axis], grid, axis, dtype)


def diffusive_parts(grid: Grid, axis: int, wall: Wall, wraps: bool, dtype: DTypeLike) -> Faces:
    """Part of each face that has the flux between its two cells.

    Where the condition is Dirichlet it is 1 between two centres inside, else 0.
    """
    fractions = open_parts(grid, axis, dtype)
    held = _held(wall, grid, dtype)
    if isinstance(held, bool) and not held:
        return fractions
    whole = jnp.asarray(_centre_inside(grid), dtype)
    between = _products(whole, axis - grid.ndim, wraps)
    if isinstance(held, bool):
        return between
    either = _products(jnp.where(held, 0.0, 1.0).astype(dtype), axis - grid.ndim, wraps)
    return jax.tree.map(lambda f, w, e: w + e * (f - w), fractions, between, either)


def through_boundary(
    grid: Grid,
    wall: Wall,
    given: Sequence[Array],
    averaging: str,
    boundaries: Boundaries,
    t: ArrayLike | None,
    dtype: DTypeLike,
) -> Through:
    """The diffusive inflow through the domain's boundary, for D per axis in `given`.

    D on the boundary is that of the cell; for "arithmetic" averaging extrapolated linearly, to no
    less than half of it, as on the sides of the box.
    """
    domain = _domain(grid)
    g = _value(wall, grid, t, dtype)
    a, b = (
        _in_cells(x, grid, dtype, f"embedded: {name}")
        for name, x in zip("ab", wall.coefficients, strict=True)
    )
    wraps = [isinstance(lower, Periodic) for lower, _ in boundaries]
    held = _held(wall, grid, dtype)
    parts: list[tuple[Array, Any]] = []
    if not (isinstance(held, bool) and held):
        for area, distance, D in _pieces(grid, domain, given, averaging, wraps, dtype):
            below = jnp.maximum(b + a * distance, 0.5 * b)
            rate = area * D / jnp.where(held, 1.0, below)
            rate = jnp.where(held, 0.0, rate)
            parts.append((-a * rate, rate * g))
    if not (isinstance(held, bool) and not held):
        for axis, D in enumerate(given):
            for rate, value in _links(grid, domain, axis, D, g, wraps[axis], dtype):
                rate = jnp.where(held, rate, 0.0)
                parts.append((-rate, rate * value))
    per_unit = sum((p for p, _ in parts[1:]), start=parts[0][0])
    is_zero = isinstance(g, float) and g == 0
    values = None if is_zero else jnp.asarray(sum(v for _, v in parts))
    shape = jnp.broadcast_shapes(per_unit.shape, grid.cells)
    return Through(jnp.broadcast_to(per_unit, shape), values)


def diffusion_through(
    coefficient: ArrayLike | Sequence[ArrayLike],
    grid: Grid,
    averaging: str,
    wall: Wall | None,
    boundaries: Boundaries,
    t: ArrayLike | None,
    dtype: DTypeLike,
) -> Through | None:
    """`through_boundary` for the arguments of `diffusion`; None without a domain."""
    if wall is None:
        return None
    per_axis = coefficient if isinstance(coefficient, Sequence) else (coefficient,) * grid.ndim
    given = [
        given_field(entry, grid, axis, dtype, f"coefficient of axis {axis}")
        for axis, entry in enumerate(per_axis)
    ]
    return through_boundary(grid, wall, given, averaging, boundaries, t, dtype)


def boundary_states(
    u: Array, grid: Grid, wall: Wall, t: ArrayLike | None
) -> list[tuple[list[Any], Array]]:
    """Area vectors, outward, of the domain's boundary in each cell, and the condition's values.

    Areas are times `relative_volumes`. A cell of a mask has one vector for each side of each axis,
    any other has one.
    """
    dtype, domain = u.dtype, _domain(grid)
    g, held = _value(wall, grid, t, dtype), _held(wall, grid, dtype)
    a, b = (
        _in_cells(x, grid, dtype, f"embedded: {name}")
        for name, x in zip("ab", wall.coefficients, strict=True)
    )

    def value_at_distance(d: Any) -> Array:
        if isinstance(held, bool) and held:
            return jnp.broadcast_to(jnp.asarray(g, dtype), u.shape)
        below = jnp.where(held, 1.0, jnp.maximum(b + a * d, 0.5 * b))
        return jnp.where(held, g, u + d * (g - a * u) / below)

    if not domain.staircase:
        distance = jnp.asarray(domain.distance, dtype)
        return [(_closures(grid, domain, dtype), value_at_distance(distance))]
    found = []
    for axis in range(grid.ndim):
        state = value_at_distance(0.5 * width(grid, axis, dtype))
        lower, upper = _closed_sides(grid, domain, axis, dtype)
        for area in (-lower, upper):
            found.append(([area if i == axis else 0.0 for i in range(grid.ndim)], state))
    return found


def normal_outflow(v: Array, grid: Grid, wall: Wall, t: ArrayLike | None) -> Float[Array, "..."]:
    """Outflow of a vector field through the domain's boundary, times `relative_volumes`.

    A Dirichlet condition prescribes the normal component; else it is that of the cell.
    """
    dtype, domain = v.dtype, _domain(grid)
    closures = _closures(grid, domain, dtype)
    own = jnp.asarray(sum(c * v[axis] for axis, c in enumerate(closures)))
    held = _held(wall, grid, dtype)
    if isinstance(held, bool) and not held:
        return own
    if domain.staircase:
        areas = [_closed_areas(grid, domain, axis, dtype) for axis in range(grid.ndim)]
        area = sum(areas[1:], start=areas[0])
    else:
        area = _length(closures)
    return jnp.where(held, area * _value(wall, grid, t, dtype), own)


def slopes(
    steps: Faces, grid: Grid, axis: int, wall: Wall, u: Array, wraps: bool, t: ArrayLike | None
) -> tuple[Array, Array]:
    """Mean slope along an axis on the faces that are open, and the cells that have both open.

    - `steps`: the slope on each face.

    Where the condition is Dirichlet and the next centre is outside, the slope is that to the
    boundary's value.
    """
    along = axis - grid.ndim
    opened = jax.tree.map(
        lambda x: jnp.where(x > 0, 1.0, 0.0).astype(u.dtype),
        diffusive_parts(grid, axis, wall, wraps, u.dtype),
    )
    product = jax.tree.map(jnp.multiply, opened, steps)
    count = upper_faces(opened.inner, opened.upper, along)
    count = count + lower_faces(opened.inner, opened.lower, along)
    total = upper_faces(product.inner, product.upper, along)
    total = total + lower_faces(product.inner, product.lower, along)
    both = count > 1.5
    held = _held(wall, grid, u.dtype)
    if not (isinstance(held, bool) and not held):
        domain, g = _domain(grid), _value(wall, grid, t, u.dtype)
        below, above = _linked(grid, domain, axis, wraps, u.dtype)
        apart = _apart(grid, axis, wraps, u.dtype)
        for (link, theta, beyond), h, sign in ((below, apart[0], -1.0), (above, apart[1], 1.0)):
            value = g if isinstance(g, float) else (1 - theta) * g + theta * beyond(g)
            link = jnp.where(held, link, 0.0)
            total = total + link * sign * (value - u) / (theta * h)
            count = count + link
    return total / jnp.maximum(count, 1.0), both


def flat_where_cut(half: Array, grid: Grid, axis: int) -> Array:
    """Slopes, 0 in cells that have a closed face along the axis."""
    along = axis - grid.ndim
    opened = open_parts(grid, axis, half.dtype)
    upper = upper_faces(opened.inner, opened.upper, along)
    lower = lower_faces(opened.inner, opened.lower, along)
    return jnp.where((upper > 0) & (lower > 0), half, 0.0)


def _domain(grid: Grid) -> Domain:
    assert grid.domain is not None
    return grid.domain


def _faces(values: Any, grid: Grid, axis: int, dtype: DTypeLike) -> Faces:
    x = jnp.asarray(values, dtype)
    n, along = grid.cells[axis], axis - grid.ndim
    cut = [jax.lax.slice_in_dim(x, a, b, axis=along) for a, b in ((1, n), (0, 1), (n, n + 1))]
    return Faces(*cut)


def _centre_inside(grid: Grid) -> Any:
    domain = _domain(grid)
    return (domain.distance > 0) & (domain.volumes > 0)


def _products(x: Array, along: int, wraps: bool) -> Faces:
    """Products of the two cells at each face; on a side, of the cell alone."""
    below, above = neighbours(x, along)
    first, last = layer(x, along, 0), layer(x, along, -1)
    if wraps:
        first = last = first * last
    return Faces(below * above, first, last)


def _held(wall: Wall, grid: Grid, dtype: DTypeLike) -> bool | Array:
    """Cells in which the condition is Dirichlet's: all, none, or an array."""
    b = wall.coefficients[1]
    if isinstance(b, int | float):
        return b == 0
    return jnp.broadcast_to(_in_cells(b, grid, dtype, "embedded: b"), grid.cells) == 0


def _value(wall: Wall, grid: Grid, t: ArrayLike | None, dtype: DTypeLike) -> Any:
    value = value_at(wall.value, t, "embedded")
    return _in_cells(value, grid, dtype, "embedded: value")


def _in_cells(x: ArrayLike, grid: Grid, dtype: DTypeLike, name: str) -> Any:
    """A Python number as a float, or an array that broadcasts with the cells."""
    values = real_array(x, dtype, name)
    if not np.isfinite(extremes(x)[0]):
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    if isinstance(x, int | float) and not isinstance(x, np.generic):
        return float(x)
    ends = zip(reversed(values.shape), reversed(grid.cells), strict=False)
    if any(n not in (1, m) for n, m in ends):
        raise InputError(f"{name}: shape {values.shape} does not fit the cells {grid.cells}")
    return values


def _factors(grid: Grid, axis: int, dtype: DTypeLike) -> Faces:
    """Inflow, times relative volumes, of a unit flux through each whole face."""
    factors = inflow_factors(grid, axis, dtype)
    if isinstance(factors, AtFaces):
        return Faces(*factors)
    return Faces(*(jnp.asarray(factors, dtype),) * 3)


def _through_faces(fractions: Faces, factors: Faces, along: int) -> tuple[Array, Array]:
    """Products on the lower and the upper face of each cell."""
    whole = jax.tree.map(jnp.multiply, fractions, factors)
    return (
        lower_faces(whole.inner, whole.lower, along),
        upper_faces(whole.inner, whole.upper, along),
    )


def _closures(grid: Grid, domain: Domain, dtype: DTypeLike) -> list[Array]:
    """Vectors, outward, of the area of the domain's boundary in each cell."""
    found = []
    inside = jnp.asarray(domain.volumes, dtype)
    for axis in range(grid.ndim):
        along = axis - grid.ndim
        fractions, factors = open_parts(grid, axis, dtype), _factors(grid, axis, dtype)
        lower, upper = _through_faces(fractions, factors, along)
        closing = lower - upper
        if isinstance(inflow_factors(grid, axis, dtype), AtFaces):
            whole = jax.tree.map(jnp.ones_like, fractions)
            first, last = _through_faces(whole, factors, along)
            closing = closing + inside * (last - first)
        # whole cells have none; nor has a cell outside
        found.append(jnp.where(inside > 0, closing, 0.0))
    return found


def _length(vector: Sequence[Array]) -> Array:
    square = jnp.asarray(sum(c**2 for c in vector))
    # round-off of a cell that is closed by its faces
    none = square <= jnp.finfo(square.dtype).eps ** 2 * jnp.max(square)
    return jnp.where(none, 0.0, jnp.sqrt(jnp.where(none, 1.0, square)))


def _closed_sides(grid: Grid, domain: Domain, axis: int, dtype: DTypeLike) -> tuple[Array, Array]:
    """Area of the closed lower and upper faces along an axis, of cells inside."""
    fractions, factors = open_parts(grid, axis, dtype), _factors(grid, axis, dtype)
    closed = jax.tree.map(lambda x: 1.0 - x, fractions)
    lower, upper = _through_faces(closed, factors, axis - grid.ndim)
    inside = jnp.asarray(domain.volumes, dtype)
    return inside * lower, inside * upper


def _closed_areas(grid: Grid, domain: Domain, axis: int, dtype: DTypeLike) -> Array:
    """Area of closed faces along an axis, of cells inside."""
    lower, upper = _closed_sides(grid, domain, axis, dtype)
    return lower + upper


def _pieces(
    grid: Grid,
    domain: Domain,
    given: Sequence[Array],
    averaging: str,
    wraps: Sequence[bool],
    dtype: DTypeLike,
) -> list[tuple[Array, Any, Array]]:
    """Areas of the boundary in each cell, with the distance of the centre and D there."""
    if domain.staircase:
        found = []
        for axis, D in enumerate(given):
            h = width(grid, axis, dtype)
            found.append((_closed_areas(grid, domain, axis, dtype), 0.5 * h, D))
        return found
    closures = _closures(grid, domain, dtype)
    area = _length(closures)
    over = jnp.where(area > 0, area, 1.0)
    normal = [c / over for c in closures]
    distance = jnp.asarray(domain.distance, dtype)
    on_boundary = []
    for n, D in zip(normal, given, strict=True):
        there = D
        if D.ndim and averaging == "arithmetic":
            change = sum(
                normal[axis] * _slope_inside(D, grid, axis, wraps[axis])
                for axis in range(grid.ndim)
            )
            there = jnp.maximum(D + distance * change, 0.5 * D)
        on_boundary.append(n**2 * there)
    return [(area, distance, sum(on_boundary[1:], start=on_boundary[0]))]


def _slope_inside(D: Array, grid: Grid, axis: int, wraps: bool) -> Array:
    """Slope of D from the cells behind open faces; 0 where there are none."""
    along = axis - grid.ndim
    below, above = neighbours(D, along)
    first, last = layer(D, along, 0), layer(D, along, -1)
    seam = first - last if wraps else jnp.zeros_like(first)
    apart = distances(grid, axis, wraps, D.dtype)
    steps = over(Faces(above - below, seam, seam), apart)
    opened = jax.tree.map(
        lambda x: jnp.where(x > 0, 1.0, 0.0).astype(D.dtype), open_parts(grid, axis, D.dtype)
    )
    if not wraps:
        none = jnp.zeros_like(opened.lower)
        opened = opened._replace(lower=none, upper=none)
    steps = jax.tree.map(jnp.multiply, opened, steps)
    total = upper_faces(steps.inner, steps.upper, along)
    total = total + lower_faces(steps.inner, steps.lower, along)
    count = upper_faces(opened.inner, opened.upper, along)
    count = count + lower_faces(opened.inner, opened.lower, along)
    return total / jnp.maximum(count, 1.0)


def _beyond(x: Array, along: int, wraps: bool, step: int) -> Array:
    """Values in the next cell below (-1) or above (1); a cell at a side has itself."""
    n, below = x.shape[along], step < 0
    beyond = (from_below if below else from_above)(x, along, wraps)
    if wraps:
        return beyond
    side = layer(x, along, 0 if below else -1)
    return beyond + (on_lower_side if below else on_upper_side)(side, along, n)


def _linked(grid: Grid, domain: Domain, axis: int, wraps: bool, dtype: DTypeLike) -> list[Any]:
    """Below and above: whether the boundary lies between two centres, where, and the shift."""
    along = axis - grid.ndim
    inside = jnp.asarray(_centre_inside(grid))
    d = jnp.asarray(domain.distance, dtype)
    found = []
    for step in (-1, 1):
        outside = ~_beyond(inside, along, wraps, step)
        link = inside & outside
        other = _beyond(d, along, wraps, step)
        # a dropped cell can have its centre inside by round-off
        apart = jnp.where(link, d - jnp.minimum(other, 0.0), 1.0)
        theta = jnp.clip(jnp.where(link, d, 1.0) / apart, _NEAREST, 1.0)

        def beyond(g: Array, step: int = step) -> Array:
            whole = jnp.broadcast_to(g, jnp.broadcast_shapes(jnp.shape(g), grid.cells))
            return _beyond(whole, along, wraps, step)

        found.append((link.astype(dtype), theta, beyond))
    return found


def _apart(grid: Grid, axis: int, wraps: bool, dtype: DTypeLike) -> tuple[Any, Any]:
    """Distance to the next centre below and above each cell."""
    apart = distances(grid, axis, wraps, dtype)
    if not isinstance(apart, AtFaces):
        return apart, apart
    along = axis - grid.ndim
    inner, lower, upper = map(jnp.asarray, apart)
    return lower_faces(inner, lower, along), upper_faces(inner, upper, along)


def _links(
    grid: Grid, domain: Domain, axis: int, D: Array, g: Any, wraps: bool, dtype: DTypeLike
) -> list[tuple[Array, Any]]:
    """Rates and values of the exchange with the boundary along an axis."""
    along = axis - grid.ndim
    factors = _factors(grid, axis, dtype)
    one = Faces(*(jnp.ones(s, dtype) for s in _face_shapes(grid, axis)))
    passed = _through_faces(one, factors, along)
    apart = _apart(grid, axis, wraps, dtype)
    found = []
    for (link, theta, beyond), through, h in zip(
        _linked(grid, domain, axis, wraps, dtype), passed, apart, strict=True
    ):
        value = g if isinstance(g, float) else (1 - theta) * g + theta * beyond(g)
        found.append((link * D * through / (theta * h), value))
    volumes = jnp.asarray(domain.volumes, dtype)
    cut = (volumes > 0) & ~jnp.asarray(_centre_inside(grid))
    follows = jnp.where(cut, volumes, 0.0) * D * (passed[0] / apart[0] + passed[1] / apart[1])
    found.append((follows, g))
    return found


def _face_shapes(grid: Grid, axis: int) -> list[tuple[int, ...]]:
    shapes = []
    for n in (grid.cells[axis] - 1, 1, 1):
        shape = [1] * grid.ndim
        shape[axis] = n
        shapes.append(tuple(shape))
    return shapes
