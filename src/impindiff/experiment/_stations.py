"""Values measured repeatedly at a few places, with the model's curves there."""

from collections.abc import Sequence
from typing import Any, TypeAlias

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, PyTree

from impindiff.data import FORECAST_SUFFIX
from impindiff.experiment.experiment import Experiment
from impindiff.experiment.figures import middle_sample
from impindiff.observations import PointTable
from impindiff.problem.findings import Series
from impindiff.report.style import label, unit

Stations: TypeAlias = dict[str, dict[str, list[Series]]]
"""By set, the panels of `series_figure`."""

_MOST_PLACES, _FEWEST_TIMES, _MOST_PANELS = 8, 3, 6


def station_series(
    experiment: Experiment,
    model: Any,
    states: Sequence[PyTree[np.ndarray]],
    times: Float[np.ndarray, " time"],
    forecast: xr.Dataset,
) -> Stations:
    """Panels of `series_figure` by set; none where a truth is known.

    A quantity has a panel if it was measured at no more than eight places, at each three times or
    more. Of several samples all are shown if they have no more than eight places together, else the
    middle one.

    **Arguments:**

    - `states`: for each member, all samples at `times`.
    - `forecast`: layout of `forecast_dataset`, of which the labels are taken.
    """
    training, table = experiment.data.training, experiment.observations.table
    if experiment.truth or table is None:
        return {}
    sets = {"train": (training, table)}
    for part in experiment.test:
        kind = "train" if part.samples == training else "test"
        before = sets.get(kind)
        sets[kind] = (part.samples, before[1].with_rows(part.table) if before else part.table)
    found = {}
    for kind, (samples, values) in sets.items():
        panels = {}
        for name in values.quantities[:_MOST_PANELS]:
            if name + FORECAST_SUFFIX not in forecast:
                continue
            measured = values.rows(values.quantity == name)
            numbers = np.unique(measured.sample)
            places = np.unique(np.column_stack([measured.sample, measured.position]), axis=0)
            if len(places) > _MOST_PLACES:
                numbers = numbers[[middle_sample(range(len(numbers)))]]
            group = []
            for number in numbers:
                sample = samples[number]
                own = [jax.tree.map(lambda leaf, i=sample: leaf[:, [i]], u) for u in states]
                rows = measured.rows(measured.sample == number)
                which = f"sample {sample}, " if len(numbers) > 1 else ""
                group += _of_sample(experiment, model, own, times, forecast, rows, which)
            if group:
                text = label(forecast[name + FORECAST_SUFFIX].attrs, name)
                panels[f"{text}, {name}" if text in panels else text] = group
        if panels:
            found[kind] = panels
    return found


def _of_sample(
    experiment: Experiment,
    model: Any,
    states: Sequence[PyTree[np.ndarray]],
    times: Float[np.ndarray, " time"],
    forecast: xr.Dataset,
    measured: PointTable,
    which: str,
) -> list[Series]:
    """The series of a quantity in one sample; none where it has many places or few times.

    - `states`: of that sample alone. `which`: the beginning of the labels.
    """
    places = np.unique(measured.position, axis=0)
    if len(places) > _MOST_PLACES or len(measured) < _FEWEST_TIMES * len(places):
        return []
    (name,) = measured.quantities
    curves = experiment.predicted(model, states, times, _curves_of(name, places, times))
    return [
        _series(forecast, measured, place, times, curve, which)
        for place, curve in zip(places, curves.reshape(len(places), -1), strict=True)
    ]


def _curves_of(
    name: str, places: Float[np.ndarray, "place axis"], times: Float[np.ndarray, " time"]
) -> PointTable:
    """Rows for a quantity at all times, place by place."""
    count = len(places) * len(times)
    return PointTable(
        quantity=np.full(count, name),
        sample=np.zeros(count, int),
        time=np.tile(times, len(places)),
        position=np.repeat(places, len(times), axis=0),
        value=np.zeros(count),
        standard_deviation=np.ones(count),
    )


def _series(
    forecast: xr.Dataset,
    measured: PointTable,
    place: Float[np.ndarray, " axis"],
    times: Float[np.ndarray, " time"],
    curve: Float[np.ndarray, " time"],
    which: str,
) -> Series:
    own = measured.rows((measured.position == place).all(axis=1))
    axes = zip("xyz", place, strict=False)
    return Series(
        label=which
        + ", ".join(f"{a} = {v:.4g}{unit(forecast[a].attrs, before=' ')}" for a, v in axes),
        times=times,
        predicted=curve,
        measured_times=own.time,
        measured=own.value,
        standard_deviation=np.where(own.stated, own.standard_deviation, np.nan)
        if own.stated.any()
        else None,
    )
