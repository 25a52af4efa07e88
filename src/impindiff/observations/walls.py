"""Interpolation between the outermost cell centres and the walls, by boundary conditions."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int

from impindiff.errors import InputError
from impindiff.grid import Axis, Boundaries, BoundaryLike, Dirichlet, Neumann, Periodic, Robin
from impindiff.grid.boundary import normalise_boundary
from impindiff.grid.given import real_array

# in cells: a place at the outermost centre is read there, despite round-off
_AT_THE_CENTRE = 1e-9


WallLengths: TypeAlias = float | tuple[tuple[float, float], tuple[float, float]]


class NearWalls(eqx.Module):
    r"""Values at places less than half a cell from a wall, from the cells next to it and the wall.

    For a wall condition a u + b du/dn = g and the value U of the adjacent cell, the value at a
    distance s h beyond that cell's centre, 0 <= s <= 1/2, is on the straight line to the ghost
    cell:

    $$u = U + 2 s h \frac{g - a U}{2 b + a h},$$

    which is g at a Dirichlet wall and U + s h g next to a Neumann wall, to second order. Corners
    are treated axis by axis; the condition of an earlier axis is extrapolated linearly.

    - `rows`: indices of these places.
    - `left`, `part`: the lower neighbour along each axis, and the distance beyond it in cells, on a
      stretched axis relative to the distance of the two centres.
    - `sides`: for each axis, which of `rows` are beyond the first centre and beyond the last.
    - `cells`, `spacing`: of the grid; along a stretched axis the distances of the outer centre from
      the next one and from its mirror image, h in the denominator, for both sides.
    - `samples`: trajectory of each place; None: every place of all.
    - `times`, `when`: distinct times, and the index of each place's time; None: one time for all.
    """

    rows: Int[np.ndarray, " row"]
    left: Int[np.ndarray, "row dimension"]
    part: Float[np.ndarray, "row dimension"]
    sides: tuple[tuple[Int[np.ndarray, " _"], Int[np.ndarray, " _"]], ...]
    cells: tuple[int, ...] = eqx.field(static=True)
    spacing: tuple[WallLengths, ...] = eqx.field(static=True)
    samples: Int[np.ndarray, " row"] | None = None
    times: Float[np.ndarray, " time"] | None = None
    when: Int[np.ndarray, " row"] | None = None

    def __call__(
        self,
        patch: Float[Array, "..."],
        boundary: Boundaries,
        t: ArrayLike | None = None,
    ) -> Float[Array, "..."]:
        """Values at `rows`, (..., row), from the 2 x 2 ... cells around each, (..., row, 2, ...).

        **Arguments:**

        - `t`: for time-dependent boundary values, where no `times` are known.

        **Raises:** `InputError` for boundary values that do not fit the face, or lack a time.
        """
        ndim = len(self.cells)
        for axis in range(ndim):
            along = axis - ndim
            low = jax.lax.index_in_dim(patch, 0, along, keepdims=False)
            high = jax.lax.index_in_dim(patch, 1, along, keepdims=False)
            trailing = ndim - axis - 1
            part = self._weight(axis, np.arange(len(self.rows)), trailing, patch.dtype)
            inner = low + part * (high - low)
            for side, wall in enumerate(boundary[axis]):
                rows = self.sides[axis][side]
                if isinstance(wall, Periodic) or not rows.shape[0]:
                    continue
                at = (Ellipsis, rows, *[slice(None)] * trailing)
                a, b = wall.coefficients  # pyright: ignore[reportAttributeAccessIssue]
                where = f"boundary of axis {axis}, {('lower', 'upper')[side]} side"
                a, b, g = (
                    self._on_face(x, axis, rows, patch.dtype, t, f"{where}: {name}")
                    for x, name in ((a, "a"), (b, "b"), (wall.value, "value"))  # pyright: ignore[reportAttributeAccessIssue]
                )
                p = self._weight(axis, rows, trailing, patch.dtype)
                lengths = self.spacing[axis]
                apart, h = lengths[side] if isinstance(lengths, tuple) else (lengths, lengths)
                s, near = (p - 1, high[at]) if side else (-p, low[at])
                beyond = near + 2 * s * apart * (g - a * near) / (2 * b + a * h)
                inner = inner.at[at].set(beyond)
            patch = inner
        return patch

    def _weight(self, axis: int, rows: Any, trailing: int, dtype: DTypeLike) -> Array:
        return jnp.asarray(self.part[rows, axis], dtype).reshape(-1, *[1] * trailing)

    def _on_face(
        self, x: Any, axis: int, rows: Any, dtype: DTypeLike, t: ArrayLike | None, name: str
    ) -> Any:
        """Boundary data at the cells next to the places, (..., row, 2, ...) or a number.

        Along axes before `axis`, already treated, at the place itself.
        """
        timed = callable(x)
        if timed and self.times is not None:
            x = jax.vmap(x)(jnp.asarray(self.times))
        elif timed:
            if t is None:
                raise InputError(f"{name} is a function of time, and the time is not known; give t")
            x, timed = x(t), False
        x = real_array(x, dtype, name)
        others = [other for other in range(len(self.cells)) if other != axis]
        face = tuple(self.cells[other] for other in others)
        shape = x.shape[1:] if timed else x.shape
        batch = shape[: max(len(shape) - len(face), 0)]
        own = (*[1] * (len(face) - len(shape)), *shape[len(batch) :])
        if any(n not in (1, m) for n, m in zip(own, face, strict=True)):
            raise InputError(f"{name}: shape {shape} does not fit the face's {face}")
        if self.samples is not None and len(batch) > 1:
            raise InputError(f"{name}: shape {shape} has more axes than (samples, *face)")
        x = x.reshape(*x.shape[:1] if timed else (), *batch, *own)
        spread = (-1, *[1] * len(face))
        index: list[Any] = [jnp.asarray(self.when)[rows].reshape(spread)] if timed else []
        if self.samples is None:
            index += [slice(None)] * len(batch)
        elif batch:
            sample = jnp.asarray(self.samples)[rows] * (batch[0] > 1)
            index.append(sample.reshape(spread))
        for i, (other, n) in enumerate(zip(others, own, strict=True)):
            beside = jnp.asarray(self.left)[rows, other][:, None] + np.arange(2)
            beside = beside % n  # along a periodic axis, and where one value holds for all
            index.append(beside.reshape(-1, *[1] * i, 2, *[1] * (len(face) - i - 1)))
        if not face and not batch and not timed:
            return x
        if not index or all(isinstance(entry, slice) for entry in index):
            # a number for each sample, on a face that is a point
            return x[..., None]
        found = x[tuple(index)]
        for done in range(axis):
            trailing = len(face) - done
            weight = self._weight(done, rows, trailing - 1, dtype)
            low = jax.lax.index_in_dim(found, 0, -trailing, keepdims=False)
            high = jax.lax.index_in_dim(found, 1, -trailing, keepdims=False)
            found = low + weight * (high - low)
        return found


def near_walls(
    left: Int[np.ndarray, "point dimension"],
    part: Float[np.ndarray, "point dimension"],
    cells: tuple[int, ...],
    spacing: tuple[WallLengths, ...],
    periodic: tuple[bool, ...],
    samples: Int[np.ndarray, " point"] | None = None,
    times: Float[np.ndarray, " point"] | None = None,
) -> NearWalls | None:
    """The points less than half a cell from a wall; None if there are none."""
    walled = ~np.asarray(periodic)
    low, high = (part < -_AT_THE_CENTRE) & walled, (part > 1 + _AT_THE_CENTRE) & walled
    rows = np.flatnonzero((low | high).any(axis=1)).astype(np.int32)
    if not len(rows):
        return None
    different = when = None
    if times is not None:
        different, when = np.unique(times[rows], return_inverse=True)
        when = when.astype(np.int32)
    sides = tuple(
        (
            np.flatnonzero(low[rows, axis]).astype(np.int32),
            np.flatnonzero(high[rows, axis]).astype(np.int32),
        )
        for axis in range(len(cells))
    )
    return NearWalls(
        rows,
        left[rows].astype(np.int32),
        part[rows],
        sides,
        tuple(cells),
        tuple(spacing),
        None if samples is None else samples[rows].astype(np.int32),
        different,
        when,
    )


def conditions(boundary: BoundaryLike, ndim: int, starts_at_axis: bool = False) -> Boundaries:
    """A pair of conditions for each axis, all of known types.

    - `starts_at_axis`: the lower side of the first axis is r = 0, as where it has an `Axis`.

    **Raises:** `InputError` for other types.
    """
    first = boundary[0] if isinstance(boundary, Sequence) and len(boundary) else None
    if isinstance(first, Sequence) and len(first) and isinstance(first[0], Axis):
        starts_at_axis = True
    pairs = normalise_boundary(boundary, ndim, starts_at_axis)
    for pair in pairs:
        for side in pair:
            if not isinstance(side, Periodic | Dirichlet | Neumann | Robin):
                raise InputError(
                    f"boundary: no value is known on a wall of {type(side).__name__}; give "
                    f"Periodic, Dirichlet, Neumann or Robin"
                )
    return pairs


def of_model(operator: Any, model: Any) -> Any:
    """Specialise an observation operator to a model's walls, if it has a method `of_model`."""
    take = getattr(operator, "of_model", None)
    return operator if take is None else take(model)
