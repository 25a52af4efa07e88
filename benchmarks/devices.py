"""Two devices against one, each a core of its own: time and what travels.

    python benchmarks/devices.py                                        # 2 minutes, two cores
    python benchmarks/devices.py --json docs/results/devices.json

Value and gradient of two steps of backward Euler for advection and diffusion in float64,
D dt / dx^2 = 10, without a preconditioner and with `Multigrid`; each device computes in one thread
(a process of its own pins it). Strong scaling: the same problem on both; weak: twice as many
samples, or twice as long a grid. Medians of 6, in processes that alternate.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

SIDE, STEPS = 512, 2
CASES: tuple[tuple[str, dict[str, Any], tuple[int, int], int], ...] = (
    ("one device", {}, (SIDE, SIDE), 2),
    ("batch over two", {"batch": 2}, (SIDE, SIDE), 2),
    ("domain over two", {"x": 2}, (SIDE, SIDE), 2),
    ("batch over two, twice the batch", {"batch": 2}, (SIDE, SIDE), 4),
    ("domain over two, twice the grid", {"x": 2}, (2 * SIDE, SIDE), 2),
)
REPEATS, ROUNDS = 3, 2


def measure(index: int, multigrid: bool) -> dict[str, Any]:
    """In a process of its own: the number of devices is fixed when JAX starts."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    import impindiff as ipd

    jax.config.update("jax_enable_x64", True)
    _, axes, cells, samples = CASES[index]
    grid = ipd.Grid((0.0, 0.0), (cells[0] / SIDE, 1.0), cells)

    class Transport(ipd.HybridModel):
        grid: ipd.Grid
        D: Any

        def tendency(self, t: Any, u: Any, latent: Any) -> Any:
            return ipd.advection_diffusion(u, jnp.ones((2, 1, 1)) + 0 * self.D, self.D, self.grid)

    x = np.asarray(grid.centers)
    u0 = np.stack([np.sin(2 * np.pi * (x[0] + 0.1 * i)) * np.cos(6 * x[1]) for i in range(samples)])
    D = 1.0 + 0.3 * np.sin(6 * x[1])
    solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid() if multigrid else None)
    stepper = ipd.BackwardEuler(solver=solver)
    dt = 10 / SIDE**2

    def loss(D: Any, u0: Any) -> Any:
        times = [0.0, STEPS * dt]
        result = ipd.rollout(Transport(grid, D), u0, times, stepper=stepper, dt=dt, throw=False)
        return jnp.sum(result.u[-1] ** 2)

    mesh = ipd.Mesh(**axes)
    with mesh:
        arguments = mesh.place(D, grid), mesh.place(u0, grid)
        program = jax.jit(jax.value_and_grad(loss)).lower(*arguments).compile()
        jax.block_until_ready(program(*arguments))
        taken = []
        for _ in range(REPEATS):
            start = time.perf_counter()
            jax.block_until_ready(program(*arguments))
            taken.append(time.perf_counter() - start)
    travels = [c for c in ipd.collectives(program) if c.kind != "all-reduce"]
    largest = max((c.entries for c in travels), default=0)
    return {
        "seconds": taken,
        "largest exchange": largest,
        "kinds": sorted({c.kind for c in travels}),
    }


def in_process(index: int, multigrid: bool) -> dict[str, Any]:
    count = 1 if not CASES[index][1] else 2
    flags = f"--xla_force_host_platform_device_count={count} --xla_cpu_multi_thread_eigen=false"
    pinned = ["taskset", "-c", "0" if count == 1 else "0,1"]
    command = [*pinned, sys.executable, __file__, "--case", str(index)]
    command += ["--multigrid"] if multigrid else []
    environment = os.environ | {"XLA_FLAGS": flags, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--case", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--multigrid", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.case is not None:
        sys.stdout.write(json.dumps(measure(options.case, options.multigrid)) + "\n")
        return 0

    from rich.console import Console
    from rich.table import Table

    table = Table("", "preconditioner", "seconds", "speed-up", "largest exchange", "kinds")
    rows = []
    for multigrid in (False, True):
        found: list[list[float]] = [[] for _ in CASES]
        last: list[dict[str, Any]] = [{} for _ in CASES]
        for _ in range(ROUNDS):
            for i, _ in enumerate(CASES):
                last[i] = in_process(i, multigrid)
                found[i] += last[i]["seconds"]
        one = statistics.median(found[0])
        for i, (name, axes, cells, samples) in enumerate(CASES):
            seconds = statistics.median(found[i])
            work = cells[0] * cells[1] * samples / (SIDE * SIDE * 2)
            row = {
                "case": name,
                "axes": axes,
                "multigrid": multigrid,
                "seconds": seconds,
                "speed-up": one * work / seconds,
                "largest exchange": last[i]["largest exchange"],
                "kinds": last[i]["kinds"],
            }
            rows.append(row)
            table.add_row(
                name,
                "Multigrid" if multigrid else "none",
                f"{seconds:.2f}",
                f"{row['speed-up']:.2f}",
                f"{row['largest exchange']} numbers",
                ", ".join(row["kinds"]),
            )
    Console(width=120).print(table)
    if options.json:
        options.json.write_text(json.dumps(rows, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
