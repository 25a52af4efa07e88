"""Conversion of a dataset of measurements to training and test values."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from impindiff.data import is_points
from impindiff.data.file_errors import listed
from impindiff.errors import InputError
from impindiff.grid import Grid, Periodic
from impindiff.grid.geometry import cell_widths
from impindiff.observations import PointTable, Sensors, add_noise
from impindiff.observations.checks import NEARLY, same_places, shortest, up_to
from impindiff.problem.samples import AXES, with_numbers, with_samples
from impindiff.settings.steps import is_steady


class Observations(NamedTuple):
    """The values that a model is fitted to.

    - `times`: of the states passed to the operator, the initial one first.
    - `operator`: from states, (times, samples, *cells) or a pytree of such, to the values.
    - `values`: the measured values, in the operator's form.
    - `table`: the same as one row per value, for values of quantities at points.
    """

    times: tuple[float, ...]
    operator: Callable[..., Any]
    values: Float[Array, "..."]
    table: PointTable | None = None


class Measured(NamedTuple):
    """The values of some samples, split into training and test set.

    - `training`, `test`: rows with errors; the test set may be empty.
    - `start`: the time of the initial state.
    """

    training: PointTable
    test: PointTable
    start: float


def start_of(dataset: xr.Dataset, settings: Any) -> float:
    """The time of the initial state: `observations.start`, or the first time of the data.

    That of steady states is only a guess, before all data.
    """
    chosen = getattr(settings.observations, "start", None)
    if chosen is not None:
        return float(chosen)
    times = dataset["time"].to_numpy()
    if is_steady(settings):
        return float(times.min()) - 1.0
    return min(0.0, float(times.min())) if is_points(dataset) else float(times[0])


def measured(
    dataset: xr.Dataset,
    grid: Grid,
    settings: Any,
    *,
    first_is_state: bool = True,
    to_train_on: bool = True,
) -> Measured:
    """The values of a dataset of fields or of points, NaN left out.

    Fields count as values at every place of the file. The settings choose times, places and noise
    of training samples; their values after `observations.until` are in the test set.

    **Arguments:**

    - `first_is_state`: the fields at the start are the initial state, so they are no observations;
      else they are values like the later ones.
    - `to_train_on`: False for test samples: all their values are in the test set, as in the file.

    **Raises:** `InputError` for a dataset without values, with none after the start or none for
    training, and for values before the start.
    """
    axes = AXES[: grid.ndim]
    scattered = is_points(dataset)
    dataset = with_numbers(dataset)
    chosen, first_is_state = settings.observations, first_is_state and not is_steady(settings)
    seen = chosen if to_train_on else None
    table = (
        _of_points(dataset, axes, seen)
        if scattered
        else _of_fields(dataset, axes, seen, first_is_seen=is_steady(settings))
    )
    if not len(table):
        raise InputError("measurements: there are no values that are numbers; is the file empty?")
    start = start_of(dataset, settings)
    interval = shortest(dataset["time"].to_numpy())
    if not scattered:
        first = same_places(table.time, start, interval)
        table = dataclasses.replace(table, time=np.where(first, start, table.time))
        table = table.rows(~first) if first_is_state else table
        if chosen.start is not None:
            table = table.rows(table.time >= start)
        if not len(table):
            raise InputError(
                f"measurements: there are no values after the initial state at t = {start:g}; give "
                f"later ones, or an earlier observations.start"
            )
    if (table.time < start).any():
        raise InputError(
            f"measurements: the first is at t = {table.time.min():g}, before the initial state at "
            f"t = {start:g}; set observations.start, or leave out what comes before by data.times"
        )
    table = table.with_errors(chosen.standard_deviation)
    if not to_train_on:
        return Measured(table.rows(np.zeros(len(table), bool)), table, start)
    late = (
        np.zeros(len(table), bool)
        if chosen.until is None
        else ~up_to(table.time, chosen.until, interval)
    )
    if len(late) and late.all():
        raise InputError(
            f"observations.until: no value is at or before t = {chosen.until}; times go from "
            f"{table.time.min():g} to {table.time.max():g}"
        )
    if late.any() and not (table.time[~late] > start).any():
        first = table.time[table.time > start].min()
        raise InputError(
            f"observations.until: no value after the initial state at t = {start:g} is at or "
            f"before t = {chosen.until}; the first is at t = {first:g}"
        )
    return Measured(table.rows(~late), table.rows(late), start)


def initial_fields(
    dataset: xr.Dataset,
    grid: Grid,
    names: Sequence[str] | None = None,
    start: float | None = None,
) -> dict[str, Float[np.ndarray, "sample *cells"]]:
    """The initial fields on a grid by linear interpolation; (samples, *cells) each.

    Data are extrapolated linearly up to half a gap beyond the outermost places; along a periodic
    axis they wrap around.

    **Arguments:**

    - `names`: of the fields; by default all that vary in time.
    - `start`: one of the data's times; None: the first.

    **Raises:** `InputError` for scattered points, a time that the data do not have, a grid larger
    than the data's domain, and gaps in the fields.
    """
    if is_points(dataset):
        raise InputError(
            "initial_state: the measurements are scattered points, which cannot give it; write "
            "initial_state(settings, model, data) in the problem"
        )
    before = with_samples(with_numbers(dataset))
    first = before.isel(time=_index_of(before["time"].to_numpy(), start))
    axes = AXES[: grid.ndim]
    fields = {}
    for name in names or [
        str(n) for n in first.data_vars if {"sample", "time"} <= {*before[n].dims}
    ]:
        if set(first[name].dims) != {"sample", *axes}:
            raise InputError(
                f"initial_state: '{name}' has dimensions {listed(dataset[name].dims)}; the model's "
                f"grid has {listed(axes)}; choose variables by data.variables"
            )
        found = first[name].transpose("sample", *axes).to_numpy().astype(float)
        for axis, dim in enumerate(axes):
            found = _onto(found, name, first[dim].to_numpy().astype(float), grid, axis)
        if grid.domain is not None:
            inside = grid.inside
            if isinstance(inside, Tracer):
                # while only shapes are evaluated the domain is unknown
                inside = np.isfinite(found).all(axis=0)
            found = _filled_outside(found, np.asarray(inside), name)
        if not np.isfinite(found).all():
            raise InputError(
                f"initial_state: '{name}' has {int(np.isnan(found).sum())} gaps at the first time; "
                f"fill them, or write initial_state(settings, model, data) in the problem"
            )
        fields[name] = found
    return fields


def _filled_outside(
    found: Float[np.ndarray, "sample *cells"], inside: Bool[np.ndarray, "*cells"], name: str
) -> Float[np.ndarray, "sample *cells"]:
    """The fields with their mean in cells outside the domain, whose values act on nothing."""
    gaps = int(np.isnan(found[:, inside]).sum())
    if gaps:
        raise InputError(
            f"initial_state: '{name}' has {gaps} gaps at the first time in cells inside the grid's "
            "domain; make the domain that of the data, fill them, or write initial_state(settings, "
            "model, data) in the problem"
        )
    means = found[:, inside].mean(axis=1).reshape(-1, *[1] * inside.ndim)
    return np.where(inside, found, means)


def _index_of(times: Float[np.ndarray, " time"], start: float | None) -> int:
    if start is None:
        return 0
    same = same_places(times, start, shortest(times))
    if not same.any():
        nearest = times[np.argmin(np.abs(times - start))]
        raise InputError(
            f"observations.start: the data have no time {start:g}, of which the initial state is "
            f"read; the nearest is {nearest:.12g}: take it, or write initial_state(settings, "
            f"model, data) in the problem"
        )
    return int(np.argmax(same))


def _onto(
    field: Float[np.ndarray, "sample *places"],
    name: str,
    places: Float[np.ndarray, " place"],
    grid: Grid,
    axis: int,
) -> Float[np.ndarray, "sample *cells"]:
    """Interpolate along one axis from the data's places to cell centres."""
    centres, widths = grid.axis_centers(axis), cell_widths(grid, axis)
    # interpolating to the same places would spread gaps to their neighbours
    if len(places) == len(centres) and same_places(places, centres, widths).all():
        return field
    order = np.argsort(places)
    places, field = places[order], np.take(field, order, axis + 1)
    gap = np.diff(places)
    if (gap <= 0).any():
        raise InputError(
            f"initial_state: coordinate '{AXES[axis]}' has {places[np.argmin(gap)]:.12g} twice; "
            f"keep one of each place"
        )
    ends = gap[[0, -1]] / 2 if gap.size else (0.0, 0.0)
    low, high = places[0] - ends[0], places[-1] + ends[1]
    closes = isinstance(grid.boundary[axis][0], Periodic)
    if closes and ((centres < places[0]) | (centres > places[-1])).any():
        length = grid.upper[axis] - grid.lower[axis]
        seam = places[0] + length - places[-1]
        if gap.size and NEARLY * gap.min() < seam < 2 * gap.max():
            places = np.concatenate([places[-1:] - length, places, places[:1] + length])
            field = np.take(field, np.arange(-1, len(places) - 1) % (len(places) - 2), axis + 1)
            low, high = places[[0, -1]]
    outside = ~(
        ((centres >= low) & (centres <= high))
        | same_places(centres, low, widths)
        | same_places(centres, high, widths)
    )
    if outside.any() or len(places) < 2:
        raise InputError(
            f"initial_state: '{name}' has values from {AXES[axis]} = {places[0]:.12g} to "
            f"{places[-1]:.12g}, but the grid has {int(outside.sum())} cell centre(s) further out, "
            f"such as {centres[np.argmax(outside)]:.12g}; make the grid's box that of the data, or "
            f"write initial_state(settings, model, data) in the problem"
        )
    left = np.clip(np.searchsorted(places, centres, side="right") - 1, 0, len(places) - 2)
    part = (centres - places[left]) / (places[left + 1] - places[left])
    part = part.reshape(-1, *[1] * (field.ndim - axis - 2))
    one, other = np.take(field, left, axis + 1), np.take(field, left + 1, axis + 1)
    # a gap with zero weight must not spread
    return np.where(part == 1, other, np.where(part == 0, one, (1 - part) * one + part * other))


def _of_points(dataset: xr.Dataset, axes: Sequence[str], chosen: Any) -> PointTable:
    missing = [name for name in ("time", "quantity", "value", *axes) if name not in dataset]
    if missing:
        raise InputError(
            f"measurements: have no {', '.join(missing)}; points need time, quantity, value and "
            f"the coordinates {', '.join(axes)} of the model's grid"
        )
    count = dataset.sizes["observation"]
    column = {str(name): dataset[name].to_numpy() for name in dataset.variables}
    table = PointTable(
        quantity=column["quantity"].astype(str),
        sample=column.get("sample", np.zeros(count, int)).astype(int),
        time=column["time"].astype(float),
        position=np.stack([column[name] for name in axes], axis=1).astype(float),
        value=column["value"].astype(float),
        standard_deviation=column.get("standard_deviation", np.full(count, np.nan)).astype(float),
    )
    table = table.rows(np.isfinite(table.value))
    return table if chosen is None else _some_points(table, chosen)


def _some_points(table: PointTable, chosen: Any) -> PointTable:
    """The rows at the chosen times and places, with noise added."""
    if chosen.times is not None:
        there = np.unique(table.time)
        wanted = there[index_of_times(there, chosen.times)]
        table = table.rows(np.isin(table.time, wanted))
    if chosen.sensors is not None:
        places, of_row = np.unique(table.position, axis=0, return_inverse=True)
        kept = Sensors((len(places),), chosen.sensors, chosen.seed).indices
        table = table if kept is None else table.rows(np.isin(of_row.ravel(), kept))
    if chosen.noise == 0:
        return table
    value = table.value.copy()
    for number, name in enumerate(table.quantities):
        own = table.quantity == name
        value[own] = add_noise(value[own], chosen.noise, chosen.seed + 1 + number)
    return dataclasses.replace(table, value=value)


def _of_fields(
    dataset: xr.Dataset, axes: Sequence[str], chosen: Any, *, first_is_seen: bool = False
) -> PointTable:
    """One row per value, in the order (time, sample, place)."""
    dataset = with_samples(dataset)
    dimensions = ("sample", "time", *axes)
    times = dataset["time"].to_numpy().astype(float)
    indices, sensors = list(range(len(times))), None
    if chosen is not None:
        if chosen.times is not None:
            indices = index_of_times(times, chosen.times)
            if sorted(set(indices)) != indices or (0 in indices and not first_is_seen):
                raise InputError(
                    f"observations.times: {list(chosen.times)} must increase and come after the "
                    f"initial state at {times[0]:g}"
                )
        sensors = _sensors(dataset, dimensions, chosen)
    mesh = np.meshgrid(*(dataset[axis].to_numpy().astype(float) for axis in axes), indexing="ij")
    places = np.stack([part.ravel() for part in mesh], axis=1)
    at: Int[np.ndarray, " place"] = np.arange(len(places)) if sensors is None else sensors
    parts = []
    for name, field in dataset.data_vars.items():
        if "time" not in field.dims or "sample" not in field.dims:  # latent field or condition
            continue
        if set(field.dims) != set(dimensions):
            raise InputError(
                f"measurements: variable '{name}' has dimensions ({', '.join(map(str, field.dims))}"
                f"); expected ({', '.join(dimensions)}), those of the model's grid; choose "
                f"variables by data.variables"
            )
        values = field.transpose(*dimensions).to_numpy().astype(float)[:, indices]
        if chosen is not None:
            seed = chosen.seed + 1 + len(parts)
            values = add_noise(values, chosen.noise, seed, space_axes=len(axes))
        samples = len(values)
        values = np.moveaxis(values.reshape(samples, len(indices), -1), 1, 0)[:, :, at]
        index = np.indices(values.shape).reshape(3, -1)
        value = values.ravel()
        parts.append(
            PointTable(
                quantity=np.full(value.size, str(name)),
                sample=index[1],
                time=times[indices][index[0]],
                position=places[at][index[2]],
                value=value,
                standard_deviation=np.full(value.size, np.nan),
            ).rows(np.isfinite(value))
        )
    if not parts:
        raise InputError("measurements: the file has no variables; choose by data.variables")
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in dataclasses.fields(PointTable)
    }
    return PointTable(**columns)


def _sensors(
    dataset: xr.Dataset, dimensions: Sequence[str], chosen: Any
) -> Int[np.ndarray, " sensor"] | None:
    """Random cells among those that have a value at all; None for all of them."""
    if chosen.sensors is None:
        return None
    fields = [field for field in dataset.data_vars.values() if set(field.dims) == set(dimensions)]
    known = np.zeros([dataset.sizes[axis] for axis in dimensions[2:]], bool)
    for field in fields:
        known |= np.isfinite(field.transpose(*dimensions).to_numpy()).any(axis=(0, 1))
    places = np.flatnonzero(known) if fields else np.arange(known.size)
    drawn = Sensors((len(places),), chosen.sensors, chosen.seed).indices
    return None if drawn is None else places[drawn]


def index_of_times(there: Float[np.ndarray, " time"], wanted: Sequence[float]) -> list[int]:
    """Indices of the given times among the data's.

    **Raises:** `InputError` with the nearest time for a time without data.
    """
    indices, interval = [], shortest(there)
    for time in wanted:
        nearest = int(np.argmin(np.abs(there - time)))
        if not same_places(there[nearest], time, interval):
            raise InputError(
                f"observations.times: there are no data at {time:g}; the {len(there)} times go "
                f"from {there[0]:g} to {there[-1]:g} and the nearest is {there[nearest]:.12g}"
            )
        indices.append(nearest)
    return indices
