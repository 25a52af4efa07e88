"""The figures of a run, by the dimensions of its data."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff import report
from impindiff.data import (
    FORECAST_SUFFIX,
    SPREAD_SUFFIX,
    TRUTH_SUFFIX,
    cell_volumes,
    labels_of,
)
from impindiff.experiment.experiment import Experiment
from impindiff.observations import PointTable, relative_l1_percent
from impindiff.problem import conditions_of
from impindiff.problem.findings import Findings, Series
from impindiff.report.fields import extent_of
from impindiff.report.slices import axis_labels, planes_of, space_of
from impindiff.report.style import label, unit
from impindiff.results import Estimate
from impindiff.training.history import read as read_history

# more marks than this along an axis of time would merge into a line, so none are drawn
_MOST_MARKS = 50
# panels of a figure of all samples
_MOST_SAMPLES = 9


def draw_figures(
    experiment: Experiment,
    forecast: xr.Dataset,
    latent: Mapping[str, Float[np.ndarray, "..."]],
    sets: Mapping[str, PointTable],
    predicted: Mapping[str, Float[np.ndarray, " point"]],
    series: Mapping[str, Mapping[str, Sequence[Series]]],
    identified: Mapping[str, Estimate],
    findings: Findings,
    folder: Path,
) -> None:
    """Draw all figures of a run into `folder`/figures.

    - `forecast`: layout of `forecast_dataset`, with all quantities.
    - `latent`: the latent fields at the times of the forecast.
    - `sets`, `predicted`: values at points, and the model's predictions of them.
    - `series`: by set, the panels of values measured at few places.
    - `findings`: results of the problem; its snapshots replace those of the forecast.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    names = list(experiment.truth)
    if names:
        _draw_compared(experiment, forecast, names, figures, samples=not findings.snapshots)
    else:
        _draw_forecast(forecast, sets, figures)
        if sets:
            _draw_agreement(forecast, sets, predicted, figures)
        _draw_stations(experiment, forecast, series, figures)
    if latent:
        _draw_latent(experiment, forecast, latent, figures)
    draw_training(folder, identified)
    draw_findings(findings, folder)


def _draw_compared(
    experiment: Experiment,
    forecast: xr.Dataset,
    names: Sequence[str],
    figures: Path,
    *,
    samples: bool,
) -> None:
    """Forecast and truth of a sample of each set, if requested, and the error of all over time."""
    data, table = experiment.data, experiment.observations.table
    sets = {"train": data.training} | ({"test": data.test} if data.test else {})
    errors, spreads = {}, {}
    for name in names:
        own = "" if len(names) == 1 else f"_{name}"
        one_axis = len(space_of(forecast[name + FORECAST_SUFFIX])) == 1
        if experiment.is_measured and one_axis and 1 < data.samples <= _MOST_SAMPLES:
            drawn = report.samples_figure(forecast, name, _sample_titles(experiment))
            report.save(drawn, figures / f"samples{own}.png")
        for kind, indices in sets.items():
            sample = middle_sample(indices)
            if samples:
                seen = None if table is None else table.rows(table.quantity == name)
                _draw_sample(forecast, name, sample, seen, figures, kind + own)
            chosen = forecast.isel(sample=indices)
            truth = chosen[name + TRUTH_SUFFIX].to_numpy()
            axes = truth.ndim - 2
            found = chosen[name + FORECAST_SUFFIX].to_numpy()
            volumes = cell_volumes(forecast)
            percent = relative_l1_percent(found, truth, space_axes=axes, volumes=volumes)
            of_set = f"{kind.replace('_', ' ')} (mean of {len(indices)})"
            text = of_set if len(names) == 1 else f"{name}, {of_set}"
            errors[text] = (forecast["time"].to_numpy(), percent.mean(axis=0))
            if name + SPREAD_SUFFIX in chosen:
                spread = truth + chosen[name + SPREAD_SUFFIX].to_numpy()
                relative = relative_l1_percent(spread, truth, space_axes=axes, volumes=volumes)
                spreads[text] = relative.mean(axis=0)
    seen = experiment.observations.times[1:]
    marks = list(seen) if len(seen) <= _MOST_MARKS else []
    report.save(
        report.error_vs_time_figure(errors, marks, spreads=spreads),
        figures / "error_vs_time.png",
    )


def _sample_titles(experiment: Experiment) -> list[str]:
    """The number of each sample, with the conditions that differ between samples."""
    data = experiment.data
    conditions = conditions_of(data.dataset)
    labels = labels_of(data.dataset)
    titles = []
    for sample in range(data.samples):
        parts = [
            f"{labels.get(name, {}).get('long_name', name)} = {values[sample]:.6g}"
            f"{unit(labels.get(name, {}), before=' ')}"
            for name, values in conditions.items()
        ]
        titles.append(", ".join(parts) or f"sample {sample}")
    return titles


def _draw_sample(
    forecast: xr.Dataset,
    name: str,
    sample: int,
    table: PointTable | None,
    figures: Path,
    suffix: str,
) -> None:
    space = space_of(forecast[name + FORECAST_SUFFIX])
    centres = [axis.to_numpy() for axis in space.values()]
    unmarked = table is None or _is_everywhere(table, centres)
    if len(space) == 1:
        marks = None
        if table is not None and not unmarked:
            marks = np.stack([table.time, table.position[:, 0]], axis=-1)
        report.save(
            report.profiles_figure(forecast, sample, name, marks),
            figures / f"profiles_{suffix}.png",
        )
        report.save(
            report.space_time_figure(forecast, sample, name, marks),
            figures / f"forecast_{suffix}.png",
        )
        return
    points = None
    if table is not None and not unmarked:
        points = np.unique(table.position, axis=0)
    for plane in planes_of(space):
        report.save(
            report.forecast_figure(
                plane.cut(forecast),
                sample,
                sensors=None if points is None else plane.nearby(points, centres),
                variable=name,
                where=plane.where,
            ),
            figures / f"forecast_{suffix}{plane.suffix}.png",
        )


def _is_everywhere(table: PointTable, centres: Sequence[Float[np.ndarray, " _"]]) -> bool:
    """True if all cells are measured, so that marks would be useless."""
    return len(np.unique(table.position, axis=0)) >= math.prod(len(axis) for axis in centres)


def _draw_forecast(forecast: xr.Dataset, sets: Mapping[str, PointTable], figures: Path) -> None:
    fields, points = xr.Dataset(_fields(forecast)), {}
    # profiles only, of an only sample: the tables number the samples of each set
    marked = forecast.sizes["sample"] == 1 and len(space_of(next(iter(fields.values())))) == 1
    for table in sets.values() if marked else ():
        for name in set(table.quantities) & set(map(str, fields)):
            own = table.rows(table.quantity == name)
            rows = np.column_stack([own.time, own.position[:, 0], own.value])
            points[name] = np.concatenate([points.get(name, rows[:0]), rows])
    sure = xr.Dataset(_fields(forecast, SPREAD_SUFFIX))
    report.save(
        report.snapshots_figure(fields, points=points, deviations=sure), figures / "forecast.png"
    )


def _draw_stations(
    experiment: Experiment,
    forecast: xr.Dataset,
    series: Mapping[str, Mapping[str, Sequence[Series]]],
    figures: Path,
) -> None:
    for kind, panels in series.items():
        own = "" if len(experiment.data.training) == experiment.data.samples else f"_{kind}"
        end = experiment.observations.times[-1]
        later = kind == "train" and any(
            of.times[-1] > end for group in panels.values() for of in group
        )
        report.save(
            report.series_figure(
                panels, label(forecast["time"].attrs, "time"), end if later else None
            ),
            figures / f"stations{own}.png",
        )


def _fields(forecast: xr.Dataset, suffix: str = FORECAST_SUFFIX) -> dict[str, xr.DataArray]:
    """The quantities of the first sample, or what has another suffix."""
    return {
        str(name).removesuffix(suffix): field.isel(sample=0, drop=True)
        for name, field in forecast.data_vars.items()
        if str(name).endswith(suffix) and "sample" in field.dims
    }


def _draw_agreement(
    forecast: xr.Dataset,
    sets: Mapping[str, PointTable],
    predicted: Mapping[str, Float[np.ndarray, " point"]],
    figures: Path,
) -> None:
    fields = _fields(forecast)
    quantities = {name: None for table in sets.values() for name in table.quantities}
    panels = {}
    for name in quantities:
        of_sets = {
            kind: (table.value[table.quantity == name], predicted[kind][table.quantity == name])
            for kind, table in sets.items()
        }
        attributes = fields[name].attrs if name in fields else {}
        panels[label(attributes, name)] = of_sets
    report.save(report.agreement_figure(panels), figures / "agreement.png")


def draw_training(folder: Path, identified: Mapping[str, Estimate]) -> None:
    """The losses, and the unknown scalars if there are any, over training."""
    figures = folder / "figures"
    history = read_history(folder / "history.jsonl")
    report.save(report.history_figure(history), figures / "history.png")
    if identified:
        errors = {n: of.standard_error for n, of in identified.items()}
        truths = {n: of.truth for n, of in identified.items()}
        report.save(
            report.identified_figure(
                history,
                list(identified),
                {name: truth for name, truth in truths.items() if truth is not None},
                {name: error for name, error in errors.items() if error is not None},
            ),
            figures / "identified.png",
        )


def draw_findings(findings: Findings, folder: Path) -> None:
    """Draw problem-specific results into `folder`/figures."""
    figures = folder / "figures"
    if findings.closures:
        report.save(report.closure_figure(findings.closures), figures / "closures.png")
    if findings.series:
        report.save(
            report.series_figure(
                findings.series, findings.time_label, trained_until=findings.trained_until
            ),
            figures / "instruments.png",
        )
    for sweep in findings.sweeps:
        report.save(
            report.sweep_figure(
                sweep.x,
                sweep.predicted,
                sweep.truth,
                sweep.x_label,
                sweep.y_label,
                log_x=sweep.log_x,
                trained_x=sweep.trained_x,
            ),
            figures / f"{sweep.name}.png",
        )
    for name, (fields, truth) in findings.snapshots.items():
        levels = {name: level for name, level in findings.levels.items() if name in fields}
        report.save(report.snapshots_figure(fields, truth, levels), figures / f"{name}.png")
    if findings.identifiability is not None:
        report.save(
            report.identifiability_figure(findings.identifiability), figures / "identifiability.png"
        )


def middle_sample(indices: Sequence[int]) -> int:
    """The middle of a set's correlation lengths: neither its easiest sample nor its hardest."""
    return indices[len(indices) // 2]


def _draw_latent(
    experiment: Experiment,
    forecast: xr.Dataset,
    latent: Mapping[str, Float[np.ndarray, "..."]],
    figures: Path,
) -> None:
    """Draw steady fields in planes next to their truth, varying ones at several times too."""
    name = experiment.problem.latent_figure
    grid = experiment.method.example.grid
    truths = experiment.true_latent(latent)
    if grid.ndim == 1:
        steady = {key: forecast[key] for key, field in latent.items() if field.ndim == 1}
        changing = {key: forecast[key] for key, field in latent.items() if field.ndim == 2}
        start = forecast["time"][:1]
        steady = {key: field.expand_dims("time") for key, field in steady.items()}
        for suffix, fields in (("", changing), ("_steady" if changing else "", steady)):
            if fields:
                shown = xr.Dataset(fields)
                shown = shown if fields is changing else shown.assign_coords(time=start)
                bands = {
                    key: forecast[key + SPREAD_SUFFIX].broadcast_like(shown[key])
                    for key in fields
                    if key + SPREAD_SUFFIX in forecast
                }
                report.save(
                    report.snapshots_figure(shown, deviations=xr.Dataset(bands)),
                    figures / f"{name}{suffix}.png",
                )
        return
    times = forecast["time"].to_numpy()
    there = experiment.data.dataset["time"].to_numpy().astype(float)
    rows: dict[str, tuple[np.ndarray, np.ndarray | None]] = {}
    sure: dict[str, np.ndarray] = {}
    for key, values in latent.items():
        truth, deviation = truths.get(key), forecast.get(key + SPREAD_SUFFIX)
        if values.ndim == grid.ndim:
            rows[key] = (values, truth)
            if deviation is not None:
                sure[key] = deviation.to_numpy()
            continue
        for index in (len(times) // 2, len(times) - 1):
            at = None
            if truth is not None:
                at = truth[np.abs(there - times[index]).argmin()]
            rows[f"{key} at t = {times[index]:g}"] = (values[index], at)
            if deviation is not None:
                sure[f"{key} at t = {times[index]:g}"] = deviation.to_numpy()[index]
    space, volumes = space_of(forecast[next(iter(latent))]), cell_volumes(forecast)
    if volumes is not None and volumes.shape != tuple(axis.size for axis in space.values()):
        volumes = None  # of the forecast's places, latent fields being on the model's grid
    for plane in planes_of(space):
        i, j = plane.shown
        report.save(
            report.latent_figure(
                {
                    field: (plane.of(found), None if truth is None else plane.of(truth))
                    for field, (found, truth) in rows.items()
                },
                extent_of(*(space[plane.axes[k]].to_numpy() for k in (i, j))),
                axis_labels(plane, space),
                plane.where,
                {field: plane.of(values) for field, values in sure.items()},
                None if volumes is None else plane.of(volumes),
            ),
            figures / f"{name}{plane.suffix}.png",
        )
