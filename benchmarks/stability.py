"""How large a step each stepper may take: explicit against implicit.

    python benchmarks/stability.py                                        # the table, 6 minutes
    python benchmarks/stability.py --json docs/results/stability.json     # and the numbers

The problems' own set-up (128 x 64 cells, float64) with their true coefficients, the fields of two
test samples with the shortest and the longest correlation length, T the end of the forecast.
Of steps T, T/2, T/3, ... the largest with which the state at T is within 5 % of the reference (RK4
with dt = 1e-3), in the relative L1 norm, for both samples. The third problem is stiffer and longer:
advection-diffusion with ten times the diffusivity, until T = 1.

What limits the step is read from the next larger one. A failed solve, a NaN or more than 100 % is
instability, and so is an error that grows by more than twice as much as the order of the stepper
explains; anything else is accuracy. No step is halved.

Exits with 1 if in the stiff problem an explicit stepper is not limited by instability, or may take
as long a step as an implicit one.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.observations._metrics import relative_l1_percent
from impindiff.problems import AdvectionDiffusionSteady, BurgersProblem
from impindiff.problems.box import BoxProblem
from impindiff.steppers import AbstractStepper, ImplicitStepper

BOUND = 5.0
STEPS = (1, 2, 3, 4, 5, 6, 8, 10, 13, 16, 20, 25, 32, 40, 50, 64, 80, 100, 128, 160, 200, 250, 320)
STIFF_DIFFUSIVITY = 1e-2
SAMPLES = {"training_samples": 1, "test_samples": 2}
SOLVER = ipd.NewtonKrylov(rtol=1e-8)  # the problems' own
STEPPERS = (
    ipd.ForwardEuler(),
    ipd.RK4(),
    ipd.BackwardEuler(solver=SOLVER),
    ipd.CrankNicolson(solver=SOLVER),
    ipd.BDF2(solver=SOLVER),
    ipd.SDIRK2(solver=SOLVER),
    ipd.KenCarp3(solver=SOLVER),
    ipd.KenCarp4(solver=SOLVER),
)


class Problem(NamedTuple):
    """A true model, and the reference it is to follow until `until`."""

    name: str
    model: ipd.HybridModel
    until: float
    u0: np.ndarray
    truth: np.ndarray


class Attempt(NamedTuple):
    """The forecast with one length of step: the largest error of any sample, if all was solved."""

    steps: int
    error_percent: float | None
    solved: bool


def advection_diffusion(name: str, until: float, **physics: float) -> Problem:
    built_in = AdvectionDiffusionSteady()
    settings = built_in.settings.model_validate({"truth": SAMPLES, "physics": physics})
    return problem(name, built_in, settings, until)


def burgers(name: str, until: float) -> Problem:
    built_in = BurgersProblem()
    settings = built_in.settings.model_validate({"truth": SAMPLES})
    return problem(name, built_in, settings, until)


def problem(name: str, built_in: BoxProblem, settings: Any, until: float) -> Problem:
    data = built_in.reference(settings, until)
    model = built_in.true_model(settings)
    assert model is not None
    field = data[built_in.variable].to_numpy()[settings.test_indices()]
    return Problem(name, model, float(data["time"][-1]), field[:, 0], field[:, -1])


PROBLEMS: tuple[Callable[[], Problem], ...] = (
    lambda: advection_diffusion("advection-diffusion, T = 0.2", 0.2),
    lambda: burgers("Burgers, T = 1", 1.0),
    lambda: advection_diffusion(
        "advection-diffusion, D = 1e-2, T = 1", 1.0, diffusivity=STIFF_DIFFUSIVITY
    ),
)


def attempt(of: Problem, stepper: AbstractStepper, steps: int) -> Attempt:
    result = ipd.rollout(
        of.model,
        of.u0,
        [0.0, of.until],
        dt=of.until / steps,
        stepper=stepper,
        halving=False,
        throw=False,
    )
    error = relative_l1_percent(np.asarray(result.u[-1]), of.truth, space_axes=2).max()
    solved = bool(jnp.all(result.stats.converged))
    return Attempt(steps, float(error) if np.isfinite(error) else None, solved)


def within(tried: Attempt) -> bool:
    return tried.solved and tried.error_percent is not None and tried.error_percent <= BOUND


def limit(found: Attempt, larger: Attempt | None, order: int) -> str:
    """What the step just too large suffers from; none if the whole forecast is one step."""
    if larger is None:
        return "none"
    if not larger.solved or larger.error_percent is None or larger.error_percent > 100:
        return "instability"
    explained = (found.steps / larger.steps) ** order
    assert found.error_percent is not None
    grown = larger.error_percent / found.error_percent
    return "instability" if grown > 2 * explained else "accuracy"


def largest_step(of: Problem, stepper: AbstractStepper) -> dict[str, Any]:
    larger = None
    for steps in STEPS:
        found = attempt(of, stepper, steps)
        if within(found):
            break
        larger = found
    else:
        name = type(stepper).__name__
        sys.exit(f"{of.name}: {name} is off by more than {BOUND} % with {STEPS[-1]} steps")
    return {
        "stepper": type(stepper).__name__,
        "implicit": isinstance(stepper, ImplicitStepper),
        "dt": of.until / found.steps,
        "error_percent": found.error_percent,
        "next_dt": larger and of.until / larger.steps,
        "next_error_percent": larger and larger.error_percent,
        "next_solved": larger and larger.solved,
        "limit": limit(found, larger, stepper.order),
    }


def beyond(row: dict[str, Any]) -> str:
    """The next larger step, and what becomes of the forecast there."""
    if row["next_dt"] is None:
        return ""
    percent = row["next_error_percent"]
    if not row["next_solved"]:
        outcome = "solve fails" if row["implicit"] else "not finite"
    else:
        outcome = "not finite" if percent is None else f"{percent:.2g} %"
    return f"{row['next_dt']:.3g}: {outcome}"


def table_of(name: str, rows: list[dict[str, Any]]) -> Table:
    headings = ("stepper", "largest dt", "error", "limited by", "next larger dt")
    table = Table(*headings, title=name)
    for row in rows:
        table.add_row(
            row["stepper"],
            f"{row['dt']:.3g}",
            f"{row['error_percent']:.2g} %",
            row["limit"],
            beyond(row),
        )
    return table


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    console = Console(width=100)
    results = {}
    rows: list[dict[str, Any]] = []  # at the end the stiff problem's
    for make in PROBLEMS:
        of = make()
        rows = [largest_step(of, stepper) for stepper in STEPPERS]
        console.print(table_of(of.name, rows))
        results[of.name] = rows
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    explicit = [row for row in rows if not row["implicit"]]
    unstable = all(row["limit"] == "instability" for row in explicit)
    shortest = min(row["dt"] for row in rows if row["implicit"])
    return int(not unstable or max(row["dt"] for row in explicit) >= shortest)


if __name__ == "__main__":
    sys.exit(main())
