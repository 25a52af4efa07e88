"""Scattered measurements of a field in one space dimension."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike, DTypeLike
from jaxtyping import Array, Float, Int

from impindiff.errors import InputError

# positions computed from bounds may leave the domain by round-off
_OUTSIDE = 1e-9


class SpaceTimePoints(eqx.Module):
    r"""Observation operator $H u = (u(t_{k_1}, x_1), \dots, u(t_{k_N}, x_N))$ of $N$ points.

    On a uniform grid the field is interpolated by the polynomial of degree `order` through the
    `order + 1` nearest nodes, which are the cell centres and the two walls with their boundary
    values. It is exact, up to the walls, for polynomials of that degree with the walls' values. $H$
    is affine in $u$. Next to a wall of unknown value, as where a flux is given, only cell centres
    are used.

    Called on an array (times, 1, cells), it returns (N,), in the array's precision, by one gather.

    **Arguments:**

    - `time_indices`: $k$, time index of each value; whole numbers (N,).
    - `positions`: $x$, (N,), between `lower` and `upper`, in their unit.
    - `lower`, `upper`: the walls, half a cell beyond the first and the last cell centre.
    - `cells`: their number, at least `order`.
    - `wall_values`: $u$ on the lower and on the upper wall (Dirichlet): a number, an array with one
      entry per time of the array that is read, or None if unknown. A function from a model to this
      pair makes them learnable: a loss passes the model to `of_model`.
    - `order`: 1, between the two neighbours, or 3, through four points.
    - `standard_deviation`: of the values' errors, by which they are divided; default 1.

    **Raises:** `InputError` for a position outside the domain, an index below 0, or past the last
    time when called, and for shapes, bounds or an order that do not fit.
    """

    time_indices: Int[np.ndarray, " point"]
    positions: Float[np.ndarray, " point"]
    lower: float = eqx.field(static=True)
    upper: float = eqx.field(static=True)
    cells: int = eqx.field(static=True)
    wall_values: tuple[ArrayLike | None, ArrayLike | None] | None
    wall_values_of: Callable[[Any], tuple[ArrayLike, ArrayLike]] | None = eqx.field(static=True)
    order: int = eqx.field(static=True)
    standard_deviation: float = eqx.field(static=True)
    # under jit the indices are tracers, so their maximum is unknown
    _latest: int = eqx.field(static=True)
    _neighbours: Int[np.ndarray, "point neighbour"]
    _weights: Float[np.ndarray, "point neighbour"]
    _from_walls: Float[np.ndarray, "point wall"]

    def __init__(
        self,
        time_indices: Int[np.ndarray, "..."],
        positions: Float[np.ndarray, "..."],
        lower: float,
        upper: float,
        cells: int,
        wall_values: tuple[ArrayLike | None, ArrayLike | None]
        | Callable[[Any], tuple[ArrayLike, ArrayLike]] = (0.0, 0.0),
        order: int = 1,
        standard_deviation: float = 1.0,
    ):
        if not standard_deviation > 0:
            raise InputError(
                f"observations.points: a standard deviation of {standard_deviation:g}; give a "
                f"positive number, in the unit of the values"
            )
        if positions.ndim != 1 or len(positions) == 0 or time_indices.shape != positions.shape:
            raise InputError(
                f"observations.points: {time_indices.shape} times and {positions.shape} positions; "
                f"expected one of each per point, both of shape (N,) with N at least 1"
            )
        if order not in (1, 3):
            raise InputError(f"observations.points: order must be 1 or 3, not {order}")
        needed = order + (not callable(wall_values) and all(w is None for w in wall_values))
        if not (np.isfinite([lower, upper]).all() and lower < upper and cells >= needed):
            raise InputError(
                f"observations.points: {cells} cells from {lower:g} to {upper:g}; expected lower < "
                f"upper and at least {needed} cell(s) for order {order}"
            )
        if not (time_indices == np.floor(time_indices)).all():
            raise InputError("observations.points: time indices must be whole numbers")
        if time_indices.min() < 0:
            point = int(np.argmin(time_indices))
            raise InputError(
                f"observations.points: point {point} has time index {time_indices[point]}; indices "
                f"count from 0, the initial state"
            )
        self.time_indices = time_indices.astype(np.int32)
        self.positions = positions
        self.lower, self.upper, self.cells = lower, upper, cells
        self.wall_values_of = wall_values if callable(wall_values) else None
        self.wall_values = None if callable(wall_values) else wall_values
        self.order = order
        self.standard_deviation = float(standard_deviation)
        self._latest = int(time_indices.max())
        self._neighbours, self._weights, self._from_walls = self._stencils(positions)

    @property
    def count(self) -> int:
        """$N$, the number of points."""
        return len(self.positions)

    def __call__(self, u: Float[Array | np.ndarray, "..."]) -> Float[Array, " point"]:
        """The measured values, (times, 1, cells) -> (N,).

        **Raises:** `InputError` for another shape, and for fewer times than the points need.
        """
        u = self._checked(u)
        if self._latest >= len(u):
            raise InputError(
                f"observations.points: a point has time index {self._latest}, but the array of "
                f"shape {u.shape} has {len(u)} times; give indices below {len(u)}"
            )
        near = u[self.time_indices[:, None], 0, self._neighbours]
        weights, from_walls = (jnp.asarray(a, u.dtype) for a in (self._weights, self._from_walls))
        walls = self._walls(len(u), u.dtype)[self.time_indices]
        found = jnp.sum(weights * near, axis=-1) + jnp.sum(from_walls * walls, axis=-1)
        return found if self.standard_deviation == 1.0 else found / self.standard_deviation

    def of_model(self, model: Any) -> "SpaceTimePoints":
        """A copy with the wall values of this model, if they depend on one."""
        if self.wall_values_of is None:
            return self
        return eqx.tree_at(
            lambda points: points.wall_values, self, tuple(self.wall_values_of(model)),
            is_leaf=lambda part: part is None,
        )  # fmt: skip

    def _walls(self, times: int, dtype: DTypeLike) -> Float[Array, "time 2"]:
        if self.wall_values is None:
            raise InputError(
                "observations.points: the walls have the values of a model, and none was given; "
                "read with points.of_model(model)"
            )
        columns = []
        for value in self.wall_values:
            column = jnp.asarray(0.0 if value is None else value, dtype)
            if column.shape not in ((), (times,)):
                raise InputError(
                    f"observations.points: a wall has values of shape {column.shape}; expected one "
                    f"number, or one for each of the {times} times of the states"
                )
            columns.append(jnp.broadcast_to(column, (times,)))
        return jnp.stack(columns, axis=-1)

    def interpolate(
        self, u: Float[Array | np.ndarray, "..."], positions: Float[np.ndarray, " place"]
    ) -> Float[Array, "time 1 place"]:
        """Interpolate a whole trajectory to M other places, (times, 1, cells) -> (times, 1, M).

        **Raises:** `InputError` for another shape and for a position outside the domain.
        """
        u = self._checked(u)
        neighbours, *rest = self._stencils(positions)
        weights, from_walls = (jnp.asarray(a, u.dtype) for a in rest)
        walls = self._walls(len(u), u.dtype) @ from_walls.T
        return jnp.sum(weights * u[..., neighbours], axis=-1) + walls[:, None, :]

    def _checked(self, u: Float[Array | np.ndarray, "..."]) -> Float[Array, "time 1 cell"]:
        if u.ndim != 3 or u.shape[1:] != (1, self.cells):
            raise InputError(
                f"observations.points: points on a grid of {self.cells} cells cannot read an array "
                f"of shape {u.shape}; expected (times, 1, {self.cells})"
            )
        return jnp.asarray(u)

    def _stencils(
        self, positions: Float[np.ndarray, " place"]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Cells and weights (N, order + 1) by Lagrange's formula, and weights of the walls (N, 2).

        A wall in place of a neighbour has weight 0 here and its own in the last array.
        """
        # in cells from the lower wall: walls at 0 and n, centres halfway between whole numbers
        n = self.cells
        nodes = np.concatenate([[0.0], np.arange(n) + 0.5, [float(n)]])
        where = (positions - self.lower) / (self.upper - self.lower) * n
        inside = (where >= -_OUTSIDE * n) & (where <= n * (1 + _OUTSIDE))
        if not inside.all():
            point = int(np.argmin(inside))
            raise InputError(
                f"observations.points: point {point} is at {positions[point]:g}, outside the "
                f"domain from {self.lower:g} to {self.upper:g}; leave it out, or widen the domain"
            )
        where = np.clip(where, 0.0, n)
        width = self.order + 1
        left = np.searchsorted(nodes, where, side="right") - 1 - (width // 2 - 1)
        # a wall of unknown value is no node
        first, last = (int(value is None) for value in self.wall_values or (0.0, 0.0))
        chosen = np.clip(left, first, n + 2 - width - last)[:, None] + np.arange(width)
        at = nodes[chosen]
        weights = np.ones(chosen.shape)
        for i in range(width):
            for j in set(range(width)) - {i}:
                weights[:, i] *= (where - at[:, j]) / (at[:, i] - at[:, j])
        low, high = chosen == 0, chosen == n + 1
        return (
            np.clip(chosen - 1, 0, n - 1).astype(np.int32),
            np.where(low | high, 0.0, weights),
            np.stack([np.sum(weights * low, -1), np.sum(weights * high, -1)], axis=-1),
        )


def random_points(
    shape: tuple[int, int], count: int, seed: int, *, with_initial: bool = True
) -> tuple[Int[np.ndarray, " point"], Int[np.ndarray, " point"]]:
    """Distinct random entries of a data array (time, x): time indices and x indices.

    Both are (count,), in order of time and then of x.

    **Arguments:**

    - `shape`: the numbers of times and of places.
    - `count`: number of entries.
    - `seed`: the same seed, shape and choice always give the same points.
    - `with_initial`: allow time index 0, the initial state.

    **Raises:** `InputError` if `count` is below 1 or above the number of entries.
    """
    times, places = shape
    first = 0 if with_initial else places
    total = times * places - first
    if not 1 <= count <= total:
        without = "" if with_initial else " without the initial state"
        raise InputError(
            f"observations.points: {count} points asked for of {times} x {places} values{without}; "
            f"give 1 to {total}"
        )
    drawn = first + np.random.default_rng(seed).choice(total, size=count, replace=False)
    when, where = np.divmod(np.sort(drawn), places)
    return when.astype(np.int32), where.astype(np.int32)
