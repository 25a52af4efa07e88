"""Memory and solves of a rollout's gradient by checkpoint schedule and number of steps.

    python benchmarks/checkpointing.py

XLA's own memory analysis of the compiled gradient (exact and repeatable; nothing is run):
advection-diffusion of one field on 128 x 64 cells, float64, backward Euler, with respect to the
velocity and the initial state. Memory is in states (64 KiB); solves are those of a rollout and its
backward pass together, relative to the steps (the tests count them in a run).
"""

import sys

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct
from memory import CELLS, AdvectionDiffusion
from rich.console import Console
from rich.table import Table

from impindiff.grid import Grid
from impindiff.rollout import AbstractCheckpointing, Binomial, Segments, StoreStates, rollout
from impindiff.steppers import BackwardEuler

STEPS, DT = (100, 400, 2000), 1e-2
SCHEDULES = (StoreStates(), Segments(), Binomial(20), Binomial(5))
STATE = CELLS[0] * CELLS[1] * 8


def temporary_states(checkpointing: AbstractCheckpointing, steps: int) -> float:
    grid = Grid(lower=(-1.0, 0.0), upper=(1.0, 1.0), cells=CELLS)

    def loss(velocity: Array, u0: Array) -> Array:
        result = rollout(
            AdvectionDiffusion(grid, velocity),
            u0,
            np.asarray([0.0, steps * DT]),
            dt=DT,
            stepper=BackwardEuler(),
            checkpointing=checkpointing,
            throw=False,
        )
        return jnp.mean(result.u[-1] ** 2)

    arguments = ShapeDtypeStruct((2, *CELLS), float), ShapeDtypeStruct(CELLS, float)
    compiled = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()
    analysis = compiled.memory_analysis()
    if analysis is None:
        sys.exit("XLA gives no memory analysis on this backend")
    return analysis.temp_size_in_bytes / STATE


def main() -> None:
    jax.config.update("jax_enable_x64", True)
    table = Table("schedule", *(f"{n} steps: states, solves" for n in STEPS))
    for schedule in SCHEDULES:
        cells = [
            f"{temporary_states(schedule, n):.1f}, {schedule.solves(n) / n:.2f}" for n in STEPS
        ]
        table.add_row(str(schedule), *cells)
    Console(soft_wrap=True).print(table)


if __name__ == "__main__":
    main()
