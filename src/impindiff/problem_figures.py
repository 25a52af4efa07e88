"""The figures of a problem of one's own, by the dimensions of its grid."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff import report
from impindiff.observations import FORECAST_SUFFIX, PointTable
from impindiff.report.fields import extent_of
from impindiff.report.style import label
from impindiff.results import Estimate
from impindiff.run_figures import draw_training


def draw_problem(
    forecast: xr.Dataset,
    sets: Mapping[str, PointTable],
    predicted: Mapping[str, Float[np.ndarray, " point"]],
    identified: Mapping[str, Estimate],
    folder: Path,
) -> None:
    """All figures of a run, into `folder`/figures.

    `forecast` is that of `forecast_fields`; `predicted` belongs to the values of `sets`.
    """
    figures = folder / "figures"
    figures.mkdir(exist_ok=True)
    fields = {
        str(name).removesuffix(FORECAST_SUFFIX): field.isel(sample=0, drop=True)
        for name, field in forecast.data_vars.items()
        if str(name).endswith(FORECAST_SUFFIX)
    }
    report.save(report.snapshots_figure(xr.Dataset(fields)), figures / "forecast.png")
    _draw_latent(forecast, figures)
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
    draw_training(folder, identified)


def _draw_latent(forecast: xr.Dataset, figures: Path) -> None:
    latent = {n: f for n, f in forecast.data_vars.items() if "sample" not in f.dims}
    changing = {name: field for name, field in latent.items() if "time" in field.dims}
    steady = {name: field for name, field in latent.items() if "time" not in field.dims}
    if changing:
        report.save(report.snapshots_figure(xr.Dataset(changing)), figures / "latent.png")
    if not steady:
        return
    path = figures / ("steady_latent.png" if changing else "latent.png")
    first: Any = next(iter(steady.values()))
    if first.ndim == 2:
        x, y = (first[name] for name in first.dims)
        report.save(
            report.latent_figure(
                {str(name): (field.to_numpy(), None) for name, field in steady.items()},
                extent_of(x.to_numpy(), y.to_numpy()),
            ),
            path,
        )
    else:
        at_once = {name: field.expand_dims("time") for name, field in steady.items()}
        start = forecast["time"][:1]
        report.save(report.snapshots_figure(xr.Dataset(at_once).assign_coords(time=start)), path)
