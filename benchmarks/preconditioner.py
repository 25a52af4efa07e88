"""Krylov iterations of an elliptic solve without and with multigrid, as the grid is refined.

    python benchmarks/preconditioner.py                                       # 2 minutes
    python benchmarks/preconditioner.py --json docs/results/preconditioner.json
    python benchmarks/preconditioner.py --quick                               # the coarser grids

1e-6 u - div(D grad u) = b, b random, relative residual 1e-8, BiCGStab (two products with A and two
with the preconditioner an iteration), float64; Dirichlet and Neumann sides along x, Robin and
Neumann along y, Neumann along z. D falls by 1e3: across a wavy front; from block to block at
random, 16 blocks a side; from cell to cell at random, which is a harder problem on each finer grid.

The times are those of a V-cycle and of what it needs to be set up, over that of one product with A,
each in a compiled loop of its own, interleaved, medians of ratios. Without a preconditioner the
solve is given up after 2000 iterations.

Exits with 1 if a solve with multigrid fails, or if from the coarsest to the finest grid its
iterations grow by more than 1.5 x, in the front or the blocks (two iterations are granted).
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
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.implicit.linear import krylov_solve

SHAPES = ((32, 32), (64, 64), (128, 128), (256, 256), (16, 16, 16), (32, 32, 32))
QUICK = ((32, 32), (64, 64), (16, 16, 16), (32, 32, 32))
CONTRAST, REACTION, RTOL, GIVE_UP = 1e3, 1e-6, 1e-8, 2000
BLOCKS = 16
GROWTH = 1.5
REPEATS, INNER = 11, 20
WALLS = (
    (ipd.Dirichlet(), ipd.Neumann()),
    (ipd.Robin(1.0, 1.0), ipd.Neumann()),
    ipd.Neumann(),
)


def front(grid: ipd.Grid) -> np.ndarray:
    x = grid.centers
    return CONTRAST ** (-1 / (1 + np.exp(-(x[0] + 0.3 * np.sin(5 * x[1]) - 0.5) / 0.05)))


def blocks(grid: ipd.Grid) -> np.ndarray:
    power = np.random.default_rng(1).random((BLOCKS,) * grid.ndim)
    for axis, n in enumerate(grid.cells):
        power = np.repeat(power, n // BLOCKS, axis)
    return CONTRAST**-power


def cells(grid: ipd.Grid) -> np.ndarray:
    return CONTRAST ** -np.random.default_rng(1).random(grid.shape)


FIELDS: dict[str, Callable[[ipd.Grid], np.ndarray]] = {
    "front": front,
    "blocks": blocks,
    "cells": cells,
}


def solution(
    operator: ipd.Elliptic, b: jax.Array, preconditioned: bool, rtol: float = RTOL
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """The solution, iterations, and whether the tolerance was met."""
    inverse = ipd.multigrid_cycle(operator) if preconditioned else None
    return krylov_solve(operator, b, ipd.BiCGStab(max_steps=GIVE_UP), rtol, inverse)


def solve(operator: ipd.Elliptic, b: jax.Array, preconditioned: bool) -> tuple[int, bool]:
    """Iterations, and whether the tolerance was met."""
    _, steps, solved = jax.jit(solution, static_argnums=2)(operator, b, preconditioned)
    return int(steps), bool(solved)


def loops(operator: ipd.Elliptic, b: jax.Array) -> dict[str, Callable[[], jax.Array]]:
    """Compiled programs; "products" and "cycles" are INNER of them."""

    def products(operator, b):
        return jax.lax.fori_loop(0, INNER, lambda _, x: b - 1e-9 * operator(x), b)

    def cycles(operator, b, count=INNER):
        inverse = ipd.multigrid_cycle(operator)
        return jax.lax.fori_loop(0, count, lambda _, x: inverse(x), b)

    forms = {
        "products": products,
        "cycles": cycles,
        "twice as many cycles": lambda operator, b: cycles(operator, b, 2 * INNER),
    }
    programs = {name: jax.jit(form).lower(operator, b).compile() for name, form in forms.items()}
    return {name: lambda run=run: run(operator, b) for name, run in programs.items()}


def relative_times(operator: ipd.Elliptic, b: jax.Array) -> tuple[float, float]:
    """Of a cycle and of the set-up, in products with A."""
    calls = loops(operator, b)
    cycle, setup = [], []
    for _ in range(REPEATS):
        taken = {}
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            taken[name] = time.perf_counter() - start
        product = taken["products"] / INNER
        once, twice = taken["cycles"], taken["twice as many cycles"]
        cycle.append((twice - once) / INNER / product)
        setup.append((2 * once - twice) / product)
    return statistics.median(cycle), statistics.median(setup)


def grid_of(shape: tuple[int, ...]) -> ipd.Grid:
    ndim = len(shape)
    return ipd.Grid((0.0,) * ndim, (1.0,) * ndim, shape, WALLS[:ndim])


def measure(shape: tuple[int, ...]) -> dict[str, Any]:
    grid = grid_of(shape)
    b = jnp.asarray(np.random.default_rng(0).normal(size=shape))
    iterations = {}
    for name, field in FIELDS.items():
        operator = ipd.Elliptic.of(field(grid), REACTION, grid)
        plain, reached = solve(operator, b, preconditioned=False)
        steps, solved = solve(operator, b, preconditioned=True)
        iterations[name] = {
            "plain": plain if reached else None,
            "multigrid": steps,
            "solved": solved,
        }
    cycle, setup = relative_times(ipd.Elliptic.of(front(grid), REACTION, grid), b)
    return {"cells": shape, "iterations": iterations, "cycle": cycle, "setup": setup}


def table_of(rows: list[dict[str, Any]]) -> Table:
    table = Table(
        "cells",
        *(f"{name}: none, multigrid" for name in FIELDS),
        "V-cycle, of a product",
        "set-up",
        title="BiCGStab iterations",
    )
    for row in rows:
        found = (row["iterations"][name] for name in FIELDS)
        table.add_row(
            " x ".join(map(str, row["cells"])),
            *(f"{of['plain'] or f'> {GIVE_UP}'}, {of['multigrid']}" for of in found),
            f"{row['cycle']:.1f}",
            f"{row['setup']:.0f}",
        )
    return table


def grows(rows: list[dict[str, Any]], ndim: int) -> bool:
    of_ndim = [row["iterations"] for row in rows if len(row["cells"]) == ndim]
    for name in ("front", "blocks"):
        first, last = of_ndim[0][name]["multigrid"], of_ndim[-1][name]["multigrid"]
        if last > GROWTH * first and last > first + 2:
            return True
    return False


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="two grids of each dimension")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    rows = [measure(shape) for shape in (QUICK if options.quick else SHAPES)]
    Console(width=120).print(table_of(rows))
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    solved = all(of["solved"] for row in rows for of in row["iterations"].values())
    return int(not solved or any(grows(rows, ndim) for ndim in (2, 3)))


if __name__ == "__main__":
    sys.exit(main())
