"""Values measured repeatedly at a few places, with the model's curves there."""

from collections.abc import Sequence
from typing import Any

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

_MOST_PLACES, _FEWEST_TIMES, _MOST_PANELS = 8, 3, 6


def station_series(
    experiment: Experiment,
    model: Any,
    states: Sequence[PyTree[np.ndarray]],
    times: Float[np.ndarray, " time"],
    forecast: xr.Dataset,
) -> dict[str, dict[str, list[Series]]]:
    """Panels of `series_figure` by set, for the middle sample of each; none where a truth is known.

    A quantity has a panel if it was measured at no more than eight places, at each three times or
    more.

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
        number = middle_sample(range(len(samples)))
        own = [jax.tree.map(lambda leaf, of=samples[number]: leaf[:, [of]], u) for u in states]
        rows = values.rows(values.sample == number)
        panels = {}
        for name in rows.quantities[:_MOST_PANELS]:
            measured = rows.rows(rows.quantity == name)
            places = np.unique(measured.position, axis=0)
            few = len(places) <= _MOST_PLACES and len(measured) >= _FEWEST_TIMES * len(places)
            if few and name + FORECAST_SUFFIX in forecast:
                curves = experiment.predicted(model, own, times, _curves_of(name, places, times))
                text = label(forecast[name + FORECAST_SUFFIX].attrs, name)
                panels[f"{text}, {name}" if text in panels else text] = [
                    _series(forecast, measured, place, times, curve)
                    for place, curve in zip(places, curves.reshape(len(places), -1), strict=True)
                ]
        if panels:
            found[kind] = panels
    return found


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
) -> Series:
    own = measured.rows((measured.position == place).all(axis=1))
    axes = zip("xyz", place, strict=False)
    return Series(
        label=", ".join(f"{a} = {v:.4g}{unit(forecast[a].attrs, before=' ')}" for a, v in axes),
        times=times,
        predicted=curve,
        measured_times=own.time,
        measured=own.value,
        standard_deviation=np.where(own.stated, own.standard_deviation, np.nan)
        if own.stated.any()
        else None,
    )
