"""Values of several quantities at scattered times and places, in one to three dimensions."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from impindiff.errors import InputError
from impindiff.grid import Boundaries, BoundaryLike, Grid, Periodic
from impindiff.grid.geometry import wall_lengths
from impindiff.observations._interpolation import (
    between_centres_of,
    cubic_in_time,
    linear_in_space,
    outside_domain,
    weights_inside,
)
from impindiff.observations.walls import NearWalls, conditions, near_walls

# positions and times computed from bounds may leave them by round-off
_OUTSIDE = 1e-9
# weights below this are round-off: the point lies on a node
_NEGLIGIBLE = 1e-9


@dataclasses.dataclass(frozen=True)
class PointTable:
    """Measured values at points, one per row, N in all.

    - `quantity`: name of the measured quantity, (N,) text.
    - `sample`: index of the trajectory, from 0.
    - `time`, `position`: time, and place as (N, dimensions), in the units of the model.
    - `value`: the measured value.
    - `standard_deviation`: of its error, in its unit; NaN where unknown.
    - `stated`: True where that was given, not filled in from the spread of the values; by default
      where it is known.
    """

    quantity: Shaped[np.ndarray, " point"]
    sample: Int[np.ndarray, " point"]
    time: Float[np.ndarray, " point"]
    position: Float[np.ndarray, "point dimension"]
    value: Float[np.ndarray, " point"]
    standard_deviation: Float[np.ndarray, " point"]
    stated: Bool[np.ndarray, " point"] = None  # pyright: ignore[reportAssignmentType]

    def __post_init__(self):
        """Mark the errors that are known."""
        if self.stated is None:
            object.__setattr__(self, "stated", ~np.isnan(self.standard_deviation))

    def __len__(self) -> int:
        return len(self.value)

    @property
    def quantities(self) -> tuple[str, ...]:
        """Names of the measured quantities, in order of first appearance."""
        return tuple(dict.fromkeys(map(str, self.quantity)))

    def rows(self, chosen: Bool[np.ndarray, " point"]) -> "PointTable":
        """Select rows."""
        columns = {f.name: getattr(self, f.name)[chosen] for f in dataclasses.fields(self)}
        return PointTable(**columns)

    def with_rows(self, other: "PointTable") -> "PointTable":
        """Append the rows of another table."""
        columns = {
            f.name: np.concatenate([getattr(self, f.name), getattr(other, f.name)])
            for f in dataclasses.fields(self)
        }
        return PointTable(**columns)

    def with_errors(self, standard_deviations: float | Mapping[str, float]) -> "PointTable":
        """Fill missing errors with those of the quantity, or with one number for all.

        Without one, the spread of the quantity's values is used: then all quantities weigh alike,
        and the remaining misfit is a fraction of that spread.
        """
        errors, stated = self.standard_deviation.copy(), self.stated.copy()
        for name, own in rows_by_name(self.quantity).items():
            value = self.value[own]
            spread = float(np.std(value)) or float(np.abs(value).max()) or 1.0
            unknown = own[np.isnan(errors[own])]
            each = isinstance(standard_deviations, Mapping)
            given = standard_deviations.get(name) if each else standard_deviations
            errors[unknown] = spread if given is None else given
            stated[unknown] = given is not None
        return dataclasses.replace(self, standard_deviation=errors, stated=stated)


def rows_by_name(names: Shaped[np.ndarray, " point"]) -> dict[str, Int[np.ndarray, " own"]]:
    """Row indices by name, names in order of first appearance, in one pass."""
    if not len(names):
        return {}
    unique, first, inverse = np.unique(names.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return {str(unique[i]): rows[i] for i in np.argsort(first)}


class ScatteredPoints(eqx.Module):
    r"""Observation operator $H u = ((q_1(t_1, x_1) + b_1) / \sigma_1, \dots)$, N values.

    Quantities are interpolated linearly in space between cell centres (see `linear_in_space`), and
    by cubic polynomials in time between states, so that $N$ different times do not need $N$ time
    steps. $H$ is affine in the quantities; the constant comes from boundary values, and from the
    offset $b$ of the quantity's instrument, by default 0.

    On a wall, and in the half cell next to it, the boundary condition at the time of the
    measurement is used (see `NearWalls`): that of `conditions`, or the grid's for components of the
    state. Other quantities are extrapolated linearly, also to second order.

    Called on states with leading axes (times, samples), it returns (N,).

    **Arguments:**

    - `table`: the measured values, with errors (see `PointTable.with_errors`).
    - `grid`: grid of the states.
    - `times`: times of the states.
    - `quantities`: from the states to the fields measured, by name, (times, samples, *cells).
    - `conditions`: from a model to the boundary conditions of quantities, by name, in the form that
      `Grid` takes. They are learned with the model: a loss passes it to `of_model`.
    - `offsets`: from a model to offsets of quantities, by name, learned in the same way.
    - `model`: the initial model; without one, conditions are those of `grid`, and offsets 0, until
      `of_model`.

    **Raises:** `InputError` for a point outside the domain or the times, and rows without an error
    or with a negative sample; when called, for a quantity missing from the states or of another
    shape, and for a sample that the states do not have.
    """

    quantities: Callable[[Any], Mapping[str, Any]] = eqx.field(static=True)
    conditions: Callable[[Any], Mapping[str, BoundaryLike]] | None = eqx.field(static=True)
    offsets: Callable[[Any], Mapping[str, Any]] | None = eqx.field(static=True)
    cells: tuple[int, ...] = eqx.field(static=True)
    times: int = eqx.field(static=True)
    samples: int = eqx.field(static=True)
    starts_at_axis: bool = eqx.field(static=True)
    places: dict[str, "_Places"]
    boundary: Boundaries
    own_boundaries: dict[str, Boundaries]
    own_offsets: dict[str, Any]
    order: Int[np.ndarray, " point"]
    errors: Float[np.ndarray, " point"]

    def __init__(
        self,
        table: PointTable,
        grid: Grid,
        times: Float[np.ndarray, " time"],
        quantities: Callable[[Any], Mapping[str, Any]],
        conditions: Callable[[Any], Mapping[str, BoundaryLike]] | None = None,
        model: Any = None,
        offsets: Callable[[Any], Mapping[str, Any]] | None = None,
    ):
        _require_inside(table, grid, times)
        self.quantities = quantities
        self.conditions, self.offsets = conditions, offsets
        self.own_offsets = {} if offsets is None or model is None else dict(offsets(model))
        self.cells, self.times = grid.cells, len(times)
        self.samples = int(table.sample.max()) + 1
        self.boundary = grid.boundary
        given = {} if conditions is None or model is None else conditions(model)
        self.starts_at_axis = grid.starts_at_axis
        self.own_boundaries = _normalised(given, grid.ndim, grid.starts_at_axis)
        lengths = tuple(wall_lengths(grid, axis) for axis in range(grid.ndim))
        at = np.clip(table.time, times[0], times[-1])
        near, time_weights = cubic_in_time(times, at)
        self.places = {}
        # sorted, as JAX rebuilds a dictionary: `order` belongs to this order of the names
        rows = dict(sorted(rows_by_name(table.quantity).items()))
        for name, own in rows.items():
            periodic = _periodic(self.own_boundaries.get(name, grid.boundary))
            sample, when = table.sample[own].astype(np.int32), table.time[own]
            left, part = between_centres_of(grid, table.position[own], periodic)
            cells, cell_weights = linear_in_space(left, part, grid.cells)
            cell_weights = weights_inside(grid, cells, cell_weights)
            walls = near_walls(left, part, grid.cells, lengths, periodic, sample, when)
            beside = None
            if walls is not None:
                beside = _Nodes(
                    sample[walls.rows], near[own][walls.rows], time_weights[own][walls.rows],
                    cells[walls.rows],
                )  # fmt: skip
            near_own, time_weights_own = _needed(near[own], time_weights[own])
            cells, cell_weights = _needed(cells, cell_weights)
            nodes = _Nodes(sample, near_own, time_weights_own, cells)
            self.places[name] = _Places(nodes, cell_weights, beside, walls)
        self.order = np.argsort(np.concatenate(list(rows.values())))
        self.errors = table.standard_deviation

    @property
    def count(self) -> int:
        """$N$, the number of values."""
        return len(self.errors)

    def of_model(self, model: Any) -> "ScatteredPoints":
        """A copy with this model's grid, boundary conditions and offsets, which may be learned.

        **Raises:** `InputError` if the periodic axes change.
        """
        grid = getattr(model, "grid", None)
        given = {} if self.conditions is None else self.conditions(model)
        own = _normalised(given, len(self.cells), self.starts_at_axis)
        boundary = grid.boundary if isinstance(grid, Grid) else self.boundary
        for before, now in [
            (self.boundary, boundary),
            *((old, own.get(name, old)) for name, old in self.own_boundaries.items()),
        ]:
            if _periodic(before) != _periodic(now):
                raise InputError("measurements: an axis is periodic in one model, not in another")
        offsets = {} if self.offsets is None else dict(self.offsets(model))
        changed = (self.boundary, self.own_boundaries, self.own_offsets)
        return eqx.tree_at(
            lambda operator: (operator.boundary, operator.own_boundaries, operator.own_offsets),
            self,
            (boundary, own, offsets),
            is_leaf=lambda part: any(part is old for old in changed),
        )

    def __call__(self, u: PyTree[Float[Array, "..."]]) -> Float[Array, " point"]:
        """Values divided by their errors, in the order of the table's rows."""
        fields = self.quantities(u)
        states = jax.tree.leaves(u)
        read = []
        for name, places in self.places.items():
            if name not in fields:
                raise InputError(
                    f"measurements: '{name}' was measured, but the model's quantities are "
                    f"{', '.join(map(str, fields)) or 'none'}; rename the one that is meant, or "
                    f"write it in the problem's quantities()"
                )
            boundary = self.own_boundaries.get(name)
            if boundary is None and any(fields[name] is state for state in states):
                boundary = self.boundary
            field = jnp.asarray(fields[name])
            self._require_shape(name, field.shape)
            read.append(places(field, boundary) + self.own_offsets.get(name, 0.0))
        found = jnp.concatenate(read)[self.order]
        return found / self.errors.astype(found.dtype)

    def _require_shape(self, name: str, shape: tuple[int, ...]) -> None:
        if len(shape) != 2 + len(self.cells) or shape[2:] != self.cells or shape[0] != self.times:
            raise InputError(
                f"measurements: quantity '{name}' has shape {shape}; expected (times, samples, "
                f"*cells) = {(self.times, 'any', *self.cells)}, those of the states"
            )
        if shape[1] < self.samples:
            raise InputError(
                f"measurements: there is a value of sample {self.samples - 1}, but the states have "
                f"{shape[1]} sample(s), numbered from 0; give as many initial states, or correct "
                f"the column 'sample'"
            )


class _Nodes(eqx.Module):
    """Entries of a field (times, samples, *cells) that surround each point."""

    sample: Int[np.ndarray, " point"]
    near: Int[np.ndarray, "point node"]
    time_weights: Float[np.ndarray, "point node"]
    cells: Int[np.ndarray, "point corner"]

    def __call__(self, field: Float[Array, "time sample *cells"]) -> Float[Array, "point corner"]:
        """Values at the corners, at the point's time."""
        flat = field.reshape(*field.shape[:2], math.prod(field.shape[2:]))
        values = flat[self.near[:, :, None], self.sample[:, None, None], self.cells[:, None, :]]
        return jnp.sum(values * self.time_weights[:, :, None].astype(field.dtype), axis=1)


class _Places(eqx.Module):
    """Nodes and walls from which one quantity is read."""

    nodes: _Nodes
    cell_weights: Float[np.ndarray, "point corner"]
    beside_walls: _Nodes | None
    walls: NearWalls | None

    def __call__(
        self, field: Float[Array, "time sample *cells"], boundary: Boundaries | None
    ) -> Float[Array, " point"]:
        found = jnp.sum(self.nodes(field) * self.cell_weights.astype(field.dtype), axis=1)
        if boundary is None or self.walls is None or self.beside_walls is None:
            return found
        patch = self.beside_walls(field).reshape(-1, *[2] * (field.ndim - 2))
        return found.at[self.walls.rows].set(self.walls(patch, boundary))


def _normalised(
    given: Mapping[str, BoundaryLike], ndim: int, starts_at_axis: bool
) -> dict[str, Boundaries]:
    return {
        str(name): conditions(boundary, ndim, starts_at_axis) for name, boundary in given.items()
    }


def _periodic(boundary: Boundaries) -> tuple[bool, ...]:
    return tuple(isinstance(low, Periodic) for low, _ in boundary)


def _needed(
    indices: Int[np.ndarray, "point node"], weights: Float[np.ndarray, "point node"]
) -> tuple[Int[np.ndarray, "point needed"], Float[np.ndarray, "point needed"]]:
    """Reduce to one node per point where every point lies on a node, as for cell centres."""
    heaviest = np.argmax(weights, axis=1)[:, None]
    if not (np.abs(np.take_along_axis(weights, heaviest, 1) - 1) < _NEGLIGIBLE).all():
        return indices, weights
    return np.take_along_axis(indices, heaviest, 1), np.ones((len(indices), 1))


def _require_inside(table: PointTable, grid: Grid, times: Float[np.ndarray, " time"]) -> None:
    if not len(table):
        raise InputError("measurements: there are none; give at least one value")
    if table.position.shape[1] != grid.ndim:
        raise InputError(
            f"measurements: places have {table.position.shape[1]} coordinate(s), the model's grid "
            f"has {grid.ndim} dimension(s); give one coordinate for each"
        )
    if table.sample.min() < 0:
        raise InputError(
            f"measurements: value {int(np.argmin(table.sample)) + 1} of {len(table)} is of sample "
            f"{table.sample.min()}; samples are numbered from 0"
        )
    if not (table.standard_deviation > 0).all():
        row = int(np.argmin(table.standard_deviation > 0))
        raise InputError(
            f"measurements: value {row + 1} of {len(table)} ('{table.quantity[row]}') has the "
            f"standard deviation {table.standard_deviation[row]:g}; give a positive one, or take "
            f"table.with_errors"
        )
    lower, upper = np.asarray(grid.lower), np.asarray(grid.upper)
    slack = _OUTSIDE * (upper - lower)
    inside = ((table.position >= lower - slack) & (table.position <= upper + slack)).all(axis=1)
    if not inside.all():
        row = int(np.argmin(inside))
        place = ", ".join(f"{x:g}" for x in table.position[row])
        others = int((~inside).sum())
        raise InputError(
            f"measurements: value {row + 1} of {len(table)} ('{table.quantity[row]}') is at "
            f"({place}), outside the grid from {grid.lower} to {grid.upper} ({others} such "
            f"values); enlarge the grid, leave them out, or check the unit of length"
        )
    outside = outside_domain(grid, table.position)
    if outside.any():
        row = int(np.argmax(outside))
        place = ", ".join(f"{x:g}" for x in table.position[row])
        raise InputError(
            f"measurements: value {row + 1} of {len(table)} ('{table.quantity[row]}') is at "
            f"({place}), outside the domain of the grid ({int(outside.sum())} such values); leave "
            f"them out, write NaN there in fields, or check the domain"
        )
    slack = _OUTSIDE * (times[-1] - times[0])
    during = (table.time >= times[0] - slack) & (table.time <= times[-1] + slack)
    if not during.all():
        row = int(np.argmin(during))
        raise InputError(
            f"measurements: value {row + 1} of {len(table)} is at t = {table.time[row]:g}, outside "
            f"{times[0]:g} to {times[-1]:g}, the times of the states"
        )
