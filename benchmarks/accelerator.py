"""Is a device right, and how fast: numbers of a CPU checked, and seconds, in at most 8 minutes.

    python benchmarks/accelerator.py --json docs/results/accelerator.json     # one GPU
    python benchmarks/accelerator.py --small                                  # 150 s of CPU time
    python benchmarks/accelerator.py --only checks                            # one part
    python benchmarks/accelerator.py --write-reference                        # on a CPU

Checks: loss, gradient and last state of a training step of advection-diffusion with a neural
velocity; a multigrid solve with a coefficient that jumps; loss, gradient and state of an
infiltration with a learned diffusivity. Each is compared with the float64 numbers of a CPU that
`--write-reference` stored; "error" is relative, of a sample of entries or of the root mean square,
whichever is larger. In "float32" matrix products are those of JAX's default, on some accelerators
of 10 bits; "float32, highest" is with all 23.

Times: a training step, multigrid solves, the gradient of an infiltration (medians, lowest and
highest of up to 9 runs), products with the operators in copies of an array, and what each takes to
compile.

A part has a budget of seconds, and what earlier parts left of theirs. A case is not started if the
one before it took longer than what is left, but for the checks, which come first and are all done.
What was left out, or did not fit the memory, is a row of the results with that outcome. After
8 minutes, or `--limit`, the process ends.

Exits with 1 if a check is off or was not done, or if a case failed for another reason than time or
memory.
"""

import argparse
import json
import os
import statistics
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import preconditioner
import timing
import training_step
from rich.console import Console

import impindiff as ipd
import operators
from impindiff.problems import AdvectionDiffusion
from impindiff.problems.vapor_infiltration.experiments import VaporInfiltrationClosure
from impindiff.problems.vapor_infiltration.forward import build_stepper
from impindiff.problems.vapor_infiltration.settings import VaporInfiltrationClosureSettings

RESULTS = Path(__file__).parents[1] / "docs" / "results"
REFERENCE = RESULTS / "accelerator_reference.json"
LIMIT = 480.0  # seconds, when the process ends
# of these seconds; the rest is for starting JAX and for the last case
BUDGETS = {
    "checks": 150.0,
    "training": 60.0,
    "multigrid, 2-D": 60.0,
    "multigrid, 3-D": 60.0,
    "operators": 60.0,
    "infiltration": 70.0,
}
DOUBLE, SINGLE, HIGHEST = "float64", "float32", "float32, highest"
# Ten times, or more, the differences that were found on a CPU: in float64 to solvers that stop at
# 1e-13, since devices may differ by what theirs leave; in float32 to float64, for "float32" with
# the factors of the network's products rounded to 10 bits.
TOLERANCES = {
    DOUBLE: {"loss": 1e-9, "state": 1e-9, "gradient": 1e-7, "solution": 1e-8},
    SINGLE: {"loss": 1e-3, "state": 1e-3, "gradient": 1e-2, "solution": 2e-4},
    HIGHEST: {"loss": 1e-5, "state": 1e-5, "gradient": 1e-4, "solution": 2e-4},
}
KRYLOV_RTOL = {DOUBLE: 1e-10, SINGLE: 1e-5}
SAMPLED = 32  # entries of an array in the reference
REPEATS, LONGEST = 9, 4.0  # runs of a program, and seconds in which they are started
COPIES, IN_A_ROW = 7, 10  # comparisons with a copy, and runs of each that are timed together
STEP = 0.05  # of the infiltration


class Sizes(NamedTuple):
    """Fields, cells and steps of training; cells of the others, and steps of the infiltration.

    - `precisions`: those of the training.
    """

    training: tuple[tuple[int, tuple[int, int], int], ...]
    multigrid: tuple[tuple[int, ...], ...]
    operators: tuple[tuple[int, ...], ...]
    infiltration: tuple[tuple[tuple[int, ...], int], ...]
    precisions: tuple[str, ...] = (DOUBLE, SINGLE, HIGHEST)


FULL = Sizes(
    training=((10, (128, 64), 20), (10, (512, 256), 20)),
    multigrid=(
        *((side, side) for side in (64, 256, 1024, 2048)),
        *((side, side, side) for side in (32, 64, 128, 256)),
    ),
    operators=((1024, 1024), (8192, 8192), (256, 256, 256)),
    infiltration=(((128, 128), 10), ((64, 64, 64), 4)),
)
SMALL = Sizes(
    training=((2, (64, 32), 5),),
    multigrid=((128, 128), (32, 32, 32)),
    operators=((256, 256),),
    # compiling one takes half a minute: that of the check is timed
    infiltration=(),
    precisions=(DOUBLE, SINGLE),  # a CPU has no other products
)


@dataclass(frozen=True)
class Case:
    """One row of the results.

    - `of`: what it is of, with the key `precision`.
    - `measure`: its numbers; called where that precision is JAX's default.
    """

    part: str
    of: dict[str, Any]
    measure: Callable[[], dict[str, Any]]


@contextmanager
def in_precision(name: str) -> Iterator[None]:
    products = "highest" if name == HIGHEST else None
    with jax.enable_x64(name == DOUBLE), jax.default_matmul_precision(products):
        yield


def as_default(tree: Any) -> Any:
    """The tree with its numbers in the default precision."""
    return jax.tree.map(
        lambda x: jnp.asarray(np.asarray(x), float) if eqx.is_inexact_array(x) else x, tree
    )


def timed(program: timing.Program) -> dict[str, Any]:
    program()
    temporary = program.temporary_bytes
    return {
        "compile_seconds": program.compile_seconds,
        "seconds": timing.spread(timing.repeated(program, REPEATS, LONGEST)),
        "temporary_mb": None if temporary is None else temporary / 1e6,
    }


# programs --------------------------------------------------------------------------------------


def training_problem(fields: int, cells: tuple[int, int], steps: int) -> tuple[Any, Any]:
    """The model and the loss of training_step.py; random numbers are drawn in float64."""
    with jax.enable_x64(True):
        model = training_step.make_model(AdvectionDiffusion, cells)
        loss = training_step.make_loss(fields, cells, steps)
    return as_default(model), as_default(loss)


def training_gradient(fields: int, cells: tuple[int, int], steps: int) -> timing.Program:
    model, loss = training_problem(fields, cells, steps)
    parameters, static = eqx.partition(model, eqx.is_inexact_array)

    def misfit(parameters: Any, loss: Any) -> Any:
        model = eqx.combine(parameters, static)
        result = loss.trajectory(model, None)
        return loss.at(result, loss.prepared(model)), (result.u[-1], result.stats.converged)

    return timing.compiled(jax.value_and_grad(misfit, has_aux=True), parameters, loss)


def multigrid_solve(cells: tuple[int, ...], precision: str) -> timing.Program:
    grid = preconditioner.grid_of(cells)
    operator = as_default(
        ipd.Elliptic.of(preconditioner.blocks(grid), preconditioner.REACTION, grid)
    )
    b = jnp.asarray(np.random.default_rng(0).normal(size=cells), float)
    solve = partial(preconditioner.solution, preconditioned=True, rtol=KRYLOV_RTOL[precision])
    return timing.compiled(solve, operator, b)


def infiltration_gradient(cells: tuple[int, ...], steps: int, precision: str) -> timing.Program:
    """The mean square porosity after some steps from the preform, by the learned diffusivity."""
    settings = VaporInfiltrationClosureSettings.model_validate(
        {"grid": {"cells": cells}, "time": {"step": STEP}, "precision": precision}
    )
    model = VaporInfiltrationClosure().model(settings, jax.random.key(0))
    stepper = build_stepper(settings)
    parameters, static = eqx.partition(model.transport, eqx.is_inexact_array)

    def loss(parameters: Any, u0: Any) -> Any:
        learned = eqx.tree_at(lambda m: m.transport, model, eqx.combine(parameters, static))
        times = [0.0, steps * STEP]
        result = ipd.rollout(
            learned, u0, times, stepper=stepper, dt=STEP, halving=False, throw=False
        )
        last = jax.tree.map(lambda x: x[-1], result.u)
        return jnp.mean(last["porosity"] ** 2), (last, result.stats.converged)

    return timing.compiled(
        jax.value_and_grad(loss, has_aux=True), parameters, model.initial_state()
    )


# checks ----------------------------------------------------------------------------------------


def of_gradient(program: timing.Program) -> dict[str, Any]:
    (loss, (state, converged)), gradient = program()
    require_converged(converged)
    return {"loss": loss, "state": state, "gradient": gradient}


def of_solve(program: timing.Program) -> dict[str, Any]:
    solution, _, converged = program()
    require_converged(converged)
    return {"solution": solution}


def require_converged(converged: Any) -> None:
    if not bool(jnp.all(converged)):
        raise ArithmeticError("a solve did not converge")


class Check(NamedTuple):
    """A program by its precision, what is compared of its results, and in which precisions."""

    program: Callable[[str], timing.Program]
    found: Callable[[timing.Program], dict[str, Any]]
    precisions: tuple[str, ...] = (DOUBLE, SINGLE)


CHECKS = {
    "training step, 2 x 32 x 16 cells": Check(
        lambda precision: training_gradient(2, (32, 16), 4),
        of_gradient,
        # the others have no products of matrices
        (DOUBLE, SINGLE, HIGHEST),
    ),
    "multigrid solve, 64 x 64 cells": Check(partial(multigrid_solve, (64, 64)), of_solve),
    "multigrid solve, 16 x 16 x 16 cells": Check(partial(multigrid_solve, (16, 16, 16)), of_solve),
    "infiltration, 16 x 16 cells": Check(partial(infiltration_gradient, (16, 16), 2), of_gradient),
}


def fingerprint(tree: Any) -> dict[str, Any]:
    """The root mean square of all entries, and some of them, evenly apart."""
    entries = np.concatenate([np.ravel(np.asarray(x, np.float64)) for x in jax.tree.leaves(tree)])
    apart = -(-entries.size // SAMPLED)
    return {"rms": float(np.sqrt(np.mean(entries**2))), "values": entries[::apart].tolist()}


def error(found: dict[str, Any], expected: dict[str, Any]) -> float:
    """Relative, of the sample or of the root mean square: the larger one."""
    a, b = np.asarray(found["values"]), np.asarray(expected["values"])
    sampled = np.linalg.norm(a - b) / np.linalg.norm(b)
    return float(max(sampled, abs(found["rms"] / expected["rms"] - 1)))


def checked(check: Check, precision: str, expected: dict[str, Any]) -> dict[str, Any]:
    program = check.program(precision)
    found = {name: fingerprint(tree) for name, tree in check.found(program).items()}
    errors = {name: error(found[name], expected[name]) for name in expected}
    tolerances = {name: TOLERANCES[precision][name] for name in expected}
    # not `>`: an error that is not a number is off
    passed = all(errors[name] <= tolerances[name] for name in expected)
    return {"errors": errors, "tolerances": tolerances, "passed": passed, **timed(program)}


def write_reference(path: Path) -> None:
    numbers = {}
    for name, check in CHECKS.items():
        with in_precision(DOUBLE):
            found = check.found(check.program(DOUBLE))
        numbers[name] = {quantity: fingerprint(tree) for quantity, tree in found.items()}
    text = json.dumps({"device": device(), "numbers": numbers}, indent=1)
    path.write_text(text + "\n")


# times -----------------------------------------------------------------------------------------


def training(fields: int, cells: tuple[int, int], steps: int) -> dict[str, Any]:
    parts = training_step.parts(*training_problem(fields, cells, steps))
    function, arguments = parts["training step"]
    return timed(timing.compiled(function, *arguments))


def multigrid(cells: tuple[int, ...], precision: str) -> dict[str, Any]:
    program = multigrid_solve(cells, precision)
    _, iterations, converged = program()
    return {"iterations": int(iterations), "converged": bool(converged), **timed(program)}


def infiltration(cells: tuple[int, ...], steps: int, precision: str) -> dict[str, Any]:
    program = infiltration_gradient(cells, steps, precision)
    (_, (_, converged)), _ = program()
    return {"converged": bool(jnp.all(converged)), **timed(program)}


def form_of(name: str, cells: tuple[int, ...]) -> Callable[[jax.Array], jax.Array]:
    """The operator, with a diffusivity or a velocity that varies from cell to cell."""
    grid = ipd.Grid((0.0,) * len(cells), (1.0,) * len(cells), cells)
    key = jax.random.key(1)
    if name == "diffusion":
        D = 1.0 + jax.random.uniform(key, cells)
        return lambda u: ipd.diffusion(u, D, grid)
    velocity = jax.random.normal(key, (len(cells), *cells))
    scheme = name.removeprefix("advection, ")
    return lambda u: ipd.advection(u, velocity, grid, scheme)


FORMS = ("diffusion", "advection, upwind", "advection, van_leer")


def product(name: str, cells: tuple[int, ...], transposed: bool) -> dict[str, Any]:
    """Seconds of a product over those of a copy: the two in turn, several of each in a row."""
    u = jax.random.normal(jax.random.key(0), cells)
    # a result of its own each time: what memory it gets is the device's own business
    make = partial(operators.Program, inner=IN_A_ROW, donate=False)
    function, arguments = operators.products(form_of(name, cells), u)[
        "J^T w" if transposed else "J v"
    ]
    start = time.perf_counter()
    program = make(function, arguments)
    compile_seconds = time.perf_counter() - start
    copy = make(lambda u: u + 1, (u,))
    for warm in (program, copy):
        warm.seconds()
    pairs = [(program.seconds(), copy.seconds()) for _ in range(COPIES)]
    of_copy = statistics.median(taken for _, taken in pairs)
    return {
        "compile_seconds": compile_seconds,
        "seconds": timing.spread([taken for taken, _ in pairs]),
        "copies": timing.spread([a / b for a, b in pairs]),
        "bytes_of_copies": program.bytes / copy.bytes,
        "gigabytes_a_second_of_copy": copy.bytes / of_copy / 1e9,
    }


def cases(sizes: Sizes, reference: dict[str, Any]) -> list[Case]:
    out = []
    for name, check in CHECKS.items():
        for precision in check.precisions:
            of = {"program": name, "precision": precision}
            out.append(Case("checks", of, partial(checked, check, precision, reference[name])))
    for fields, cells, steps in sizes.training:
        for precision in sizes.precisions:
            of = {"program": f"training step, {fields} fields, {steps} steps", "cells": cells}
            measure = partial(training, fields, cells, steps)
            out.append(Case("training", {**of, "precision": precision}, measure))
    for cells in sizes.multigrid:
        for precision in (DOUBLE, SINGLE):
            of = {"program": "multigrid solve", "cells": cells, "precision": precision}
            part = f"multigrid, {len(cells)}-D"
            out.append(Case(part, of, partial(multigrid, cells, precision)))
    for cells in sizes.operators:
        for precision in (DOUBLE, SINGLE):
            for form in FORMS:
                for transposed in (False, True):
                    name = f"{form}{', transposed' * transposed}"
                    of = {"program": name, "cells": cells, "precision": precision}
                    out.append(Case("operators", of, partial(product, form, cells, transposed)))
    for cells, steps in sizes.infiltration:
        for precision in (DOUBLE, SINGLE):
            of = {"program": f"infiltration, {steps} steps", "cells": cells, "precision": precision}
            out.append(Case("infiltration", of, partial(infiltration, cells, steps, precision)))
    return out


# the run ---------------------------------------------------------------------------------------


def outcome_of(case: Case) -> dict[str, Any]:
    """The case's numbers, or why there are none."""
    try:
        with in_precision(case.of["precision"]):
            return {"outcome": "measured", **case.measure()}
    except (MemoryError, jax.errors.JaxRuntimeError) as fault:
        if isinstance(fault, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(fault):
            return {"outcome": f"failed: {first_line(fault)}"}
        return {"outcome": "out of memory"}
    except Exception as fault:  # the other cases can still be measured
        return {"outcome": f"failed: {type(fault).__name__}: {first_line(fault)}"}


def first_line(fault: BaseException) -> str:
    return (str(fault).splitlines() or [""])[0][:200]


def run(
    todo: list[Case], write: Callable[[list[dict[str, Any]]], None], limit: float = LIMIT
) -> list[dict[str, Any]]:
    """The rows of the results, all of them from the start on; written before and after each."""
    rows = [{"part": case.part, **case.of, "outcome": "not reached"} for case in todo]
    start = time.perf_counter()
    seconds = limit / LIMIT * np.cumsum(list(BUDGETS.values()))
    ends = dict(zip(BUDGETS, start + seconds, strict=True))
    taken = dict.fromkeys(BUDGETS, 0.0)
    for case, row in zip(todo, rows, strict=True):
        now = time.perf_counter()
        # without its checks a run says nothing: only the limit ends them
        if case.part != "checks" and now + taken[case.part] >= ends[case.part]:
            row["outcome"] = "out of time"
        else:
            # stays so if the process is killed, by the system or after the limit
            row["outcome"] = "did not finish"
            write(rows)
            row |= outcome_of(case)
            taken[case.part] = time.perf_counter() - now
        write(rows)
    return rows


def device() -> dict[str, Any]:
    of = jax.devices()[0]
    return {
        "platform": of.platform,
        "kind": of.device_kind,
        "cores": os.cpu_count(),
        "jax": version("jax"),
        "jaxlib": version("jaxlib"),
    }


def line_of(row: dict[str, Any]) -> str:
    cells = " x ".join(map(str, row.get("cells", ())))
    words = [row["part"], row["program"], cells, row["precision"]]
    if row["outcome"] != "measured":
        return ", ".join(filter(None, [*words, row["outcome"]]))
    words.append(f"{1e3 * row['seconds']['median']:.3g} ms")
    words.append(f"compiled in {row['compile_seconds']:.1f} s")
    if "copies" in row:
        words.append(f"{row['copies']['median']:.2f} copies")
    if "iterations" in row:
        words.append(f"{row['iterations']} iterations")
    if "errors" in row:
        words += [f"{name} off by {value:.1e}" for name, value in row["errors"].items()]
        words.append("passed" if row["passed"] else "OFF")
    return ", ".join(filter(None, words))


def failed(rows: list[dict[str, Any]]) -> bool:
    """Whether a check is off or was not done, or a case failed for want of neither."""
    checks = [row for row in rows if row["part"] == "checks"]
    faults = ("failed", "did not finish")
    return any(not row.get("passed") for row in checks) or any(
        row["outcome"].startswith(faults) or not row.get("converged", True) for row in rows
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the numbers here, after each case")
    parser.add_argument("--small", action="store_true", help="sizes that a CPU can do")
    parser.add_argument("--only", nargs="+", choices=tuple(BUDGETS), help="these parts")
    parser.add_argument("--limit", type=float, default=LIMIT, help="seconds (default %(default)g)")
    parser.add_argument("--reference", type=Path, default=REFERENCE, help="the CPU's numbers")
    parser.add_argument("--write-reference", action="store_true", help="write them, on a CPU")
    options = parser.parse_args()
    console = Console(width=120, soft_wrap=True)
    if options.write_reference:
        if jax.default_backend() != "cpu":
            sys.exit("--write-reference: the reference is a CPU's; set JAX_PLATFORMS=cpu")
        write_reference(options.reference)
        return 0
    if not options.reference.is_file():
        sys.exit(f"{options.reference}: no such file; write it on a CPU with --write-reference")
    numbers = json.loads(options.reference.read_text())["numbers"]
    if set(numbers) != set(CHECKS):
        sys.exit(f"{options.reference}: of other checks; write it anew with --write-reference")
    todo = [
        case
        for case in cases(SMALL if options.small else FULL, numbers)
        if options.only is None or case.part in options.only
    ]
    about = {"device": device(), "small": options.small, "limit_seconds": options.limit}
    start = time.perf_counter()
    shown: set[int] = set()

    def write(rows: list[dict[str, Any]]) -> None:
        for number, row in enumerate(rows):
            if row["outcome"] not in ("not reached", "did not finish") and number not in shown:
                shown.add(number)
                console.print(line_of(row), highlight=False)
        if options.json:
            seconds = time.perf_counter() - start
            text = json.dumps({**about, "seconds": seconds, "rows": rows}, indent=1)
            options.json.write_text(text + "\n")

    # a case that compiles cannot be interrupted otherwise; what was measured is written already
    alarm = threading.Timer(options.limit, os._exit, args=(1,))
    alarm.daemon = True
    alarm.start()
    console.print(" ".join(f"{key} {value}" for key, value in about["device"].items()))
    rows = run(todo, write, options.limit)
    alarm.cancel()
    return int(failed(rows))


if __name__ == "__main__":
    sys.exit(main())
