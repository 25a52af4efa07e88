"""Unknown velocities by a neural field without a prior, and by a field whose prior the data choose.

    python validation/regularisation.py [--truths 0 1 2 3] [--cells 64 32] [--only prior|network]
                                        [--examples sensors noise changing] [--json FILE]

`examples/sensors.yaml`, `examples/noise.yaml` and `examples/changing.yaml` on the shipped truth
(seed 0) and on others, with their own settings ("prior") and with those of a neural field
("network"). Nothing was chosen on the shipped truth: the defaults of `ModalField`, `MaternPrior`
and `EmpiricalBayes` were fixed on truths 1 to 3 of 64 x 32 cells, the number of functions of time
on truth 1. Prints a Markdown table of relative L1 errors in percent: of the forecast of test
samples at the end, beyond the data, and of the velocity's components, means over time; and of the
shares of test values at the end, and of the velocity, that are in the 90 % bands. Exits with 1 if
the mean over the truths of one with a prior is above its target. With `--json` the rows are kept
there, beside those of other truths; `python tools/make_results.py --table` puts them into the
documentation. Some 3 minutes a row, 10 of changing.
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from impindiff.experiment import run
from impindiff.problems import get_problem
from impindiff.settings import load_configuration

EXAMPLES = Path(__file__).parents[1] / "examples"
PROBLEMS = {
    "noise": "advection_diffusion_steady",
    "sensors": "advection_diffusion_steady",
    "changing": "advection_diffusion_dynamic",
}
_ADAM = ("field={kind: network}", "training={optimizer: adam, steps: 1000}")
_MUON = ("field={kind: network}", "training={optimizer: muon, steps: 600, learning_rate: 3e-3}")
NETWORK = {"noise": _ADAM, "sensors": _ADAM, "changing": _MUON}
# of the forecast, and of the velocity's components
TARGETS = {"noise": (0.5, 2.5, 2.5), "sensors": (2.5, 4.0, 4.0), "changing": (3.0, 4.0, 4.0)}
# standard deviations, of a normal distribution
NINETY_PERCENT = 1.645


class Result(NamedTuple):
    """Errors of the forecast and the velocity's components, shares in the bands, in percent."""

    errors: list[float]
    covered: list[float]
    seconds: float


def result(example: str, seed: int, method: str, cells: list[int] | None) -> Result:
    """One row of the table."""
    problem = get_problem(PROBLEMS[example])
    overrides = [f"truth.seed={seed}", "training.log_every=1000"]
    overrides += [] if cells is None else [f"grid.cells={cells}"]
    overrides += NETWORK[example] if method == "network" else ()
    settings = load_configuration(problem.settings, [EXAMPLES / f"{example}.yaml"], overrides)
    with tempfile.TemporaryDirectory() as folder:
        metrics = run(problem, settings, Path(folder))
        forecast = xr.load_dataset(Path(folder) / "forecast.nc", engine="h5netcdf")
        data = xr.load_dataset(Path(folder) / "data.nc", engine="h5netcdf")
    assert metrics.forecast is not None
    assert metrics.latent is not None
    velocity = metrics.latent.relative_l1_percent
    errors = [
        metrics.forecast.relative_l1_percent["test"],
        velocity["velocity_x"],
        velocity["velocity_y"],
    ]
    return Result(
        [float(x or np.nan) for x in errors],
        coverage(forecast, data),
        float(metrics.train.seconds or np.nan),
    )


def coverage(forecast: xr.Dataset, data: xr.Dataset) -> list[float]:
    """Shares in the 90 % bands: of test values at the end, of the velocity at all times."""
    if "phi_spread" not in forecast:
        return [np.nan, np.nan]
    end = forecast.isel(time=-1, sample=forecast["test"].to_numpy().astype(bool))
    off = np.abs(end["phi_forecast"] - end["phi_truth"]) <= NINETY_PERCENT * end["phi_spread"]
    inside = []
    for name in ("velocity_x", "velocity_y"):
        truth = data[name]
        if "time" in truth.dims:
            truth = truth.sel(time=forecast["time"], method="nearest").drop_vars("time")
        wide = NINETY_PERCENT * forecast[f"{name}_spread"].to_numpy()
        inside.append(np.abs(forecast[name].to_numpy() - truth.to_numpy()) <= wide)
    return [100 * float(off.mean()), 100 * float(np.mean(inside))]


def keep(path: Path, row: dict[str, Any]) -> None:
    """Add a row to a file, in place of that of the same run."""
    rows = json.loads(path.read_text()) if path.is_file() else []
    which = ("example", "truth", "field", "cells")
    rows = [one for one in rows if any(one[key] != row[key] for key in which)]
    rows = sorted([*rows, row], key=lambda one: [str(one[key]) for key in which])
    path.write_text(json.dumps(rows, indent=1) + "\n")


def main() -> int:
    """Print the table; 1 if a mean misses its target."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truths", type=int, nargs="+", default=[0, 1, 2, 3])
    parser.add_argument("--cells", type=int, nargs=2)
    parser.add_argument("--examples", choices=list(TARGETS), nargs="+", default=list(TARGETS))
    parser.add_argument("--only", choices=["prior", "network"])
    parser.add_argument("--json", type=Path, help="keep the rows in this file")
    chosen = parser.parse_args()
    print(
        "| problem | truth | field | forecast | velocity x | velocity y | in the band: forecast "
        "| velocity | seconds |"
    )
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    missed = False
    methods = [chosen.only] if chosen.only else ["network", "prior"]
    for method in methods:
        for example in chosen.examples:
            rows = []
            for seed in chosen.truths:
                found = result(example, seed, method, chosen.cells)
                rows.append([*found.errors, *found.covered])
                shown = " | ".join(f"{x:.2g}" for x in rows[-1])
                line = f"| {example} | {seed} | {method} | {shown} | {found.seconds:.0f} |"
                print(line, flush=True)
                if chosen.json:
                    run_of = {"example": example, "truth": seed, "field": method}
                    keep(chosen.json, run_of | {"cells": chosen.cells} | found._asdict())
            mean = np.mean(rows, axis=0)
            shown = " | ".join(f"{x:.2g}" for x in mean)
            print(f"| {example} | mean | {method} | {shown} | |", flush=True)
            missed |= method == "prior" and bool((mean[:3] > TARGETS[example]).any())
    return int(missed)


if __name__ == "__main__":
    sys.exit(main())
