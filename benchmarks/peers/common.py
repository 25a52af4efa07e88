"""Programs of this library and of a peer, timed in turn, and the rows that a script writes.

A script of this folder compares with one peer, in a process of its own: float64, the same
right-hand side, tolerance and gradient in both.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

REPEATS = 5
# the exit code of a script whose peer is not installed
MISSING = 3
OURS = "Im-PiNDiff"

Rows = list[dict[str, Any]]


def relative(a: Any, b: Any) -> float:
    """||a - b|| / ||b||."""
    return float(jnp.linalg.norm(jnp.ravel(a - b)) / jnp.linalg.norm(jnp.ravel(b)))


def loss_of(end: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], Any]:
    """The sum of squares at the end, with the state there, and its gradient by the first state."""

    def loss(u: jax.Array) -> tuple[jax.Array, jax.Array]:
        last = end(u)
        return jnp.sum(last**2), last

    return jax.value_and_grad(loss, has_aux=True)


def timed(
    case: str,
    programs: Mapping[str, Callable[..., Any]],
    arguments: tuple,
    error: Callable[[Any], float],
) -> Rows:
    """A row for each program, which returns (value, gradient) and is compiled by `jax.jit`.

    The first gradient traces, compiles and runs; the later ones are medians, in the order A B A B.
    """
    compiled, rows, taken = [], [], []
    for name, program in programs.items():
        start = time.perf_counter()
        run = jax.jit(program).lower(*arguments).compile()
        found = jax.block_until_ready(run(*arguments))
        first = time.perf_counter() - start
        memory = run.memory_analysis()
        megabytes = None if memory is None else memory.temp_size_in_bytes / 1e6
        rows.append({"case": case, "program": name, "first": first, "memory_mb": megabytes})
        rows[-1]["error"] = error(found)
        compiled.append(run)
        taken.append([])
    for _ in range(REPEATS):
        for run, seconds in zip(compiled, taken, strict=True):
            start = time.perf_counter()
            jax.block_until_ready(run(*arguments))
            seconds.append(time.perf_counter() - start)
    for row, seconds in zip(rows, taken, strict=True):
        row["after"] = statistics.median(seconds)
        print(
            f"{case:<38}{row['program']:<44}{row['first']:>7.2f} s{1e3 * row['after']:>10.2f} ms"
            f"{row['error']:>10.1e}"
        )
    return rows


def main(peer: str, measure: Callable[[bool], Rows]) -> int:
    """Run `measure(quick)` with the peer, a distribution's name, and write its rows to --json."""
    parser = argparse.ArgumentParser(description=f"Comparison with {peer}")
    parser.add_argument("--json", type=Path, help="write the rows here")
    parser.add_argument("--quick", action="store_true", help="the smallest case only")
    options = parser.parse_args()
    try:
        found = version(peer)
    except PackageNotFoundError:
        print(f"{peer} is not installed, its rows are left out: pip install 'impindiff[peers]'")
        return MISSING
    jax.config.update("jax_enable_x64", True)
    rows = measure(options.quick)
    if options.json:
        written = {"peer": peer, "version": found, "rows": rows}
        options.json.write_text(json.dumps(written, indent=1) + "\n")
    return 0


def script(peer: str, measure: Callable[[bool], Rows]) -> None:
    """The last line of a script."""
    sys.exit(main(peer, measure))
