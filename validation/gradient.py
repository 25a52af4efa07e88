"""The gradient of the whole training loss, against central differences and against unrolling.

Steady advection-diffusion and Burgers at their default sizes, every network weight, float64:

    python validation/gradient.py
    python validation/gradient.py --json docs/results/gradient.json     # and the numbers

Exits with 1 if a bound is missed: 1e-6 against central differences in 20 random directions, 1e-9
against `Unrolled` at tight tolerance.
"""

import argparse
import json
import sys
from pathlib import Path

import equinox as eqx
import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np

from impindiff.experiment import prepare
from impindiff.problems import get_problem
from impindiff.settings import load_configuration
from impindiff.training import TrajectoryLoss

jax.config.update("jax_enable_x64", True)

DIRECTIONS = 20
STEPS = (1e-3, 1e-4, 1e-5, 1e-6)
SOLVED = ("solver.rtol=1e-13", "solver.atol=1e-15")
TIGHT = (*SOLVED, "adjoint.rtol=1e-12")
UNROLLED = (
    *SOLVED,
    "adjoint.name=unrolled",
    "solver.max_krylov_iterations=30",
)
# As many Newton iterations as the tight tolerance needs, and for Burgers fewer observations: the
# memory of `Unrolled` grows with both.
PROBLEMS = {
    "advection_diffusion_steady": ((), "solver.max_iterations=2"),
    "burgers": (("observations.times=[0.05]",), "solver.max_iterations=4"),
}


def problem(name: str, *overrides: str) -> tuple[eqx.Module, TrajectoryLoss]:
    """The problem's fresh model and its loss."""
    own = get_problem(name)
    experiment = prepare(own, load_configuration(own.settings, [], overrides))
    key = jax.random.key(experiment.settings.seed)
    return experiment.model(key), experiment.loss()


def compare(name: str, *overrides: str) -> tuple[float, float]:
    """(worst relative error in 20 directions, relative distance to the gradient of Unrolled)."""
    own, iterations = PROBLEMS[name]
    model, loss = problem(name, *TIGHT, *own, *overrides)
    _, unrolled = problem(name, *UNROLLED, iterations, *own, *overrides)
    parameters, static = eqx.partition(model, eqx.is_inexact_array)

    @eqx.filter_jit
    def value(parameters, loss):
        return loss(eqx.combine(parameters, static), loss.probe())[0]

    gradient = eqx.filter_jit(jax.grad(value))(parameters, loss)
    naive = eqx.filter_jit(jax.grad(value))(parameters, unrolled)

    flat, unravel = jax.flatten_util.ravel_pytree(parameters)
    exact = np.asarray(jax.flatten_util.ravel_pytree(gradient)[0])
    other = np.asarray(jax.flatten_util.ravel_pytree(naive)[0])
    rng = np.random.default_rng(0)
    worst = 0.0
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(flat.size)
        direction /= np.linalg.norm(direction)
        want = float(exact @ direction)
        errors = []
        for h in STEPS:
            up = value(unravel(flat + h * jnp.asarray(direction)), loss)
            down = value(unravel(flat - h * jnp.asarray(direction)), loss)
            errors.append(abs(float(up - down) / (2 * h) - want) / abs(want))
        worst = max(worst, min(errors))
    return worst, float(np.linalg.norm(exact - other) / np.linalg.norm(exact))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    failed = 0
    found = {}
    for own in PROBLEMS:
        differences, naive = compare(own)
        rows = [
            (f"central differences, {DIRECTIONS} directions", differences, 1e-6),
            ("Unrolled", naive, 1e-9),
        ]
        found[own] = {"central_differences": differences, "unrolled": naive}
        for name, error, bound in rows:
            verdict = "ok" if error <= bound else "MISSED"
            failed += error > bound
            print(f"{own:<28}{name:<36} relative error {error:.2e}   bound {bound:.0e}   {verdict}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
