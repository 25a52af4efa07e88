"""From a dataset of measurements to what training sees, and what the forecast is judged by."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data import is_points
from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.observations import PointTable

AXES = ("x", "y", "z")


class Measured(NamedTuple):
    """All values, and which of them training may see.

    - `training`, `held_out`: parts of `everything`; the second may have no rows.
    - `start`: the time of the initial state.
    - `samples`: how many trajectories there are.
    - `dataset`: what they come from, in one of the two forms of `impindiff.data`.
    """

    everything: PointTable
    training: PointTable
    held_out: PointTable
    start: float
    samples: int
    dataset: xr.Dataset


def measured(dataset: xr.Dataset, grid: Grid, settings: Any) -> Measured:
    """The values of a dataset of fields or of points, NaN left out.

    Fields are values at every cell of the file after the first time, whose fields are the initial
    state; `sample` may be left out of either form where there is one trajectory.

    Raises `InputError` for a dataset without values, or with none for training.
    """
    axes = AXES[: grid.ndim]
    scattered = is_points(dataset)
    table = _of_points(dataset, axes) if scattered else _of_fields(dataset, axes)
    if not len(table):
        raise InputError("measurements: there are no values that are numbers; is the file empty?")
    chosen = settings.observations
    start = chosen.start
    if start is None:
        start = min(0.0, float(table.time.min())) if scattered else float(dataset["time"][0])
    if not scattered:
        table = table.rows(table.time > start)
    if (table.time < start).any():
        raise InputError(
            f"measurements: the first is at t = {table.time.min():g}, before the initial state at "
            f"t = {start:g}; set observations.start, or leave out what comes before by data.times"
        )
    table = table.with_errors(chosen.standard_deviation)
    late = np.zeros(len(table), bool) if chosen.until is None else table.time > chosen.until
    if late.all():
        raise InputError(
            f"observations.until: no value is at or before t = {chosen.until}; times go from "
            f"{table.time.min():g} to {table.time.max():g}"
        )
    samples = int(table.sample.max()) + 1 if scattered else dataset.sizes.get("sample", 1)
    return Measured(table, table.rows(~late), table.rows(late), start, samples, dataset)


def initial_fields(
    dataset: xr.Dataset, grid: Grid, names: Sequence[str] | None = None
) -> dict[str, Float[np.ndarray, "sample *cells"]]:
    """The fields of the first time on a grid, by linear interpolation; (samples, *cells) each.

    Raises `InputError` for scattered points, and for gaps in the first fields.
    """
    if is_points(dataset):
        raise InputError(
            "initial_state: the measurements are scattered points, which do not tell it; write "
            "initial_state(settings, model) in the problem"
        )
    first = _with_samples(dataset).isel(time=0)
    axes = AXES[: grid.ndim]
    places = {name: grid.axis_centers(axis) for axis, name in enumerate(axes)}
    fields = {}
    for name in names or [str(name) for name in first.data_vars]:
        field = first[name].transpose("sample", *axes)
        # interpolating to the same places would spread gaps to their neighbours
        if not _same_places(field, places):
            field = field.interp(places, kwargs={"fill_value": "extrapolate"})
        found = field.to_numpy()
        if not np.isfinite(found).all():
            raise InputError(
                f"initial_state: '{name}' has {int(np.isnan(found).sum())} gaps at the first time; "
                f"fill them, or write initial_state(settings, model) in the problem"
            )
        fields[name] = found
    return fields


def _same_places(field: xr.DataArray, places: Mapping[str, Float[np.ndarray, " _"]]) -> bool:
    return all(
        field.sizes[name] == len(centres) and np.allclose(field[name], centres)
        for name, centres in places.items()
    )


def _with_samples(dataset: xr.Dataset) -> xr.Dataset:
    return dataset if "sample" in dataset.dims else dataset.expand_dims("sample")


def _of_points(dataset: xr.Dataset, axes: Sequence[str]) -> PointTable:
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
    return table.rows(np.isfinite(table.value))


def _of_fields(dataset: xr.Dataset, axes: Sequence[str]) -> PointTable:
    dataset = _with_samples(dataset)
    dimensions = ("sample", "time", *axes)
    parts = []
    for name, field in dataset.data_vars.items():
        if "time" not in field.dims:  # a steady map, or a condition
            continue
        if set(field.dims) != set(dimensions):
            raise InputError(
                f"measurements: variable '{name}' has dimensions ({', '.join(map(str, field.dims))}"
                f"); expected ({', '.join(dimensions)}), those of the model's grid; choose "
                f"variables by data.variables"
            )
        values = field.transpose(*dimensions).to_numpy().astype(float)
        index = np.indices(values.shape).reshape(values.ndim, -1)
        count = values.size
        parts.append(
            PointTable(
                quantity=np.full(count, str(name)),
                sample=index[0],
                time=dataset["time"].to_numpy().astype(float)[index[1]],
                position=np.stack(
                    [dataset[a].to_numpy()[i] for a, i in zip(axes, index[2:], strict=True)], axis=1
                ).astype(float),
                value=values.ravel(),
                standard_deviation=np.full(count, np.nan),
            ).rows(np.isfinite(values.ravel()))
        )
    if not parts:
        raise InputError("measurements: the file has no variables; choose by data.variables")
    columns = {
        f.name: np.concatenate([getattr(part, f.name) for part in parts])
        for f in dataclasses.fields(PointTable)
    }
    return PointTable(**columns)
