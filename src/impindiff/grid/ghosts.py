"""Ghost cells: values beyond the boundary that make a stencil valid in every cell."""

import inspect
import math
from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float

from impindiff.errors import InputError
from impindiff.grid._grid import Grid
from impindiff.grid.boundary import Boundaries, Boundary, BoundaryLike, Periodic, Wall, is_concrete
from impindiff.grid.geometry import mirror_distance
from impindiff.grid.given import extremes, real_array

# smaller values amplify the mirror image a million times: a singular Robin condition
_SINGULAR = 1e-6


def pad(
    u: Float[Array, "..."],
    grid: Grid,
    axis: int,
    width: int = 1,
    boundary: BoundaryLike | None = None,
    t: ArrayLike | None = None,
) -> Float[Array, "..."]:
    """Add `width` ghost cells on both sides of one grid axis.

    Arguments, values and errors are those of `ghosts`. Shape (*batch, *cells) becomes the same with
    cells[axis] + 2 width along that axis.
    """
    lower, upper = ghosts(u, grid, axis, width, boundary, t)
    return jnp.concatenate([lower, u, upper], axis=axis - grid.ndim)


def ghosts(
    u: Float[Array, "..."],
    grid: Grid,
    axis: int,
    width: int = 1,
    boundary: BoundaryLike | None = None,
    t: ArrayLike | None = None,
) -> tuple[Float[Array, "..."], Float[Array, "..."]]:
    """The `width` ghost cells beyond the lower and beyond the upper side of one grid axis.

    Periodic axes wrap. At a wall with a u + b du/dn = g, the k-th ghost G and its mirror image U_k,
    d apart, (2k - 1) h on a uniform axis, satisfy the condition at the face midway to second order:

        a (G + U) / 2 + b (G - U) / d = g,   so   G = ((2b - a d) U + 2 d g) / (2b + a d),

    which is 2 g - U for Dirichlet and U + d g for Neumann (LeVeque 2007, ch. 2).

    **Arguments:**

    - `u`: field, (*batch, *cells).
    - `grid`: the grid; `axis`: index of the axis, from 0.
    - `width`: number of ghost cells per side, at most cells[axis].
    - `boundary`: conditions of this variable, in the form `Grid` takes; default the grid's own.
    - `t`: time, for time-dependent boundary values.

    **Returns:** two arrays shaped as `u` but `width` long along the axis, in u's dtype, ordered as
    in space.

    **Raises:** `InputError` on wrong shapes, axis or width, on a boundary value that does not fit
    the face, on a missing `t`, and on a Robin condition that leaves the ghost undefined.
    """
    grid.check_field(u, "u")
    if not 0 <= axis < grid.ndim:
        raise InputError(f"axis: expected 0 to {grid.ndim - 1}, got {axis}")
    n = grid.cells[axis]
    if not 1 <= width <= n:
        raise InputError(f"width: expected 1 to {n} (the cells of axis {axis}), got {width}")
    along = axis - grid.ndim
    first = lax.slice_in_dim(u, 0, width, axis=along)
    last = lax.slice_in_dim(u, n - width, n, axis=along)
    return ghosts_of_layers(first, last, grid, axis, grid.boundary_or_own(boundary), t)


def ghosts_of_layers(
    first: Array,
    last: Array,
    grid: Grid,
    axis: int,
    boundary: Boundaries,
    t: ArrayLike | None,
) -> tuple[Array, Array]:
    """Ghost cells from the layers next to the lower and to the upper side, already extracted.

    For callers that need these layers anyway: reverse-mode AD pays for every slice.
    """
    lower, upper = boundary[axis]
    if isinstance(lower, Periodic) or isinstance(upper, Periodic):
        return last, first
    return (
        _reflect(first, lower, grid, axis, "lower", t),
        _reflect(last, upper, grid, axis, "upper", t),
    )


def _reflect(
    cells: Array, wall: Boundary, grid: Grid, axis: int, side: str, t: ArrayLike | None
) -> Array:
    """Mirror the cells next to a wall."""
    where = f"boundary of axis {axis}, {side} side"
    if not isinstance(wall, Wall):
        raise InputError(f"{where}: no ghost value is known for {type(wall).__name__}")
    along = axis - grid.ndim
    face = cells.shape[:along] + cells.shape[cells.ndim + along + 1 :]
    value = value_at(wall.value, t, where)
    g = _on_face(value, face, cells.dtype, along, f"{where}: value")
    a, b = (
        _on_face(x, face, cells.dtype, along, f"{where}: {name}")
        for name, x in zip("ab", wall.coefficients, strict=True)
    )
    width = cells.shape[along]
    layers = []
    for k in range(1, width + 1):
        d = mirror_distance(grid, axis, side, k)
        _refuse_singular(wall, d, where)
        i = k - 1 if side == "lower" else width - k
        image = lax.slice_in_dim(cells, i, i + 1, axis=along)
        below = 2 * b + a * d
        # with this grouping Python numbers stay so: exactly -1 and 2 for Dirichlet, 1 and d for
        # Neumann
        layers.append((2 * b - a * d) / below * image + 2 * d / below * g)
    if side == "lower":
        layers.reverse()
    return layers[0] if width == 1 else jnp.concatenate(layers, axis=along)


def value_at(
    value: ArrayLike | Callable[..., ArrayLike], t: ArrayLike | None, where: str
) -> ArrayLike:
    """A condition's value at a time. Raises `InputError` for a function without one."""
    if not callable(value):
        return value
    if t is None:
        raise InputError(f"{where}: its value is a function of time, pass t=")
    try:
        inspect.signature(value).bind(t)
    except TypeError:
        raise InputError(
            f"{where}: its value is a function that cannot be called as value(t); expected one "
            "of the time alone"
        ) from None
    except ValueError:
        # functions of other languages have no signature
        pass
    return value(t)


def _on_face(
    x: ArrayLike, face: tuple[int, ...], dtype: DTypeLike, along: int, name: str
) -> Array | float:
    """Convert `x` to the field's precision, with an axis of length 1 normal to the face.

    A Python number is kept: it takes the field's precision by itself, and folds at trace time.
    """
    values = real_array(x, dtype, name)
    if not math.isfinite(extremes(x)[0]):
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    if isinstance(x, int | float) and not isinstance(x, np.generic):
        return float(x)
    if values.ndim > len(face) or any(
        n not in (1, m) for n, m in zip(reversed(values.shape), reversed(face), strict=False)
    ):
        raise InputError(f"{name}: shape {values.shape} does not fit the face's {face}")
    return jnp.expand_dims(jnp.broadcast_to(values, face), along)


def _refuse_singular(wall: Wall, d: float, where: str) -> None:
    a, b = wall.coefficients
    if not (is_concrete(a) and is_concrete(b)):
        return
    ad, bb = np.asarray(a) * d, 2 * np.asarray(b)
    if np.any(np.abs(ad + bb) <= _SINGULAR * (np.abs(ad) + np.abs(bb))):
        raise InputError(
            f"{where}: a d + 2 b is 0 at d = {d:g}, which leaves the ghost cell undefined; "
            "b has the wrong sign, or the grid needs another number of cells"
        )
