"""Memory of a rollout's gradient against the number of solver iterations allowed.

    python benchmarks/memory.py
    python benchmarks/memory.py --quick --json out.json    # two limits; and the bytes

XLA's own memory analysis of the compiled gradient (exact and repeatable; nothing is run):
advection-diffusion of 10 samples on 128 x 64 cells, float64, 20 steps of Crank-Nicolson, with
respect to the velocity and the initial states. `ImplicitAdjoint` must not depend on the limit of
Krylov iterations, forward and adjoint; `Unrolled` stores every iterate it may need. Exits with 1 if
the first changes.
"""

import argparse
import json
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct
from rich.console import Console
from rich.table import Table

from impindiff.grid import Grid
from impindiff.implicit import (
    AbstractAdjoint,
    BiCGStab,
    ImplicitAdjoint,
    NewtonKrylov,
    Unrolled,
)
from impindiff.operators import advection_diffusion
from impindiff.rollout import rollout
from impindiff.steppers import CrankNicolson, HybridModel

SAMPLES, CELLS, STEPS, DT = 10, (128, 64), 20, 1e-2
LIMITS = (5, 20, 50, 100, 500)
# A linear problem takes one Newton iteration. `Unrolled` must be told, since it stores the iterates
# of every iteration it might have taken; the other rule is given the same limit.
NEWTON_ITERATIONS = 1
STATE = SAMPLES * CELLS[0] * CELLS[1] * 8


class AdvectionDiffusion(HybridModel):
    """du/dt = -div(v u) + div(D grad u) with an unknown steady velocity."""

    grid: Grid
    velocity: Array

    def latent(self, t: Array) -> Array:
        return self.velocity

    def tendency(self, t: Array, u: Array, latent: Array) -> Array:
        return advection_diffusion(u, latent, 0.01, self.grid)


def temporary_bytes(adjoint: AbstractAdjoint, max_steps: int, steps: int = STEPS) -> int:
    grid = Grid(lower=(-1.0, 0.0), upper=(1.0, 1.0), cells=CELLS)
    krylov = BiCGStab(max_steps=max_steps)
    solver = NewtonKrylov(max_iterations=NEWTON_ITERATIONS, linear_solver=krylov)
    stepper = CrankNicolson(solver=solver, adjoint=adjoint)

    def loss(velocity: Array, u0: Array) -> Array:
        model = AdvectionDiffusion(grid, velocity)
        times = np.asarray([0.0, steps * DT])
        result = rollout(model, u0, times, stepper=stepper, dt=DT, throw=False)
        return jnp.mean(result.u[-1] ** 2)

    arguments = ShapeDtypeStruct((2, *CELLS), float), ShapeDtypeStruct((SAMPLES, *CELLS), float)
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()
    analysis = compiled.memory_analysis()
    if analysis is None:
        sys.exit("XLA gives no memory analysis on this backend")
    return analysis.temp_size_in_bytes


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the bytes here")
    parser.add_argument("--quick", action="store_true", help="two limits only")
    options = parser.parse_args()
    limits = LIMITS[:3:2] if options.quick else LIMITS
    jax.config.update("jax_enable_x64", True)
    console = Console(soft_wrap=True)
    table = Table(
        "Krylov limit",
        *("adjoint MB", "ratio", "states"),
        *("unrolled MB", "ratio", "states"),
        title=f"temporary bytes of the gradient, {SAMPLES} x {CELLS[0]} x {CELLS[1]} float64, "
        f"{STEPS} steps",
        caption=f"a state is {STATE / 1e6:.2f} MB",
    )
    for column in table.columns:
        column.justify = "right"
    adjoint: list[int] = []
    unrolled: list[int] = []
    for limit in limits:
        row = [str(limit)]
        exact = ImplicitAdjoint(max_iterations=limit)
        for measured, rule in ((adjoint, exact), (unrolled, Unrolled())):
            measured.append(temporary_bytes(rule, limit))
            last, first = measured[-1], measured[0]
            row += [f"{last / 1e6:,.1f}", f"{last / first:.2f}", f"{last / STATE:,.1f}"]
        table.add_row(*row)
    console.print(table)

    unchanged = len(set(adjoint)) == 1
    longer = temporary_bytes(ImplicitAdjoint(), limits[0], 2 * STEPS)
    growth = (longer - adjoint[0]) / STATE / STEPS
    console.print(
        f"ImplicitAdjoint: {'did not change' if unchanged else 'CHANGED'} between {limits[0]} and "
        f"{limits[-1]} iterations; {growth:.2f} states for each step more."
    )
    slope, _ = np.polyfit(limits, np.asarray(unrolled) / STATE / STEPS, 1)
    console.print(f"Unrolled: {slope:.2f} states per step for each iteration allowed.")
    if options.json:
        found = {"ImplicitAdjoint": adjoint, "Unrolled": unrolled}
        results = {"steps": STEPS, "limits": limits, "temporary_bytes": found}
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if unchanged else 1


if __name__ == "__main__":
    sys.exit(main())
