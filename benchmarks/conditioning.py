"""What a velocity that changes in time costs a training step, by the way time enters the field.

    python benchmarks/conditioning.py

The problem advection_diffusion_dynamic as shipped (5 fields of 128 x 64 cells, 38 Crank-Nicolson
steps, SIREN 3 x 64, float64): value and gradient of its loss, whose steps are those of a training
step, with a steady field in place of the dynamic one and with each conditioning. Compiled ahead of
time, interleaved, medians of ratios; temporary memory by XLA's memory analysis. Each field is
scaled to flows of the problem's size first, so that the solves are those of training.
"""

import argparse
import json
import os
import statistics
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
import timing
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.experiment import prepare
from impindiff.problems import (
    AdvectionDiffusion,
    AdvectionDiffusionDynamic,
)
from impindiff.settings import load_configuration

REPEATS = 7
BOUND = 1.5  # of last_layer, relative to the steady field
CONDITIONINGS = ("last_layer", "modulation", "hypernetwork")
FLOW = 0.5  # mean velocity of the problem


def fields(problem: AdvectionDiffusionDynamic, settings: Any) -> dict[str, AdvectionDiffusion]:
    """The models, by the name of what conditions their velocity."""
    found = {}
    time_basis = problem.conditioning(settings)["time"]
    for name in (None, *CONDITIONINGS):
        box, field = settings.grid, settings.field
        model = problem.model(settings, jax.random.key(0))
        velocity = ipd.ConditionalField(
            2,
            box.lower,
            box.upper,
            periodic=(True, True),
            width=field.width,
            depth=field.depth,
            omega_first=field.omega_first,
            omega=field.omega,
            conditioning=name,
            time=None if name is None else time_basis,
            key=jax.random.key(0),
        )
        # of last_layer the outputs are (component, function of time): shift the constant ones
        biases = velocity.network.biases[-1]
        shift = np.zeros(biases.shape)
        shift[:: len(shift) // 2] = FLOW
        velocity = eqx.tree_at(lambda v: v.network.biases[-1], velocity, biases + shift)
        found[name or "steady"] = eqx.tree_at(lambda m: m.velocity, model, velocity)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    problem = AdvectionDiffusionDynamic()
    chosen = ["truth.test_samples=1", "forecast.until=0.36"]
    experiment = prepare(problem, load_configuration(problem.settings, [], chosen))
    loss = experiment.loss()
    programs = {}
    for name, model in fields(problem, experiment.settings).items():

        @eqx.filter_value_and_grad
        def value(model):
            return loss(model, loss.probe())[0]

        programs[name] = timing.compiled(value, model)
    seconds = timing.interleaved(programs, REPEATS)
    steps, samples = loss.probe().shape[0], len(experiment.data.training)
    table = Table(title=f"{os.cpu_count()} cores, float64, {samples} fields, {steps} time steps")
    columns = ("field", "ms a time step", "relative to steady", "temporary MB", "compiled in s")
    for column in columns:
        table.add_column(column, justify="left" if column == "field" else "right")
    results = {}
    for name, values in seconds.items():
        pairs = zip(values, seconds["steady"], strict=True)
        results[name] = {
            "ms_a_time_step": 1e3 * statistics.median(values) / steps,
            "relative_to_steady": statistics.median(a / b for a, b in pairs),
            "temporary_mb": programs[name].temporary_bytes / 1e6,
            "compile_seconds": programs[name].compile_seconds,
        }
        formats = ("{:.1f}", "{:.2f}", "{:.0f}", "{:.0f}")
        shown = zip(formats, results[name].values(), strict=True)
        table.add_row(name, *(form.format(value) for form, value in shown))
    Console(width=100).print(table)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    ratio = results["last_layer"]["relative_to_steady"]
    print(f"last_layer / steady, a time step: {ratio:.2f} (bound {BOUND})")
    return int(ratio > BOUND)


if __name__ == "__main__":
    raise SystemExit(main())
