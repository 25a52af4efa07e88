"""A training step of the steady advection-diffusion problem, split into its parts.

    python benchmarks/step_split.py                                       # 1 minute
    python benchmarks/step_split.py --json docs/results/step_split.json

The problem as it is shipped: field network, reference data, stepper, optimiser. Each part is a
program of its own, compiled ahead of time; interleaved, medians. The adjoint is what value and
gradient take beyond the rollout: the transposed solves, the backward pass of the steps and of the
field.
"""

import argparse
import json
import statistics
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import equinox as eqx
import jax
import optax
import timing
from rich.console import Console
from rich.table import Table

from impindiff.experiment import prepare
from impindiff.problems import get_problem
from impindiff.settings import load_configuration
from impindiff.training import WithNumbers, partition

REPEATS = 15


def programs() -> dict[str, timing.Program]:
    problem = get_problem("advection_diffusion_steady")
    experiment = prepare(problem, load_configuration(problem.settings, [], []))
    loss = experiment.loss()
    parameters, static = partition(experiment.model(jax.random.key(0)))
    built = experiment.settings.training.build()
    assert isinstance(built, WithNumbers)
    optimizer = built.transformation()
    state = optimizer.init(parameters)

    def of(parameters: Any) -> Any:
        return loss(eqx.combine(parameters, static), loss.probe())

    def field(parameters: Any) -> Any:
        return eqx.combine(parameters, static).latent(jax.numpy.zeros(()))

    def update(gradient: Any, state: Any, parameters: Any) -> Any:
        updates, state = optimizer.update(gradient, state, parameters)
        return optax.apply_updates(parameters, updates), state

    def step(parameters: Any, state: Any) -> Any:
        (value, _), gradient = jax.value_and_grad(of, has_aux=True)(parameters)
        return value, update(gradient, state, parameters)

    forms: dict[str, tuple[Callable[..., Any], tuple[Any, ...]]] = {
        "field": (field, (parameters,)),
        "field and rollout": (lambda p: of(p)[0], (parameters,)),
        "value and gradient": (jax.value_and_grad(of, has_aux=True), (parameters,)),
        "optimiser": (update, (parameters, state, parameters)),
        "whole step": (step, (parameters, state)),
    }
    return {name: timing.compiled(form, *given) for name, (form, given) in forms.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    taken = timing.interleaved(programs(), REPEATS)
    median = {name: statistics.median(times) for name, times in taken.items()}
    parts = {
        "field": median["field"],
        "forward solves": median["field and rollout"] - median["field"],
        "adjoint": median["value and gradient"] - median["field and rollout"],
        "optimiser": median["optimiser"],
    }
    table = Table("part", "seconds", "of the step")
    for name, seconds in (*parts.items(), ("whole step", median["whole step"])):
        table.add_row(name, f"{seconds:.4f}", f"{seconds / median['whole step']:.1%}")
    Console().print(table)
    if options.json:
        numbers = {"seconds": parts, "whole": median["whole step"]}
        options.json.write_text(json.dumps(numbers, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
