"""The figures of a run, by the dimensions of its data."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import equinox as eqx
import numpy as np
import xarray as xr

from impindiff import report
from impindiff.cases import Case, Data
from impindiff.cases.settings import CaseSettings
from impindiff.findings import Findings
from impindiff.observations import (
    SPREAD_SUFFIX,
    AtTimes,
    Sensors,
    SpaceTimePoints,
    Trajectories,
    relative_l1_percent,
)
from impindiff.report.fields import extent_of
from impindiff.report.slices import axis_labels, planes_of
from impindiff.results import Estimate
from impindiff.training.history import read as read_history


def draw_figures(
    case: Case,
    settings: CaseSettings,
    data: Data,
    model: eqx.Module,
    observe: Any,
    forecast: xr.Dataset,
    identified: Mapping[str, Estimate],
    folder: Path,
) -> None:
    """All figures of a run, into `folder`/figures.

    `observe` is the loss's measuring operator, whose positions are marked.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    trajectories = data.trajectories
    sets = {"train": data.training} | ({"held_out": data.held_out} if data.held_out else {})
    instrument = observe.operator if isinstance(observe, AtTimes) else observe
    errors, spreads = {}, {}
    for name, indices in sets.items():
        sample = middle_sample(indices)
        if isinstance(instrument, SpaceTimePoints):
            _draw_line(trajectories, instrument, forecast, sample, figures, name)
        elif isinstance(instrument, Sensors):
            _draw_plane(trajectories, instrument, forecast, sample, figures, name)
        chosen = forecast.isel(sample=indices)
        percent = relative_l1_percent(
            chosen[f"{trajectories.variable}_forecast"].to_numpy(),
            chosen[f"{trajectories.variable}_truth"].to_numpy(),
            space_axes=len(trajectories.cells),
        )
        label = f"{name.replace('_', ' ')} (mean of {len(indices)})"
        errors[label] = (forecast["time"].to_numpy(), percent.mean(axis=0))
        spread = f"{trajectories.variable}{SPREAD_SUFFIX}"
        if spread in chosen:
            truth = chosen[f"{trajectories.variable}_truth"].to_numpy()
            relative = relative_l1_percent(
                truth + chosen[spread].to_numpy(), truth, space_axes=len(trajectories.cells)
            )
            spreads[label] = relative.mean(axis=0)
    report.save(
        report.error_vs_time_figure(errors, list(case.observed_times(settings)), spreads=spreads),
        figures / "error_vs_time.png",
    )
    found = case.latent_fields(model, trajectories.times)
    if found and len(trajectories.cells) > 1:
        _draw_latent(_latent_rows(found, trajectories), trajectories, figures, case.latent_figure)
    draw_training(folder, identified)


def draw_training(folder: Path, identified: Mapping[str, Estimate]) -> None:
    """The losses, and the unknown numbers if there are any, over training."""
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
    """The figures of what a case found, into `folder`/figures."""
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


def _latent_rows(
    found: Mapping[str, np.ndarray], trajectories: Trajectories
) -> dict[str, tuple[np.ndarray, np.ndarray | None]]:
    """What `latent_figure` draws: a field that changes in time, at the middle and the last time."""
    times = trajectories.times
    rows = {}
    for name, values in found.items():
        truth = trajectories.latent.get(name)
        if values.ndim == len(trajectories.cells):
            rows[name] = (values, truth)
            continue
        for index in (len(times) // 2, len(times) - 1):
            at = None if truth is None else truth[index]
            rows[f"{name} at t = {times[index]:g}"] = (values[index], at)
    return rows


def _draw_latent(
    rows: Mapping[str, tuple[np.ndarray, np.ndarray | None]],
    trajectories: Trajectories,
    figures: Path,
    name: str,
) -> None:
    space = _space(trajectories)
    for plane in planes_of(space):
        i, j = plane.shown
        report.save(
            report.latent_figure(
                {
                    field: (plane.of(found), None if truth is None else plane.of(truth))
                    for field, (found, truth) in rows.items()
                },
                extent_of(*(trajectories.coordinates[plane.axes[k]] for k in (i, j))),
                axis_labels(plane, space),
                plane.where,
            ),
            figures / f"{name}{plane.suffix}.png",
        )


def _space(trajectories: Trajectories) -> dict[str, xr.DataArray]:
    """The coordinates with what their labels are made of."""
    return {
        name: xr.DataArray(centres, dims=name, attrs=trajectories.variable_attrs.get(name, {}))
        for name, centres in trajectories.coordinates.items()
    }


def middle_sample(indices: Sequence[int]) -> int:
    """The middle of a set's correlation lengths: neither its easiest sample nor its hardest."""
    return indices[len(indices) // 2]


def _draw_plane(
    trajectories: Trajectories,
    sensors: Sensors,
    forecast: xr.Dataset,
    sample: int,
    figures: Path,
    name: str,
) -> None:
    centres = list(trajectories.coordinates.values())
    points = None if sensors.indices is None else sensors.positions(centres)
    for plane in planes_of(_space(trajectories)):
        report.save(
            report.forecast_figure(
                plane.cut(forecast),
                sample,
                sensors=None if points is None else plane.nearby(points, centres),
                variable=trajectories.variable,
                where=plane.where,
            ),
            figures / f"forecast_{name}{plane.suffix}.png",
        )


def _draw_line(
    trajectories: Trajectories,
    points: SpaceTimePoints,
    forecast: xr.Dataset,
    sample: int,
    figures: Path,
    name: str,
) -> None:
    when = trajectories.times[np.asarray(points.time_indices)]
    where = np.stack([when, np.asarray(points.positions)], axis=-1)
    variable = trajectories.variable
    report.save(
        report.profiles_figure(forecast, sample, variable, where), figures / f"profiles_{name}.png"
    )
    report.save(
        report.space_time_figure(forecast, sample, variable, where),
        figures / f"forecast_{name}.png",
    )
