"""Memory, time and solves of a rollout's gradient by checkpoint schedule.

    python benchmarks/checkpointing.py                                      # the table, 6 minutes
    python benchmarks/checkpointing.py --figure docs/results/memory.png     # and the figure

Advection-diffusion of one field on 128 x 64 cells, float64, backward Euler, 2000 steps, with
respect to the velocity and the initial state. Memory: temporary bytes of XLA's own analysis (exact
and repeatable). Time: compiled ahead of time, run in turn, the median of the ratios to
`StoreStates`. Solves: counted by callbacks in a run of as many steps on few cells (a schedule knows
nothing of the size), beside theory.

The work of a step is what the loop of `Binomial` needs with one slot, less that slot. Beside it
stand that of the loop of `StoreStates`, and the gradient of a single step, whose state and
cotangents are arguments and results. Exits with 1 if a count differs, or if the bytes of
`Binomial(20)` are off 20 states and the work of a step by more than 3 %.

The figure is the memory by number of steps (nothing is run), as it is: the work of a step is about
20 states, which hides the square root in short rollouts. Slopes are therefore fitted to the longest
three beside those of the range from 100 to 3200 steps. There the 8 bytes a step that the times take
begin to show in `Binomial`. Numbers go into a JSON file beside the figure.
"""

import argparse
import json
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax import Array, ShapeDtypeStruct
from matplotlib.figure import Figure
from memory import CELLS, AdvectionDiffusion
from rich.console import Console
from rich.table import Table

from impindiff.grid import Grid
from impindiff.implicit import NewtonKrylov
from impindiff.implicit.solver import AbstractRootSolver
from impindiff.report.style import save, styled
from impindiff.rollout import (
    AbstractCheckpointing,
    Binomial,
    ForBudget,
    Segments,
    StoreStates,
    estimate_memory,
    rollout,
)
from impindiff.steppers import AbstractStepper, BackwardEuler

STEPS, DT, REPEATS = 2000, 1e-2, 5
SCHEDULES = (StoreStates(), Segments(), Binomial(20), Binomial(5), ForBudget("5MB"))
STATE = CELLS[0] * CELLS[1] * 8
TOLERANCE = 0.03  # of Binomial(20) beside 20 states and the work of a step

SHORT = (100, 200, 400, 800, 1600, 3200)
LONG = (12800, 51200, 204800)
# schedule, exponent expected, colour, marker
DRAWN = (
    (StoreStates(), "1", "black", "o"),
    (Segments(), "0.5", "#c55a11", "s"),
    (Binomial(20), "0", "#2f75b5", "^"),
)


class Counting(AbstractRootSolver):
    """Newton's method that tells the host of every solve."""

    counter: list = eqx.field(static=True)
    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 20

    def solve(self, residual, z0, args, *, guess=None, unrolled=False):
        # what does not depend on the state could be moved out of the loop
        jax.debug.callback(lambda _: self.counter.append(1), jnp.ravel(z0)[0])
        return NewtonKrylov().solve(residual, z0, args, guess=guess, unrolled=unrolled)


def compiled_gradient(
    checkpointing: AbstractCheckpointing,
    steps: int,
    cells: tuple[int, int] = CELLS,
    stepper: AbstractStepper | None = None,
) -> Any:
    grid = Grid(lower=(-1.0, 0.0), upper=(1.0, 1.0), cells=cells)

    def loss(velocity: Array, u0: Array) -> Array:
        result = rollout(
            AdvectionDiffusion(grid, velocity),
            u0,
            np.asarray([0.0, steps * DT]),
            dt=DT,
            stepper=stepper or BackwardEuler(),
            checkpointing=checkpointing,
            throw=False,
        )
        return jnp.mean(result.u[-1] ** 2)

    arguments = ShapeDtypeStruct((2, *cells), float), ShapeDtypeStruct(cells, float)
    return jax.jit(jax.grad(loss, argnums=(0, 1))).lower(*arguments).compile()


def temporary_bytes(program: Any) -> int:
    analysis = program.memory_analysis()
    if analysis is None:
        sys.exit("XLA gives no memory analysis on this backend")
    return analysis.temp_size_in_bytes


def arguments(cells: tuple[int, int]) -> tuple[Array, Array]:
    grid = Grid(lower=(-1.0, 0.0), upper=(1.0, 1.0), cells=cells)
    x, y = grid.centers
    velocity = jnp.stack([0.5 + 0.2 * jnp.sin(2 * jnp.pi * y), 0.3 * jnp.cos(jnp.pi * x)])
    return velocity, jnp.exp(-20 * (x**2 + (y - 0.5) ** 2))


def solves_counted(checkpointing: AbstractCheckpointing, steps: int) -> int:
    counter: list[int] = []
    cells = (4, 4)
    program = compiled_gradient(
        checkpointing, steps, cells, BackwardEuler(Counting(counter=counter))
    )
    jax.block_until_ready(program(*arguments(cells)))
    jax.effects_barrier()
    return len(counter)


def measured(steps: int) -> list[dict[str, Any]]:
    """A row of the table for each schedule."""
    grid = Grid(lower=(-1.0, 0.0), upper=(1.0, 1.0), cells=CELLS)
    rows: list[dict[str, Any]] = []
    programs = []
    for schedule in SCHEDULES:
        began = time.perf_counter()
        programs.append(compiled_gradient(schedule, steps))
        seconds = time.perf_counter() - began
        told = estimate_memory(
            AdvectionDiffusion(grid, jnp.zeros((2, *CELLS))),
            ShapeDtypeStruct(CELLS, float),
            np.asarray([0.0, steps * DT]),
            dt=DT,
            stepper=BackwardEuler(),
            checkpointing=schedule,
        )
        rows.append(
            {
                "schedule": name_of(schedule),
                "run": name_of(told.schedule),
                "temporary_bytes": temporary_bytes(programs[-1]),
                "estimated_bytes": told.total,
                "solves": solves_counted(told.schedule, steps),
                "solves_in_theory": told.solves,
                "compile_seconds": seconds,
                "seconds": [],
            }
        )
        print(f"compiled {rows[-1]['schedule']:<16} in {seconds:5.1f} s", flush=True)
    given = arguments(CELLS)
    for _ in range(REPEATS):
        for row, program in zip(rows, programs, strict=True):
            began = time.perf_counter()
            jax.block_until_ready(program(*given))
            row["seconds"].append(time.perf_counter() - began)
    for row in rows:
        ratios = [a / b for a, b in zip(row["seconds"], rows[0]["seconds"], strict=True)]
        row["relative_time"] = statistics.median(ratios)
        row["relative_time_range"] = [min(ratios), max(ratios)]
        row["relative_memory"] = row["temporary_bytes"] / rows[0]["temporary_bytes"]
    return rows


def name_of(schedule: AbstractCheckpointing) -> str:
    if isinstance(schedule, Binomial):
        return f"Binomial({schedule.slots})"
    return f'ForBudget("{schedule.budget}")' if isinstance(schedule, ForBudget) else str(schedule)


def show(rows: list[dict[str, Any]], console: Console) -> bool:
    """Print the table; whether all counts are those of theory."""
    table = Table(
        *("schedule", "states", "MB", "relative", "estimate", "time", "spread", "solves", "theory"),
        title=f"gradient through {STEPS} steps, one field of {CELLS[0]} x {CELLS[1]}, float64",
        caption=f"a state is {STATE / 1e6:.4f} MB; estimate: of estimate_memory, relative to XLA's",
    )
    for row in rows:
        chosen = f" -> {row['run']}" if row["run"] != row["schedule"] else ""
        low, high = row["relative_time_range"]
        table.add_row(
            row["schedule"] + chosen,
            f"{row['temporary_bytes'] / STATE:,.1f}",
            f"{row['temporary_bytes'] / 1e6:,.1f}",
            f"{row['relative_memory']:.4f}",
            f"{row['estimated_bytes'] / row['temporary_bytes']:.2f}",
            f"{row['relative_time']:.2f}",
            f"{low:.2f} to {high:.2f}",
            f"{row['solves']:,}",
            f"{row['solves_in_theory']:,}",
        )
    console.print(table)
    console.print(f"{name_of(SCHEDULES[0])}: {statistics.median(rows[0]['seconds']):.1f} s")
    return all(row["solves"] == row["solves_in_theory"] for row in rows)


def check_binomial(rows: list[dict[str, Any]], console: Console) -> dict[str, float]:
    """Binomial(20) beside 20 states and the work of a step, measured in three ways, in states."""
    (found,) = (row["temporary_bytes"] / STATE for row in rows if row["schedule"] == "Binomial(20)")
    work = {
        "in the same loop (one slot, without it)": temporary_bytes(
            compiled_gradient(Binomial(1), STEPS)
        )
        / STATE
        - 1,
        "in the loop of StoreStates": rows[0]["temporary_bytes"] / STATE - STEPS,
        "in a rollout of one step": temporary_bytes(compiled_gradient(StoreStates(), 1)) / STATE,
    }
    for where, states in work.items():
        off = found / (20 + states) - 1
        console.print(
            f"Binomial(20): {found:.2f} states; 20 and the work of a step {where}, {states:.2f}: "
            f"{off:+.1%}"
        )
    return {"binomial_20_states": found, **work}


def memory_by_steps() -> dict[str, Any]:
    points = {}
    for schedule, *_ in DRAWN:
        bytes_by_steps = {n: temporary_bytes(compiled_gradient(schedule, n)) for n in SHORT + LONG}
        points[name_of(schedule)] = {
            "steps": list(bytes_by_steps),
            "temporary_bytes": list(bytes_by_steps.values()),
            "slope_100_to_3200": slope({n: bytes_by_steps[n] for n in SHORT}),
            "slope_longest_three": slope({n: bytes_by_steps[n] for n in LONG}),
        }
    return points


def slope(values: dict[int, int]) -> float:
    return float(np.polyfit(np.log(list(values)), np.log(list(values.values())), 1)[0])


def draw(points: dict[str, Any], path: Path) -> None:
    with styled():
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        ax = figure.subplots()
        for schedule, expected, colour, marker in DRAWN:
            of = points[name_of(schedule)]
            megabytes = np.asarray(of["temporary_bytes"]) / 1e6
            label = (
                f"{name_of(schedule)}: {of['slope_100_to_3200']:.2f}, then "
                f"{of['slope_longest_three']:.2f} (theory {expected})"
            )
            ax.loglog(
                of["steps"], megabytes, color=colour, marker=marker, markersize=5, label=label
            )
        ax.axvspan(LONG[0] / 1.5, LONG[-1] * 1.5, color="0.95", zorder=0)
        ax.set(
            xlabel="time steps",
            ylabel="temporary memory of the gradient (MB)",
            xlim=(SHORT[0] / 1.5, LONG[-1] * 1.5),
            title=f"One field of {CELLS[0]} x {CELLS[1]}, float64, backward Euler",
        )
        title = f"slope from {SHORT[0]} to {SHORT[-1]} steps, then in the shaded range"
        ax.legend(frameon=False, title=title, alignment="left")
    save(figure, path)


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--figure", type=Path, help="write the figure here, numbers beside it")
    parser.add_argument("--json", type=Path, help="write the numbers of the table here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    console = Console(width=120)
    rows = measured(STEPS)
    as_in_theory = show(rows, console)
    work = check_binomial(rows, console)
    results = {"steps": STEPS, "state_bytes": STATE, "schedules": rows, "work_in_states": work}
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    if options.figure:
        points = memory_by_steps()
        for name, of in points.items():
            console.print(
                f"{name}: slope {of['slope_100_to_3200']:.3f} from {SHORT[0]} to {SHORT[-1]} "
                f"steps, {of['slope_longest_three']:.3f} from {LONG[0]} to {LONG[-1]}"
            )
        draw(points, options.figure)
        text = json.dumps({**results, "by_steps": points}, indent=1)
        options.figure.with_suffix(".json").write_text(text + "\n")
    found, first, *_ = work.values()
    return int(not as_in_theory or abs(found / (20 + first) - 1) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main())
