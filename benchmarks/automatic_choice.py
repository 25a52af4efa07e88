"""Time of a training run with the automatic choice of a preconditioner, against none and multigrid.

    python benchmarks/automatic_choice.py
    python benchmarks/automatic_choice.py --json docs/results/automatic_choice.json
    python benchmarks/automatic_choice.py --quick            # up to 32 x 32 cells

Diffusion of one field, float64, with an unknown diffusivity in each cell: 200 training steps by
gradients of 10 steps of backward Euler. CPU seconds of tracing, lowering and compiling, and 200
times those of one training step; of the automatic choice also those of choosing. Krylov iterations
are limited to 5000, for which none is needed to converge too.

Its numbers are what the costs in src/impindiff/preconditioners/_automatic.py are fitted to. Exits
with 1 if the automatic choice takes over 1.3 times the time of the better of the two.
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
import optax
from jax import Array
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.preconditioners import AutomaticChoice
from impindiff.rollout import with_automatic_choice

CELLS = (16, 32, 64, 128, 256, 512)
EXCHANGES = (0.1, 1.0, 10.0, 100.0, 1000.0)
STEPS, DT, TRAINING_STEPS = 10, 0.01, 200
MOST_ITERATIONS = 5000
REPEATS, LONGEST = 5, 2.0
BOUND = 1.3
PRECONDITIONERS: dict[str, Any] = {"none": None, "Multigrid()": ipd.Multigrid()}
OPTIMIZER = optax.adam(1e-3)


class Diffusion(ipd.HybridModel):
    """Diffusion with an unknown diffusivity."""

    grid: ipd.Grid
    logarithm: Array

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, jnp.exp(self.logarithm), self.grid)


def stepper(preconditioner: Any) -> ipd.BackwardEuler:
    return ipd.BackwardEuler(
        solver=ipd.NewtonKrylov(
            preconditioner=preconditioner, linear_solver=ipd.BiCGStab(max_steps=MOST_ITERATIONS)
        ),
        adjoint=ipd.ImplicitAdjoint(max_iterations=MOST_ITERATIONS),
    )


def start(cells: int) -> tuple[ipd.Grid, Array]:
    """The grid, and a field with long and short waves."""
    grid = ipd.Grid(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(cells, cells))
    x, y = np.asarray(grid.centers)
    noise = np.random.default_rng(0).normal(size=grid.cells)
    return grid, jnp.asarray(np.sin(6 * x) * np.cos(9 * y) + 0.1 * noise)


def diffusivity(grid: ipd.Grid, exchange: float) -> Array:
    """Its logarithm, about the value with that D dt / dx^2."""
    noise = np.random.default_rng(1).uniform(-0.2, 0.2, size=grid.cells)
    return jnp.asarray(np.log(exchange * grid.spacing[0] ** 2 / DT) + noise)


def training_step(grid: ipd.Grid, u0: Array, preconditioner: Any) -> Callable[..., Any]:
    times = np.asarray([0.0, STEPS * DT])

    def loss(logarithm: Array) -> tuple[Array, Array]:
        result = ipd.rollout(
            Diffusion(grid, logarithm),
            u0,
            times,
            dt=DT,
            stepper=stepper(preconditioner),
            throw=False,
            halving=False,
        )
        return jnp.mean(result.u[-1] ** 2), result.stats.linear_iterations

    def step(logarithm: Array, state: Any) -> Any:
        (value, iterations), gradient = jax.value_and_grad(loss, has_aux=True)(logarithm)
        updates, state = OPTIMIZER.update(gradient, state)
        return value, jnp.mean(iterations), optax.apply_updates(logarithm, updates), state

    return step


def cpu_seconds(function: Callable[[], Any]) -> tuple[float, Any]:
    begun = time.process_time()
    result = jax.block_until_ready(function())
    return time.process_time() - begun, result


def measured(cells: int, preconditioner: Any, exchanges: tuple[float, ...]) -> list[dict[str, Any]]:
    """Compilation, once for all exchanges, and a training step for each."""
    grid, u0 = start(cells)
    logarithm = diffusivity(grid, 1.0)
    state = OPTIMIZER.init(logarithm)
    jax.clear_caches()
    step = training_step(grid, u0, preconditioner)
    compile_seconds, program = cpu_seconds(lambda: jax.jit(step).lower(logarithm, state).compile())
    rows = []
    for exchange in exchanges:
        logarithm = diffusivity(grid, exchange)
        until = time.perf_counter() + LONGEST
        found, iterations, taken = 0.0, 0.0, []
        while len(taken) < REPEATS and (len(taken) < 1 or time.perf_counter() < until):
            seconds, (found, iterations, *_) = cpu_seconds(lambda: program(logarithm, state))  # noqa: B023
            taken.append(seconds)
        seconds = statistics.median(taken)
        rows.append(
            {
                "exchange": exchange,
                "compile_seconds": compile_seconds,
                "step_seconds": seconds,
                "iterations": float(iterations),
                "converged": bool(np.isfinite(found)),
                "seconds": compile_seconds + TRAINING_STEPS * seconds,
            }
        )
    return rows


def chosen(cells: int, exchange: float) -> tuple[float, AutomaticChoice]:
    """CPU seconds of the choice, and the choice."""
    grid, u0 = start(cells)
    model = Diffusion(grid, diffusivity(grid, exchange))
    jax.clear_caches()

    def choose() -> Any:
        return with_automatic_choice(stepper("auto"), model, u0, (0.0, STEPS * DT), DT)[1]

    begun = time.process_time()
    choice = choose()
    return time.process_time() - begun, choice


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="up to 32 x 32 cells")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_enable_compilation_cache", False)
    # what is compiled once for all, such as the generator of constants, is not to be counted
    measured(8, ipd.Multigrid(), (1.0,))
    table = Table(
        "cells",
        "D dt/dx^2",
        "none: iterations",
        "seconds",
        "multigrid: iterations",
        "seconds",
        "automatic",
        "seconds",
        "/ better",
        title=f"CPU seconds of {TRAINING_STEPS} training steps, compilation included",
    )
    rows = []
    for cells in CELLS[:2] if options.quick else CELLS:
        found = {name: measured(cells, M, EXCHANGES) for name, M in PRECONDITIONERS.items()}
        for i, exchange in enumerate(EXCHANGES):
            seconds, choice = chosen(cells, exchange)
            if choice.name not in found:
                found[choice.name] = measured(cells, choice.preconditioner, EXCHANGES)
            none, multigrid, taken = (
                found[name][i] for name in ("none", "Multigrid()", choice.name)
            )
            total = seconds + taken["seconds"]
            ratio = total / min(none["seconds"], multigrid["seconds"])
            rows.append(
                {
                    "cells": [cells, cells],
                    "exchange": exchange,
                    "none": none,
                    "multigrid": multigrid,
                    "choice": choice.name,
                    "why": choice.why,
                    "choice_seconds": seconds,
                    "seconds": total,
                    "ratio": ratio,
                }
            )
            table.add_row(
                f"{cells} x {cells}",
                f"{exchange:g}",
                f"{none['iterations']:.0f}",
                f"{none['seconds']:.1f}",
                f"{multigrid['iterations']:.0f}",
                f"{multigrid['seconds']:.1f}",
                choice.name,
                f"{total:.1f}",
                f"{ratio:.2f}",
            )
    Console(width=120).print(table)
    worst = max(row["ratio"] for row in rows)
    print(f"automatic choice / better of the two: {worst:.2f} at most (bound {BOUND})")
    if options.json:
        results = {
            "training_steps": TRAINING_STEPS,
            "steps": STEPS,
            "bound": BOUND,
            "worst": worst,
            "rows": rows,
        }
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(worst > BOUND)


if __name__ == "__main__":
    sys.exit(main())
