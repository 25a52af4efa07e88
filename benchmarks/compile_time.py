"""CPU seconds to compile a rollout and its gradient, by the number of its steps.

    python benchmarks/compile_time.py
    python benchmarks/compile_time.py --json docs/results/compile_time.json
    python benchmarks/compile_time.py --quick                               # one stepper, once

Advection-diffusion of one field on 64 x 64 cells, or 32 x 32 x 32, float64, with respect to the
velocity and the initial state. Tracing, lowering and compiling, the lengths in turn, medians; the
operations of the lowered program (its lines).

Exits with 1 if the program of the most steps has over 2 % more operations than that of the fewest
(schedules that divide the steps evenly do without the loop over what is left).
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct
from memory import AdvectionDiffusion
from rich.console import Console
from rich.table import Table

import impindiff as ipd

CELLS, DT, REPEATS = (64, 64), 1e-3, 5
STEPS = (10, 100, 1000)
GROWTH = 1.02
MULTIGRID = ipd.BackwardEuler(solver=ipd.NewtonKrylov(preconditioner=ipd.Multigrid()))
KINDS: dict[str, dict[str, Any]] = {
    "BackwardEuler": {"stepper": ipd.BackwardEuler()},
    "KenCarp4": {"stepper": ipd.KenCarp4()},
    "RK4": {"stepper": ipd.RK4()},
    "BackwardEuler, Segments": {
        "stepper": ipd.BackwardEuler(),
        "checkpointing": ipd.Segments(),
    },
    "BackwardEuler, Multigrid": {"stepper": MULTIGRID},
    "BackwardEuler, Multigrid, 32^3": {"stepper": MULTIGRID, "cells": (32, 32, 32)},
    "KenCarp4, Multigrid": {"stepper": ipd.KenCarp4(solver=MULTIGRID.solver)},
    "BackwardEuler, Binomial(20)": {
        "stepper": ipd.BackwardEuler(),
        "checkpointing": ipd.Binomial(20),
    },
}


def cells_of(options: dict[str, Any]) -> tuple[int, ...]:
    return options.get("cells", CELLS)


def program(steps: int, options: dict[str, Any], gradient: bool) -> Callable[..., Any]:
    cells, options = cells_of(options), {k: v for k, v in options.items() if k != "cells"}
    grid = ipd.Grid(lower=(0.0,) * len(cells), upper=(1.0,) * len(cells), cells=cells)
    times = np.asarray([0.0, steps * DT])

    def loss(velocity: Array, u0: Array) -> Array:
        model = AdvectionDiffusion(grid, velocity)
        result = ipd.rollout(model, u0, times, dt=DT, throw=False, **options)
        return jnp.mean(result.u[-1] ** 2)

    return jax.grad(loss, argnums=(0, 1)) if gradient else loss


def compiled(steps: int, options: dict[str, Any], gradient: bool) -> tuple[float, int]:
    """CPU seconds from the Python function to the executable, and operations before XLA's work."""
    cells = cells_of(options)
    arguments = ShapeDtypeStruct((len(cells), *cells), float), ShapeDtypeStruct(cells, float)
    jax.clear_caches()
    start = time.process_time()
    lowered = jax.jit(program(steps, options, gradient)).lower(*arguments)
    lowered.compile()
    seconds = time.process_time() - start
    return seconds, len(lowered.as_text().splitlines())


def measure(options: dict[str, Any], gradient: bool, repeats: int) -> dict[str, Any]:
    seconds: dict[int, list[float]] = {steps: [] for steps in STEPS}
    operations = {}
    for _ in range(repeats):
        for steps in STEPS:
            taken, operations[steps] = compiled(steps, options, gradient)
            seconds[steps].append(taken)
    pairs = zip(seconds[STEPS[-1]], seconds[STEPS[0]], strict=True)
    return {
        "seconds": [statistics.median(values) for values in seconds.values()],
        "operations": list(operations.values()),
        "longest_over_shortest": statistics.median(a / b for a, b in pairs),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="one stepper, compiled once")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)
    # what is compiled once for all, such as the generator of constants, is not to be counted
    compiled(STEPS[0], KINDS["BackwardEuler"], True)
    kinds = list(KINDS)[:1] if options.quick else list(KINDS)
    table = Table(
        "program",
        *(f"{steps} steps" for steps in STEPS),
        f"{STEPS[-1]} / {STEPS[0]}",
        "operations",
        title="CPU seconds to compile",
    )
    rows = []
    for name in kinds:
        for gradient in (False, True):
            found = measure(KINDS[name], gradient, 1 if options.quick else REPEATS)
            title = f"{name}, {'gradient' if gradient else 'forward'}"
            rows.append({"program": title, **found})
            table.add_row(
                title,
                *(f"{seconds:.2f}" for seconds in found["seconds"]),
                f"{found['longest_over_shortest']:.2f}",
                ", ".join(map(str, sorted(set(found["operations"])))),
            )
    Console(width=120).print(table)
    if options.json:
        text = json.dumps({"steps": STEPS, "cells": CELLS, "programs": rows}, indent=1)
        options.json.write_text(text + "\n")
    return int(any(row["operations"][-1] > GROWTH * row["operations"][0] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
