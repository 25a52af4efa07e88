"""Values of several quantities at scattered times and places, in one to three dimensions."""

import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, PyTree, Shaped

from impindiff.errors import InputError
from impindiff.grid import Grid, Periodic
from impindiff.observations.interpolation import cubic_in_time, linear_in_space

# Positions and times computed from bounds may leave them by rounding alone.
_OUTSIDE = 1e-9
# Weights of round-off are those of a place or a time that is met.
_NEGLIGIBLE = 1e-9


@dataclasses.dataclass(frozen=True)
class PointTable:
    """What was measured: one value a row, N in all.

    - `quantity`: the name of what was measured, (N,) text.
    - `sample`: which trajectory it is of, whole numbers from 0.
    - `time`, `position`: when, and where as (N, dimensions), in the units of the model.
    - `value`: what was read.
    - `standard_deviation`: of its error, in its unit; NaN where it is not known.
    """

    quantity: Shaped[np.ndarray, " point"]
    sample: Int[np.ndarray, " point"]
    time: Float[np.ndarray, " point"]
    position: Float[np.ndarray, "point dimension"]
    value: Float[np.ndarray, " point"]
    standard_deviation: Float[np.ndarray, " point"]

    def __len__(self) -> int:
        return len(self.value)

    @property
    def quantities(self) -> tuple[str, ...]:
        """The names of what was measured, in order of first appearance."""
        return tuple(dict.fromkeys(map(str, self.quantity)))

    def rows(self, chosen: Bool[np.ndarray, " point"]) -> "PointTable":
        """Those rows alone."""
        columns = {f.name: getattr(self, f.name)[chosen] for f in dataclasses.fields(self)}
        return PointTable(**columns)

    def with_errors(self, standard_deviations: Mapping[str, float]) -> "PointTable":
        """With an error for the rows that have none: that of their quantity.

        Where that is not given either, the spread of the quantity's values: then each quantity
        weighs alike, and what is left of the misfit is a fraction of that spread.
        """
        errors = self.standard_deviation.copy()
        for name, own in rows_by_name(self.quantity).items():
            value = self.value[own]
            spread = float(np.std(value)) or float(np.abs(value).max()) or 1.0
            unknown = own[np.isnan(errors[own])]
            errors[unknown] = standard_deviations.get(name, spread)
        return dataclasses.replace(self, standard_deviation=errors)


def rows_by_name(names: Shaped[np.ndarray, " point"]) -> dict[str, Int[np.ndarray, " own"]]:
    """Which rows are of each name, names in order of first appearance; in one pass over them."""
    if not len(names):
        return {}
    unique, first, inverse = np.unique(names.astype(str), return_index=True, return_inverse=True)
    order = np.argsort(inverse, kind="stable")
    rows = np.split(order, np.cumsum(np.bincount(inverse))[:-1])
    return {str(unique[i]): rows[i] for i in np.argsort(first)}


class ScatteredPoints(eqx.Module):
    r"""The measuring operator $H u = (q_1(t_1, x_1) / \sigma_1, \dots, q_N(t_N, x_N) / \sigma_N)$.

    Between cell centres a quantity is interpolated linearly along each axis (see
    `linear_in_space`), between the times of the states by cubic polynomials, so that $N$ different
    times do not ask for $N$ time steps. $H$ is linear in the quantities: one gather.

    Called on states with leading axes (times, samples), it returns (N,).

    **Arguments:**

    - `table`: what was measured, with errors (see `PointTable.with_errors`).
    - `grid`: of the states.
    - `times`: of the states.
    - `quantities`: from the states to the fields measured, by name, (times, samples, *cells).

    **Raises:** `InputError` for a point outside the domain or the times; when called, for a
    quantity that the states do not have, or of another shape.
    """

    quantities: Callable[[Any], Mapping[str, Any]] = eqx.field(static=True)
    places: dict[str, "_Places"]
    order: Int[np.ndarray, " point"]
    errors: Float[np.ndarray, " point"]

    def __init__(
        self,
        table: PointTable,
        grid: Grid,
        times: Float[np.ndarray, " time"],
        quantities: Callable[[Any], Mapping[str, Any]],
    ):
        _require_inside(table, grid, times)
        lower, upper = np.asarray(grid.lower), np.asarray(grid.upper)
        periodic = tuple(isinstance(low, Periodic) for low, _ in grid.boundary)
        scaled = (table.position - lower) / (upper - lower)
        at = np.clip(table.time, times[0], times[-1])
        near, time_weights = cubic_in_time(times, at)
        cells, cell_weights = linear_in_space(scaled, grid.cells, periodic)
        self.quantities = quantities
        self.places = {}
        rows = rows_by_name(table.quantity)
        for name, own in rows.items():
            self.places[name] = _Places(
                table.sample[own].astype(np.int32),
                *_needed(near[own], time_weights[own]),
                *_needed(cells[own], cell_weights[own]),
            )
        self.order = np.argsort(np.concatenate(list(rows.values())))
        self.errors = table.standard_deviation

    @property
    def count(self) -> int:
        """$N$."""
        return len(self.errors)

    def __call__(self, u: PyTree[Float[Array, "..."]]) -> Float[Array, " point"]:
        """The values over their errors, in the order of the table's rows."""
        fields = self.quantities(u)
        read = []
        for name, places in self.places.items():
            if name not in fields:
                raise InputError(
                    f"measurements: '{name}' was measured, but the model's quantities are "
                    f"{', '.join(map(str, fields)) or 'none'}; rename the one that is meant, or "
                    f"write it in the problem's quantities()"
                )
            read.append(places(jnp.asarray(fields[name])))
        found = jnp.concatenate(read)[self.order]
        return found / self.errors.astype(found.dtype)


class _Places(eqx.Module):
    """From which nodes the values of one quantity are read."""

    sample: Int[np.ndarray, " point"]
    near: Int[np.ndarray, "point node"]
    time_weights: Float[np.ndarray, "point node"]
    cells: Int[np.ndarray, "point corner"]
    cell_weights: Float[np.ndarray, "point corner"]

    def __call__(self, field: Float[Array, "time sample *cells"]) -> Float[Array, " point"]:
        flat = field.reshape(*field.shape[:2], math.prod(field.shape[2:]))
        values = flat[self.near[:, :, None], self.sample[:, None, None], self.cells[:, None, :]]
        weights = self.time_weights[:, :, None] * self.cell_weights[:, None, :]
        return jnp.sum(values * weights.astype(field.dtype), axis=(1, 2))


def _needed(
    indices: Int[np.ndarray, "point node"], weights: Float[np.ndarray, "point node"]
) -> tuple[Int[np.ndarray, "point needed"], Float[np.ndarray, "point needed"]]:
    """One node a point where every point lies on a node, as measurements at cell centres do."""
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
    slack = _OUTSIDE * (times[-1] - times[0])
    early, late = table.time < times[0] - slack, table.time > times[-1] + slack
    if (early | late).any():
        row = int(np.argmax(early | late))
        raise InputError(
            f"measurements: value {row + 1} of {len(table)} is at t = {table.time[row]:g}, outside "
            f"{times[0]:g} to {times[-1]:g}, the times of the states"
        )
