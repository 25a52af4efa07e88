"""Burgers' equation in two dimensions: iterations by solver, and what a gradient costs.

    python benchmarks/burgers.py
    python benchmarks/burgers.py --quick --json out.json    # ten steps; and the numbers

First: one Crank-Nicolson step (float64) from a developed state, by each nonlinear solver, to a
residual of 1e-8 (root mean square). Second: value and gradient against the forward rollout, and
against `Unrolled` at the same accuracy, interleaved in one process; temporary memory is XLA's
memory analysis.
"""

import argparse
import json
import statistics
import time
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

import impindiff as ipd
from impindiff.problems import Burgers
from impindiff.problems.random_fields import gaussian_random_field, random_waves

REPEATS = 5
STEPS = 100
DT = 1e-2
TOLERANCE = 1e-8
CELLS = (128, 64)
LOWER, UPPER = (-1.0, 0.0), (1.0, 1.0)


def make_model() -> Burgers:
    """The problem's own set-up: k between 1e-3 and 1e-2."""
    grid = ipd.Grid(LOWER, UPPER, CELLS)
    waves = random_waves(20, 3, LOWER, UPPER, CELLS, np.random.default_rng(0))
    k = np.maximum(1e-2 * waves.on_cells(CELLS), 1e-3)
    return Burgers(grid, jnp.asarray(k))


def values_of(model: Burgers) -> jax.Array:
    assert isinstance(model.diffusivity, jax.Array)
    return model.diffusivity


def initial_state() -> jax.Array:
    field = gaussian_random_field(0.34, LOWER, UPPER, CELLS, np.random.default_rng(1))
    return jnp.asarray(field.on_cells(CELLS))


def iterations(model: Burgers, u: jax.Array) -> None:
    """Every solver on the same step, at two lengths."""
    limits: dict[str, Any] = {"rtol": 0.0, "atol": TOLERANCE}
    solvers = {
        "Picard": ipd.Picard(**limits),
        "Picard, relaxation 0.3": ipd.Picard(**limits, relaxation=0.3),
        "Anderson": ipd.Anderson(**limits),
        "NewtonKrylov": ipd.NewtonKrylov(**limits),
    }
    print(f"{'solver':<24}{'dt':>8}{'iterations':>12}{'Krylov':>8}{'residual':>11}  outcome")
    for dt in (1e-2, 5e-2):
        for name, solver in solvers.items():
            stepper = ipd.CrankNicolson(solver=solver, max_halvings=0)
            result = ipd.rollout(model, u, [0.0, dt], stepper=stepper, throw=False)
            status = jax.tree.map(lambda leaf: leaf[0], result.stats)
            outcome = ipd.Outcome[status.outcome].split(";")[0].split(":")[0]
            print(
                f"{name:<24}{dt:>8.0e}{int(status.iterations):>12}"
                f"{int(status.linear_iterations):>8}{float(status.residual):>11.1e}  {outcome}"
            )


def programs(model: Burgers, u0: jax.Array, stepper: ipd.CrankNicolson, steps: int) -> tuple:
    """The compiled forward rollout and value-and-gradient in k."""
    times = np.linspace(0.0, steps * DT, steps + 1)

    def loss(k):
        replaced = eqx.tree_at(lambda m: m.diffusivity, model, k)
        result = ipd.rollout(replaced, u0, times[[0, -1]], dt=DT, stepper=stepper, throw=False)
        return jnp.sum(result.u[-1] ** 2), jnp.max(result.stats.residual)

    k = values_of(model)
    return tuple(
        jax.jit(function).lower(k).compile()
        for function in (loss, jax.value_and_grad(loss, has_aux=True))
    )


def seconds(compiled: Any, k: jax.Array) -> float:
    start = time.perf_counter()
    jax.block_until_ready(compiled(k))
    return time.perf_counter() - start


def temporary_megabytes(compiled: Any) -> float:
    return compiled.memory_analysis().temp_size_in_bytes / 1e6


def gradient_cost(model: Burgers, u0: jax.Array, steps: int) -> dict[str, float]:
    """Medians, of time and memory, by what is compared."""
    k, state = values_of(model), u0.size * 8 / 1e6
    exact = ipd.CrankNicolson(solver=ipd.NewtonKrylov(rtol=1e-8))
    forward, gradient = programs(model, u0, exact, steps)
    half = programs(model, u0, exact, steps // 2)[1]
    growth = temporary_megabytes(gradient) - temporary_megabytes(half)

    # Unrolled: just as many iterations as the same accuracy needs
    (_, reached) = forward(k)
    loops = ipd.NewtonKrylov(rtol=0.0, atol=float(reached), max_iterations=3)
    loops = eqx.tree_at(lambda s: s.linear_solver.max_steps, loops, 6)
    naive = ipd.CrankNicolson(solver=loops, adjoint=ipd.Unrolled())
    unrolled = programs(model, u0, naive, steps)[1]

    order = {"forward": forward, "gradient": gradient, "unrolled": unrolled}
    taken: dict[str, list[float]] = {name: [] for name in order}
    for compiled in order.values():
        seconds(compiled, k)
    for _ in range(REPEATS):
        for name, compiled in order.items():
            taken[name].append(seconds(compiled, k))
    ratios = [g / f for g, f in zip(taken["gradient"], taken["forward"], strict=True)]
    naive_ratios = [n / g for n, g in zip(taken["unrolled"], taken["gradient"], strict=True)]

    (_, residual), slope = gradient(k)
    (_, naive_residual), naive_slope = unrolled(k)
    apart = float(jnp.linalg.norm(naive_slope - slope) / jnp.linalg.norm(slope))
    print(f"\n{steps} steps of {DT:g}, {CELLS[0]} x {CELLS[1]} cells, float64, one field")
    print(f"largest residual: {float(residual):.1e}; unrolled {float(naive_residual):.1e}")
    print(f"value and gradient / forward: {spread(ratios)}")
    print(f"temporary memory a step: {growth / (steps - steps // 2) / state:.2f} states")
    print(f"unrolled / ours, time: {spread(naive_ratios)}")
    ratio = temporary_megabytes(unrolled) / temporary_megabytes(gradient)
    print(
        f"temporary memory: {temporary_megabytes(gradient):.0f} MB, unrolled "
        f"{temporary_megabytes(unrolled):.0f} MB, {ratio:.0f} times as much"
    )
    print(f"gradients apart: {apart:.1e} (relative)")
    return {
        "steps": steps,
        "gradient": statistics.median(ratios),
        "unrolled_time": statistics.median(naive_ratios),
        "unrolled_memory": ratio,
    }


def spread(values: list[float]) -> str:
    return f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the ratios here")
    parser.add_argument("--quick", action="store_true", help="ten steps in place of a hundred")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    model, u0 = make_model(), initial_state()
    developed = ipd.rollout(model, u0, [0.0, 0.2], dt=DT).u[-1]
    iterations(model, developed)
    results = gradient_cost(model, u0, 10 if options.quick else STEPS)
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
