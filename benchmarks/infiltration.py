"""Chemical vapor infiltration: seconds of a whole densification, Krylov iterations by grid.

    python benchmarks/infiltration.py                                     # 6 minutes, one core
    python benchmarks/infiltration.py --json docs/results/infiltration.json

phi2 = 1, random fibres in three dimensions, float64, the problems' own stepper and tolerances.

1. Seconds to compile and to run from the preform to closed pores, tau = 1.54, in two and three
   dimensions; one run each. Beside it the steps that forward Euler would need, with delta = 1e-6.
2. Krylov iterations (BiCGStab: two products each) per linear solve over ten steps of 0.01 from
   tau = 1.4, where the front beside the surface is steep, with and without the preconditioner. The
   way there is in steps of 0.05, on each grid.

Exits with 1 if a run takes longer than the bound beside it, or if iterations grow by more than
1.5 x from the coarsest to the finest grid.
"""

import argparse
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import numpy as np
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.problems.vapor_infiltration.forward import (
    build_stepper,
    explicit_steps,
    output_times,
    true_model,
)
from impindiff.problems.vapor_infiltration.settings import VaporInfiltrationClosureSettings

END, GROWTH, WITHOUT = 1.54, 1.5, 64
# cells, step, most seconds that a run may take
RUNS = (((64, 64), 0.01, 60.0), ((32, 32, 32), 0.02, 300.0), ((32, 32, 32), 0.01, 300.0))
GRIDS = (32, 64, 128, 256)
STEEP, LONG_STEP, SHORT_STEP, SHORT_STEPS = 1.4, 0.05, 0.01, 10


def settings_of(cells: tuple[int, ...], step: float) -> VaporInfiltrationClosureSettings:
    return VaporInfiltrationClosureSettings.model_validate(
        {
            "grid": {"cells": cells},
            "time": {"end": END, "step": step},
        }
    )


def whole_run(cells: tuple[int, ...], step: float, bound: float) -> dict[str, Any]:
    settings = settings_of(cells, step)
    model, stepper = true_model(settings), build_stepper(settings)
    times = output_times(END, step)

    def run(u0):
        result = ipd.rollout(model, u0, times, stepper=stepper, halving=False, throw=False)
        return result.u, result.stats

    u0 = model.initial_state()
    start = time.perf_counter()
    compiled = jax.jit(run).lower(u0).compile()
    ready = time.perf_counter()
    u, stats = jax.block_until_ready(compiled(u0))
    end = time.perf_counter()
    if not bool(stats.converged.all()):
        sys.exit(f"{cells}, step {step}: a solve did not converge")
    eps = np.asarray(u["porosity"][-1])
    return {
        "cells": cells,
        "step": step,
        "compile_seconds": ready - start,
        "run_seconds": end - ready,
        "bound_seconds": bound,
        "steps": len(times) - 1,
        "newton_iterations": int(stats.iterations.sum()),
        "krylov_iterations": int(stats.linear_iterations.sum()),
        "explicit_steps": explicit_steps(model, END),
        "trapped_porosity": float(eps.mean()),
        "core_porosity": float(eps.flat[0]),
    }


def iterations(cells: int, preconditioned: bool) -> dict[str, Any]:
    settings = settings_of((cells, cells), LONG_STEP)
    model, stepper = true_model(settings), build_stepper(settings)
    way = ipd.rollout(
        model, model.initial_state(), [0.0, STEEP], stepper=stepper, dt=LONG_STEP, halving=False
    )
    steep = jax.tree.map(lambda x: x[-1], way.u)
    if not preconditioned:
        stepper = eqx.tree_at(
            lambda s: (s.solver.preconditioner, s.solver.linear_solver),
            stepper,
            (None, ipd.BiCGStab(max_steps=10000)),
            is_leaf=lambda x: x is None,
        )
    times = STEEP + SHORT_STEP * np.arange(SHORT_STEPS + 1)
    stats = ipd.rollout(model, steep, times, stepper=stepper, halving=False).stats
    solves = int(stats.iterations.sum())
    return {
        "cells": cells,
        "preconditioned": preconditioned,
        "solves": solves,
        "krylov_per_solve": int(stats.linear_iterations.sum()) / solves,
    }


def runs_table(rows: list[dict[str, Any]]) -> Table:
    headings = ("cells", "step", "compile s", "run s", "bound", "steps", "explicit steps", "eps")
    table = Table(*headings, "", title=f"Densification to tau = {END}, SDIRK2")
    for r in rows:
        table.add_row(
            " x ".join(map(str, r["cells"])),
            f"{r['step']:g}",
            f"{r['compile_seconds']:.1f}",
            f"{r['run_seconds']:.1f}",
            f"{r['bound_seconds']:g}",
            str(r["steps"]),
            f"{r['explicit_steps']:.1e}",
            f"{r['trapped_porosity']:.4f}",
            "ok" if in_time(r) else "SLOW",
        )
    return table


def iterations_table(rows: list[dict[str, Any]]) -> Table:
    table = Table("cells", "preconditioner", "solves", "Krylov iterations per solve")
    for r in rows:
        size = f"{r['cells']} x {r['cells']}"
        name = "multigrid" if r["preconditioned"] else "none"
        table.add_row(size, name, str(r["solves"]), f"{r['krylov_per_solve']:.2f}")
    return table


def in_time(run: dict[str, Any]) -> bool:
    return run["compile_seconds"] + run["run_seconds"] <= run["bound_seconds"]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    console = Console(width=110)
    counted = [iterations(n, True) for n in GRIDS]
    growth = counted[-1]["krylov_per_solve"] / counted[0]["krylov_per_solve"]
    counted += [iterations(n, False) for n in GRIDS if n <= WITHOUT]
    console.print(iterations_table(counted))
    console.print(f"growth {GRIDS[0]} to {GRIDS[-1]}: {growth:.2f} x, bound {GROWTH} x")
    runs = [whole_run(*run) for run in RUNS]
    console.print(runs_table(runs))
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    console.print(f"on {cores} core(s)")
    if options.json:
        results = {"iterations": counted, "growth": growth, "runs": runs, "cores": cores}
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(growth > GROWTH or not all(in_time(run) for run in runs))


if __name__ == "__main__":
    sys.exit(main())
