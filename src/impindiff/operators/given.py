"""Coefficients and fluxes as a user gives them to an operator, checked."""

import math
from collections.abc import Callable, Sequence

import jax.numpy as jnp
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.grid.given import extremes, real_array

Flux = Callable[[Array], Array]


def given_field(
    x: ArrayLike, grid: Grid, axis: int, dtype: DTypeLike, name: str, allow_faces: bool = False
) -> Array:
    """A coefficient as an array in the field's precision.

    **Raises:** `InputError` unless it is real, finite (if concrete), and a number or an array whose
    trailing axes are the grid's or, where allowed, the grid's with one more along `axis`.
    """
    array = real_array(x, dtype, name)
    if not math.isfinite(extremes(x)[0]):
        raise InputError(f"{name}: expected finite numbers, got NaN or infinity")
    on_faces = tuple(n + (i == axis) for i, n in enumerate(grid.cells))
    trailing = array.shape[-grid.ndim :]
    if array.ndim == 0 or trailing == grid.cells or (allow_faces and trailing == on_faces):
        return array
    also = f" or, on faces, {on_faces}" if allow_faces else ""
    raise InputError(
        f"{name}: expected a number or trailing axes {grid.cells} (the grid's){also}, "
        f"got shape {array.shape}"
    )


def given_velocity(
    velocity: ArrayLike | Sequence[ArrayLike],
    grid: Grid,
    dtype: DTypeLike,
    allow_faces: bool = False,
) -> list[Array]:
    """A velocity as one array for each axis; see `given_field`.

    **Raises:** `InputError` unless it has an entry for each axis, and as `given_field`.
    """
    entries = (
        list(velocity)
        if isinstance(velocity, Sequence)
        else real_array(velocity, dtype, "velocity")
    )
    shape = (len(entries),) if isinstance(entries, list) else entries.shape
    if not shape or shape[0] != grid.ndim:
        raise InputError(
            f"velocity: expected {grid.ndim} entries along the leading axis, one per grid axis, "
            f"got shape {shape}"
        )
    return [
        given_field(entries[axis], grid, axis, dtype, f"velocity of axis {axis}", allow_faces)
        for axis in range(grid.ndim)
    ]


def fluxes_per_axis(flux: Flux | Sequence[Flux], grid: Grid) -> list[Flux]:
    """The flux along each axis, in the field's precision, refusing results of another shape.

    **Raises:** `InputError` unless it is a function or a sequence of one for each axis.
    """
    per_axis = list(flux) if isinstance(flux, Sequence) else [flux] * grid.ndim
    if len(per_axis) != grid.ndim or not all(callable(f) for f in per_axis):
        raise InputError(
            f"flux: expected a function f(u), or {grid.ndim} of them, one per axis, got {flux!r}"
        )
    return [_checked(given, axis) for axis, given in enumerate(per_axis)]


def _checked(flux: Flux, axis: int) -> Flux:
    def f(x: Array) -> Array:
        out = jnp.asarray(flux(x), x.dtype)
        if out.shape != x.shape:
            raise InputError(
                f"flux of axis {axis}: expected the shape of its argument, {x.shape}, "
                f"got {out.shape}"
            )
        return out

    return f
