"""Cost of advection + diffusion, its linearisation and its transpose, against one array copy.

    python benchmarks/operators.py
    python benchmarks/operators.py --quick --json out.json    # one size; and the numbers

Ahead-of-time compiled, each program in turn with the copy, medians of ratios taken in one run. As
in a solve, what a product keeps of the state and the velocity are arguments of its program, and a
result is written where the last one was: new pages from the system would take longer than a copy
into them, and hide what the program takes.

"bytes" is what a program has to read and write over what the copy does. Where that comes from
memory, the ratio of times cannot be less; while the copy's fits a cache that the program's does
not, it is more. "pad + slice" is the textbook way that the operators replace: a padded copy per
axis, then slices of it.
"""

import argparse
import json
import os
import re
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from rich.console import Console
from rich.table import Table

import impindiff.grid as ipg
from impindiff.operators import advection, advection_diffusion, diffusion

REPEATS, INNER, D = 31, 4, 0.1
SHAPES = ((512, 512), (1024, 1024), (2048, 2048), (10, 128, 64))


def summed(u, velocity, grid, scheme="upwind"):
    return advection(u, velocity, grid, scheme) + diffusion(u, D, grid)


def merged(u, velocity, grid, scheme="upwind"):
    return advection_diffusion(u, velocity, D, grid, scheme)


def pad_and_slice(u, velocity, grid):
    total = jnp.zeros_like(u)
    for axis in range(grid.ndim):
        along, n, h = axis - grid.ndim, grid.cells[axis], grid.spacing[axis]
        p, v = ipg.pad(u, grid, axis), ipg.pad(velocity[axis], grid, axis)
        below, above = (lax.slice_in_dim(p, i, i + n + 1, axis=along) for i in (0, 1))
        vf = 0.5 * sum(lax.slice_in_dim(v, i, i + n + 1, axis=along) for i in (0, 1))
        flux = jnp.maximum(vf, 0) * below + jnp.minimum(vf, 0) * above - D / h * (above - below)
        low, high = (lax.slice_in_dim(flux, i, i + n, axis=along) for i in (0, 1))
        total -= (high - low) / h
    return total


@dataclass
class Program:
    """function(*args) after its last result. `bytes` are those it reads and writes.

    - `inner`: runs that are timed together.
    - `donate`: write a result over the last one.
    """

    function: Callable
    args: tuple
    inner: int = INNER
    donate: bool = True

    def __post_init__(self):
        self.result = jnp.zeros_like(self.args[0])

        def into(result, *args):
            del result
            return self.function(*args)

        donated = (0,) if self.donate else ()
        program = jax.jit(into, donate_argnums=donated, keep_unused=True)
        self.compiled = program.lower(self.result, *self.args).compile()
        given = jax.tree.leaves((self.result, self.args))
        read = sum(given[i].nbytes for i in arguments_used(self.compiled.as_text() or ""))
        self.bytes = read + self.result.nbytes

    def seconds(self) -> float:
        start = time.perf_counter()
        for _ in range(self.inner):
            self.result = self.compiled(self.result, *self.args)
        jax.block_until_ready(self.result)
        return (time.perf_counter() - start) / self.inner


def arguments_used(hlo: str) -> list[int]:
    """The numbers of those that the compiled program looks at."""
    entry = hlo[hlo.index("\nENTRY") :]
    numbers = re.findall(r"(\S+) = \S+ parameter\((\d+)\)", entry)
    return [int(i) for name, i in numbers if len(re.findall(rf"{name}(?![\w.])", entry)) > 1]


def products(form: Callable, u) -> dict[str, tuple[Callable, tuple]]:
    """The linearisation of form(u) and its transpose, each with its arguments."""
    _, linear = jax.linearize(form, u)
    kept, numbers = eqx.partition(linear, lambda x: x.ndim > 0)

    def product(v, kept):
        return eqx.combine(kept, numbers)(v)

    def transposed(w, kept):
        return jax.linear_transpose(lambda v: product(v, kept), w)(w)[0]

    return {"J v": (product, (u, kept)), "J^T w": (transposed, (u, kept))}


def variants(u, velocity, grid) -> dict[tuple[str, str], Program]:
    forms = {
        "advection + diffusion, upwind": summed,
        "advection_diffusion, upwind": merged,
        "advection_diffusion, van_leer": lambda u, v, g: merged(u, v, g, "van_leer"),
        "pad + slice, upwind": pad_and_slice,
    }
    out: dict[tuple[str, str], Program] = {}
    for name, form in forms.items():
        out[name, "tendency"] = Program(lambda u, v, form=form: form(u, v, grid), (u, velocity))
        linear = products(lambda u, form=form: form(u, velocity, grid), u)
        out |= {(name, what): Program(*given) for what, given in linear.items()}
    return out


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, help="write the medians here")
    parser.add_argument("--quick", action="store_true", help="the first size only, fewer repeats")
    options = parser.parse_args()
    shapes, repeats = (SHAPES[:1], 7) if options.quick else (SHAPES, REPEATS)
    results = []
    jax.config.update("jax_enable_x64", True)
    console = Console()
    console.print(f"{os.cpu_count()} cores, {jax.default_backend()}; ratios: median (quartiles)")
    for dtype in (jnp.float64, jnp.float32):
        for shape in shapes:
            for wall in (ipg.Periodic(), ipg.Dirichlet(1.0)):
                cells = shape[-2:]
                grid = ipg.Grid((0, 0), (1, 1), cells, (wall, wall))
                u = jax.random.normal(jax.random.key(0), shape, dtype)
                velocity = jax.random.normal(jax.random.key(1), (2, *cells), dtype)
                copy = Program(lambda u: u + 1, (u,))
                table = Table(title=f"{shape} {dtype.__name__} {type(wall).__name__}")
                ratios: dict[str, dict[str, float]] = {}
                bytes_moved: dict[str, dict[str, float]] = {}
                for heading in ("form", "what", "ratio", "bytes", "us", "us, copy"):
                    table.add_column(heading)
                for (name, what), program in variants(u, velocity, grid).items():
                    times = [(program.seconds(), copy.seconds()) for _ in range(repeats)]
                    low, mid, high = statistics.quantiles([a / b for a, b in times], n=4)
                    medians = (1e6 * statistics.median(taken) for taken in zip(*times, strict=True))
                    table.add_row(
                        name,
                        what,
                        f"{mid:.2f} ({low:.2f} .. {high:.2f})",
                        f"{program.bytes / copy.bytes:.2f}",
                        *(f"{taken:.0f}" for taken in medians),
                    )
                    ratios.setdefault(name, {})[what] = mid
                    bytes_moved.setdefault(name, {})[what] = program.bytes / copy.bytes
                console.print(table)
                of = {"shape": shape, "dtype": dtype.__name__, "boundary": type(wall).__name__}
                results.append({**of, "ratios": ratios, "bytes": bytes_moved})
    if options.json:
        options.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
