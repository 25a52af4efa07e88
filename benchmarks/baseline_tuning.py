"""The settings with which each black box forecasts best, for a fair comparison with it.

    python benchmarks/baseline_tuning.py --budget 30 --json docs/results/baseline_tuning.json

Of each network one setting after another is settled, in the order of `SEARCH`: every value is tried
with the best of those before, and kept if the test forecast is better. Each trial takes as many
steps as fit into the budget at the speed of the fastest of the first few, whatever else the machine
does: of AdamW with a learning rate that falls along a cosine, on what the problem lets training
see, with the loss of training/loss.py. It is judged by the mean relative L1 error of the test
samples at the end of the reference data. Data are drawn with a `truth.seed` of their own, so
nothing is tuned to data that results are reported for.

With --json the problem's results are put beside those of other problems in the file.
"""

import argparse
import json
import math
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from rich.console import Console
from rich.table import Table

from impindiff.methods import (
    ConvLSTM,
    FourierNeuralOperator,
    SequenceModel,
    SequenceNetwork,
    number_of_channels,
)
from impindiff.observations import relative_l1_percent
from impindiff.problem import as_data
from impindiff.problem.observations import index_of_times
from impindiff.problems import get_problem

PROBLEMS = ("advection_diffusion_steady", "burgers", "advection_diffusion_dynamic")
SEED = 100  # of the data; results are of small seeds
FINAL_FACTOR = 0.01
QUARTERS = 4
TIMED = 5

NETWORKS: dict[str, type[Any]] = {"fno": FourierNeuralOperator, "conv_lstm": ConvLSTM}
# the first of each is where the search starts
SEARCH: dict[str, dict[str, tuple[Any, ...]]] = {
    "fno": {
        "learning_rate": (3e-3, 1e-2, 1e-3, 3e-4),
        "forced": (False, True),
        "modes": (12, 6),
        "width": (16, 32),
        "layers": (4, 2),
        "weight_decay": (0.0, 1e-4, 1.0),
    },
    "conv_lstm": {
        "learning_rate": (1e-2, 3e-3, 1e-3, 3e-4),
        "forced": (False, True),
        "hidden": (8, 16),
        "kernel": (3, 5),
        "layers": (1, 2),
        "weight_decay": (0.0, 1e-4, 1.0),
    },
}
OF_TRAINING = ("learning_rate", "weight_decay", "forced")


class Problem(NamedTuple):
    """What every trial shares: a problem's data, split as the problem says."""

    knots: tuple[float, ...]
    observed: Float[Array, "knots samples *cells"]
    first: Float[Array, "samples *cells"]
    truth: Float[np.ndarray, "samples *cells"]
    end: float
    periodic: tuple[bool, ...]
    with_time: bool

    @classmethod
    def of(cls, name: str) -> "Problem":
        problem: Any = get_problem(name)
        settings = problem.settings(truth={"seed": SEED})
        data = as_data(problem.reference(settings), None)
        times = data.dataset["time"].to_numpy()
        field = data.dataset[problem.variable].to_numpy()
        knots = (0.0, *settings.observations.times)
        observed = field[data.training][:, index_of_times(times, knots)]
        return cls(
            knots,
            jnp.asarray(np.moveaxis(observed, 1, 0)),
            jnp.asarray(field[data.test, 0]),
            field[data.test, -1],
            float(times[-1]),
            settings.periodic(),
            "dynamic" in name,
        )

    def model(self, kind: str, **sizes: int) -> SequenceModel:
        channels = number_of_channels(self.periodic, with_time=self.with_time)
        network: SequenceNetwork = NETWORKS[kind](
            channels, self.periodic, **sizes, key=jax.random.key(0)
        )
        cells = self.truth.shape[1:]
        return SequenceModel(network, self.knots, self.periodic, cells, self.with_time)

    def error(self, model: SequenceModel) -> float:
        """Mean relative L1 error at the end, in percent."""
        found = eqx.filter_jit(model)(self.first, (self.knots[0], self.end))[-1]
        errors = relative_l1_percent(np.asarray(found), self.truth, space_axes=found.ndim - 1)
        return float(np.mean(errors))


def train(problem: Problem, kind: str, chosen: dict[str, Any], budget: float) -> dict[str, Any]:
    """The numbers of one trial."""
    model = problem.model(kind, **{k: v for k, v in chosen.items() if k not in OF_TRAINING})
    parameters, static = eqx.partition(model, eqx.is_inexact_array)
    optimizer = optax.inject_hyperparams(optax.adamw)(
        learning_rate=chosen["learning_rate"], weight_decay=chosen["weight_decay"]
    )
    knots, observed = problem.knots, problem.observed

    def loss(parameters, observed):
        model = eqx.combine(parameters, static)
        found = (
            model.next_observations(observed) if chosen["forced"] else model(observed[0], knots)[1:]
        )
        return jnp.sum((found - observed[1:]) ** 2) / jnp.sum(observed[1:] ** 2)

    def step(parameters, state, observed):
        value, gradient = jax.value_and_grad(loss)(parameters, observed)
        updates, state = optimizer.update(gradient, state, parameters)
        return value, optax.apply_updates(parameters, updates), state

    state: Any = optimizer.init(parameters)
    program = jax.jit(step).lower(parameters, state, observed).compile()
    seconds = []
    for _ in range(TIMED):
        start = time.perf_counter()
        jax.block_until_ready(program(parameters, state, observed))
        seconds.append(time.perf_counter() - start)
    steps = max(QUARTERS, round(budget / min(seconds)))
    schedule = optax.cosine_decay_schedule(chosen["learning_rate"], steps, FINAL_FACTOR)
    value, errors = jnp.inf, []
    for i in range(steps):
        state.hyperparams["learning_rate"] = jnp.asarray(schedule(i), observed.dtype)
        value, parameters, state = program(parameters, state, observed)
        if i + 1 >= steps * (len(errors) + 1) / QUARTERS:
            errors.append(problem.error(eqx.combine(parameters, static)))
    return {
        **chosen,
        "test_percent": errors[-1],
        "test_percent_by_quarter": errors,
        "training_percent": 100 * math.sqrt(float(value)),
        "steps": steps,
        "ms_a_step": 1e3 * min(seconds),
        "parameters": sum(x.size for x in jax.tree.leaves(parameters)),
    }


def search(
    problem: Problem, kind: str, settled: list[str], budget: float, console: Console
) -> list[dict[str, Any]]:
    """All trials, best first."""
    chosen = {name: values[0] for name, values in SEARCH[kind].items()}
    best = train(problem, kind, chosen, budget)
    trials = [best]
    for name, values in SEARCH[kind].items():
        # both ways of training are the same where there is a single step
        if name not in settled or (name == "forced" and len(problem.knots) == 2):
            continue
        for value in values[1:]:
            trial = train(problem, kind, {**chosen, name: value}, budget)
            trials.append(trial)
            error = trial["test_percent"]
            console.print(f"{kind}: {name} = {value}: {error:.2f} %")
            if error < best["test_percent"]:
                best = trial
        chosen[name] = best[name]
    # not finite comes last
    return sorted(trials, key=lambda t: (not math.isfinite(t["test_percent"]), _error(t)))


def _error(trial: dict[str, Any]) -> float:
    error = trial["test_percent"]
    return error if math.isfinite(error) else 0.0


def show(title: str, trials: list[dict[str, Any]], console: Console) -> None:
    """A table of all trials."""
    table = Table(title=title)
    for column in trials[0]:
        table.add_column(column.replace("_", " "), justify="right")
    for trial in trials:
        table.add_row(*(_text(value) for value in trial.values()))
    console.print(table)


def _text(value: Any) -> str:
    if isinstance(value, list):
        return " ".join(f"{v:.1f}" for v in value)
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _rounded(value: Any) -> Any:
    """Four digits are more than what differs from run to run."""
    if isinstance(value, list):
        return [_rounded(v) for v in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--problem", choices=PROBLEMS, default=PROBLEMS[0])
    parser.add_argument("--network", choices=NETWORKS, action="append", help="default: each")
    parser.add_argument("--settle", action="append", help="a setting to search; default: each")
    parser.add_argument("--budget", type=float, default=30.0, help="seconds of training a trial")
    parser.add_argument("--precision", choices=("float64", "float32"), default="float64")
    parser.add_argument("--json", type=Path, help="put the results into this file")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", options.precision == "float64")
    console = Console(width=160)
    problem = Problem.of(options.problem)
    still = np.asarray(problem.first)
    unchanged = relative_l1_percent(still, problem.truth, space_axes=still.ndim - 1)
    console.print(f"no change at all: {np.mean(unchanged):.2f} %")
    found: dict[str, Any] = {}
    for kind in options.network or NETWORKS:
        found[kind] = search(
            problem, kind, options.settle or list(SEARCH[kind]), options.budget, console
        )
        show(
            f"{options.problem}, {kind}: {os.cpu_count()} cores, {options.precision}, "
            f"{options.budget:g} s a trial",
            found[kind],
            console,
        )
    if options.json:
        before = json.loads(options.json.read_text()) if options.json.exists() else {}
        of_problem = before.get(options.problem, {}) | {
            "truth_seed": SEED,
            "persistence_percent": _rounded(float(np.mean(unchanged))),
        }
        for kind, trials in found.items():
            of_problem[kind] = {
                "precision": options.precision,
                "budget_seconds": options.budget,
                "trials": [{n: _rounded(v) for n, v in trial.items()} for trial in trials],
            }
        options.json.write_text(json.dumps(before | {options.problem: of_problem}, indent=1) + "\n")


if __name__ == "__main__":
    main()
