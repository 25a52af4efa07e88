"""What a training step costs beside a forward rollout, both with the field evaluated.

10 fields on 128 x 64 cells, 20 Crank-Nicolson steps, SIREN 3 x 64, float64:

    python benchmarks/training_step.py
    python benchmarks/training_step.py --quick --json out.json    # two fields; and the numbers

Compiled ahead of time, interleaved, medians. Also counts, by callbacks from the compiled programs,
how often the field and the tendency are evaluated.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import timing

import impindiff as ipd
from impindiff.observations import AtTimes, Sensors
from impindiff.problems import AdvectionDiffusion
from impindiff.problems.random_fields import gaussian_random_field
from impindiff.training import TrajectoryLoss

jax.config.update("jax_enable_x64", True)

FIELDS, CELLS, STEPS, DT = 10, (128, 64), 20, 0.01
LOWER, UPPER = (-1.0, 0.0), (1.0, 1.0)
REPEATS = 9
BOUND = 2.5

evaluations = {"latent": 0, "tendency": 0}


def count(name: str) -> None:
    evaluations[name] += 1


class Counted(AdvectionDiffusion):
    """The model, telling the host whenever one of its parts is evaluated."""

    def latent(self, t):
        jax.debug.callback(count, "latent")
        return super().latent(t)

    def tendency(self, t, u, latent):
        jax.debug.callback(count, "tendency")
        return super().tendency(t, u, latent)


def make_model(
    kind: type[AdvectionDiffusion], cells: tuple[int, int] = CELLS
) -> AdvectionDiffusion:
    grid = ipd.Grid(LOWER, UPPER, cells)
    field = ipd.ConditionalField(
        2, LOWER, UPPER, periodic=(True, True), omega_first=10.0, key=jax.random.key(0)
    )
    # A fresh field is nearly zero, and its steps take three iterations: shift it to flows of
    # the size that the problem has, so that the solves are those of training.
    field = eqx.tree_at(lambda f: f.network.biases[-1], field, jnp.array([0.5, 0.5]))
    return kind(grid, field, 1e-3)


def make_loss(samples: int, cells: tuple[int, int] = CELLS, steps: int = STEPS) -> TrajectoryLoss:
    rng = np.random.default_rng(0)
    u0 = np.stack(
        [
            gaussian_random_field(length, LOWER, UPPER, cells, rng).on_cells(cells)
            for length in np.linspace(0.3, 0.38, samples)
        ]
    )
    sensors = Sensors(cells)
    return TrajectoryLoss(
        u0=jnp.asarray(u0),
        times=(0.0, steps * DT),
        values=jnp.asarray(sensors(u0[None])),
        observe=AtTimes(sensors, [1]),
        stepper=ipd.CrankNicolson(solver=ipd.NewtonKrylov(rtol=1e-8)),
        dt=DT,
    )


def parts(
    model: AdvectionDiffusion, loss: TrajectoryLoss
) -> dict[str, tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The forward rollout, the training step and the field alone, each with its arguments."""
    parameters, static = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.adam(1e-3)
    state = optimizer.init(parameters)

    def value(parameters, probe, loss):
        return loss(eqx.combine(parameters, static), probe)

    def forward(parameters, loss):
        return value(parameters, loss.probe(), loss)[0]

    def training_step(parameters, state, loss):
        differentiate = jax.value_and_grad(value, argnums=(0, 1), has_aux=True)
        (misfit, _), (gradient, _) = differentiate(parameters, loss.probe(), loss)
        updates, state = optimizer.update(gradient, state)
        return misfit, optax.apply_updates(parameters, updates), state

    def field(parameters):
        return eqx.combine(parameters, static).latent(jnp.zeros(()))

    return {
        "forward rollout": (forward, (parameters, loss)),
        "training step": (training_step, (parameters, state, loss)),
        "field alone": (field, (parameters,)),
    }


def programs(model: AdvectionDiffusion, loss: TrajectoryLoss) -> dict[str, timing.Program]:
    """The parts, compiled; prints how long each took to compile."""
    compiled = {}
    for name, (function, arguments) in parts(model, loss).items():
        compiled[name] = timing.compiled(function, *arguments)
        print(f"compiled {name:<16} in {compiled[name].compile_seconds:5.1f} s")
    return compiled


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    parser.add_argument("--quick", action="store_true", help="two fields, fewer repeats")
    options = parser.parse_args()
    fields, repeats = (2, 5) if options.quick else (FIELDS, REPEATS)
    print(f"{os.cpu_count()} cores, float64, {fields} x {CELLS[0]} x {CELLS[1]}, {STEPS} steps")
    compiled = programs(make_model(AdvectionDiffusion), make_loss(fields))
    seconds = timing.interleaved(compiled, repeats)
    for name, values in seconds.items():
        print(
            f"{name:<16} median {statistics.median(values):.3f} s "
            f"(min {min(values):.3f}, max {max(values):.3f})"
        )
    pairs = zip(seconds["training step"], seconds["forward rollout"], strict=True)
    ratio = statistics.median(a / b for a, b in pairs)
    print(f"training step / forward rollout: {ratio:.2f} (bound {BOUND})")

    # One sample: under vmap a callback is called once for each.
    counted = programs(make_model(Counted), make_loss(1))
    counts = {}
    for name in ("forward rollout", "training step"):
        evaluations.update(latent=0, tendency=0)
        counted[name]()
        jax.effects_barrier()
        counts[name] = dict(evaluations)
        print(
            f"{name:<16} evaluates the field {counts[name]['latent']} time(s) and the tendency "
            f"{counts[name]['tendency']} times"
        )
    extra = counts["training step"]["tendency"] - counts["forward rollout"]["tendency"]
    print(
        f"backward pass: {extra / STEPS:.1f} tendency evaluations a step beside the adjoint's own"
    )
    if options.json:
        results = {
            "fields": fields,
            "seconds": {name: statistics.median(values) for name, values in seconds.items()},
            "relative_to_forward": ratio,
            "bound": BOUND,
            "evaluations": counts["training step"],
        }
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return int(ratio > BOUND or counts["training step"]["latent"] != 1)


if __name__ == "__main__":
    raise SystemExit(main())
