"""Krylov iterations and time per unknown of an implicit step, as the grid is refined at a fixed dt.

    python benchmarks/refinement.py                                           # 15 minutes
    python benchmarks/refinement.py --json docs/results/refinement.json

u_t = -div(v u) + div(D grad u), one step of backward Euler in float64, D varying by 3 x, the dt
that of the table's name: D dt / dx^2 is 1, 10 or 100 on the finest grid, and less by the square of
the refinement on coarser ones ("fixed dt"), or the same on all ("fixed stiffness"). Forward solve
to 1e-8, adjoint solve to 1e-8, BiCGStab (two products with the matrix and two with the
preconditioner an iteration). Walls: Dirichlet and Neumann along x, Robin and Neumann along y,
periodic along z.

Times are of the forward solve with all that it needs (reading the matrix off the Jacobian and
making the coarse grids included), per unknown and step, medians of 9 runs of a program of 4 steps
with other right sides and slightly other dt: each run gets its memory from the system, which on
large grids would be much of the time of a single step. Iterations are the largest of the 4. Without
a preconditioner a solve is given up after 3000 iterations.

Exits with 1 if from the coarsest to the finest grid the iterations with `Multigrid` grow by more
than 1.5 x, or its time per unknown, from 256 cells a side on (48 in
space), by more than 2 x.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.implicit.linear import LinearMap, refined_solve
from impindiff.steppers import stage_residual

SIDES: dict[int, tuple[int, ...]] = {2: (64, 128, 256, 512, 1024), 3: (24, 32, 48, 64, 96)}
WALLS = (
    (ipd.Dirichlet(), ipd.Neumann()),
    (ipd.Robin(1.0, 1.0), ipd.Neumann()),
    ipd.Periodic(),
)
STIFFNESS = (1.0, 10.0, 100.0)
SPEEDS = {"diffusion": 0.0, "with advection": 20.0}  # Peclet number of the box
RTOL, GIVE_UP, REPEATS, STEPS = 1e-8, 3000, 9, 4
ITERATIONS_GROW, TIME_GROWS = 1.5, 2.0


class Transport(ipd.HybridModel):
    """The equation above; v turns round in the (x, y) plane."""

    grid: ipd.Grid
    speed: float

    def tendency(self, t: jax.Array, u: jax.Array, latent: Any) -> jax.Array:
        x = self.grid.centers
        D = jnp.sqrt(3.0) ** jnp.sin(5 * x[0] + 3 * x[1])
        spread = ipd.diffusion(u, D, self.grid)
        if not self.speed:
            return spread
        turning = [x[1] - 0.5, 0.5 - x[0], jnp.full_like(x[0], 0.2)][: self.grid.ndim]
        return spread + ipd.advection(u, [self.speed * v for v in turning], self.grid)


def transposed(linear: LinearMap, like: jax.Array) -> LinearMap:
    function = jax.linear_transpose(linear, like)
    return lambda v: function(v)[0]


def measure(side: int, ndim: int, stiffness: float, speed: float, plain: bool) -> dict[str, Any]:
    """Iterations forward and adjoint, and seconds per unknown."""
    grid = ipd.Grid((0.0,) * ndim, (1.0,) * ndim, (side,) * ndim, WALLS[:ndim])
    model = Transport(grid, speed)
    sides = jnp.asarray(np.random.default_rng(0).normal(size=(STEPS, *grid.cells)))
    weights = stiffness / side**2 * (1 + 0.01 * jnp.arange(STEPS))
    solver = ipd.BiCGStab(max_steps=GIVE_UP)

    def solve(b: jax.Array, weight: jax.Array, transpose: bool) -> Any:
        stage = ipd.StageEquation(model, jnp.zeros(()), weight, None, jnp.zeros_like(b))
        _, matvec = jax.linearize(lambda z: stage_residual(z, stage), b)
        inverse = None if plain else ipd.Multigrid()(b, stage)
        if transpose:
            matvec = transposed(matvec, b)
            inverse = None if inverse is None else transposed(inverse, b)
        return refined_solve(matvec, b, solver, RTOL, inverse)

    def steps(sides: jax.Array, weights: jax.Array, transpose: bool) -> Any:
        def one(x: jax.Array, step: Any) -> Any:
            b, weight = step
            found = solve(b, weight, transpose)
            return x + found.value, (found.iterations, found.converged)

        return lax.scan(one, jnp.zeros(grid.cells), (sides, weights))

    out: dict[str, Any] = {}
    for direction in ("forward", "adjoint"):
        transpose = direction == "adjoint"
        run = jax.jit(steps, static_argnums=2).lower(sides, weights, transpose).compile()
        _, (iterations, converged) = run(sides, weights)
        out[direction] = int(jnp.max(iterations)) if jnp.all(converged) else None
        if not transpose and out[direction] is not None:
            taken = []
            for _ in range(REPEATS):
                start = time.perf_counter()
                jax.block_until_ready(run(sides, weights))
                taken.append(time.perf_counter() - start)
            out["ns per unknown"] = 1e9 * statistics.median(taken) / (STEPS * grid.size)
    return out


def series(ndim: int, stiffness: float, speed: float, fixed_dt: bool, plain: bool) -> list[Any]:
    sides = SIDES[ndim]
    rows = []
    for side in sides:
        here = stiffness * (side / sides[-1]) ** 2 if fixed_dt else stiffness
        found = {"cells": [side] * ndim, "D dt / dx^2": here}
        found["multigrid"] = measure(side, ndim, here, speed, plain=False)
        if plain:
            found["none"] = measure(side, ndim, here, speed, plain=True)
        rows.append(found)
    return rows


def worst(rows: list[Any]) -> dict[str, float]:
    """Growth of the iterations from the coarsest grid on, of the time from the third on."""
    iterations = [max(r["multigrid"]["forward"], r["multigrid"]["adjoint"]) for r in rows]
    times = [r["multigrid"]["ns per unknown"] for r in rows[2:]]
    return {
        "iterations": max(iterations) / max(iterations[0], 1),
        "time": max(times) / min(times),
    }


def table_of(title: str, rows: list[Any]) -> Table:
    table = Table(
        "cells", "D dt / dx^2", "none: forward, adjoint", "Multigrid: forward, adjoint",
        "ns per unknown: none, Multigrid", title=title,
    )  # fmt: skip
    for row in rows:
        pairs = []
        for name in ("none", "multigrid"):
            of = row.get(name, {})
            pairs.append([str(of.get(key) or "-") for key in ("forward", "adjoint")])
        times = [row.get(name, {}).get("ns per unknown") for name in ("none", "multigrid")]
        table.add_row(
            " x ".join(map(str, row["cells"])),
            f"{row['D dt / dx^2']:.3g}",
            *(", ".join(pair) for pair in pairs),
            ", ".join("-" if t is None else f"{t:.0f}" for t in times),
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--ndim", type=int, choices=(2, 3), help="one of them; its numbers only")
    parser.add_argument("--quick", action="store_true", help="two grids, diffusion only")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    if options.quick:
        SIDES.update({2: (64, 128, 256), 3: (16, 24, 32)})
        del SPEEDS["with advection"]
    console, out, failed = Console(width=120), [], False
    for ndim in (2, 3) if options.ndim is None else (options.ndim,):
        for name, speed in SPEEDS.items():
            for stiffness in STIFFNESS:
                for fixed_dt in (True, False):
                    stiffest = stiffness == STIFFNESS[-1]
                    if not stiffest and (fixed_dt or speed):
                        continue  # coarser grids have no stiffness left; or it is as without speed
                    plain = not options.quick and not speed
                    rows = series(ndim, stiffness, speed, fixed_dt, plain)
                    title = f"{ndim}-D {name}, fixed {'dt' if fixed_dt else 'stiffness'}"
                    console.print(table_of(title, rows))
                    growth = worst(rows)
                    out.append({"title": title, "rows": rows, "growth": growth})
                    failed |= growth["iterations"] > ITERATIONS_GROW
                    failed |= growth["time"] > TIME_GROWS
                    if options.json:
                        options.json.write_text(json.dumps(out, indent=1) + "\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
