"""The section "Accelerator" of docs/evidence/benchmarks.md, from docs/results/accelerator.json."""

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parents[1] / "docs" / "results" / "accelerator.json"

HEAD = """## Accelerator

{measured_on}
The script compares what a device calculates, in each precision, with stored float64 numbers of a
CPU, and times training, solves and products with the operators, in at most 8 minutes:

```console
python benchmarks/accelerator.py --json docs/results/accelerator.json    # one GPU
python benchmarks/accelerator.py --small                                 # sizes for a CPU
```

It exits with 1 if a check is off. In rows "float32" the networks' products of matrices are those of
JAX's default, which on some GPUs keep 10 bits of each factor (TF32); in rows "float32, highest"
they keep all (`jax.default_matmul_precision("highest")`). Nothing else here multiplies matrices.
Cases that ran out of time or memory are rows that say so.
"""

PRODUCTS = """
Products with the linearised operators, each result in new memory; a copy reads an array and
writes one. Small arrays show what it takes to start a program:
"""


def stored(path: Path = RESULTS) -> dict[str, Any]:
    return json.loads(path.read_text())


def section(results: dict[str, Any]) -> str:
    rows = results["rows"]
    return "\n".join(
        [
            HEAD.format(measured_on=measured_on(results)),
            "Checks, errors relative to the reference (and their tolerances):\n",
            checks_table([row for row in rows if row["part"] == "checks"]),
            "\nTimes, medians of up to 9 runs (lowest to highest):\n",
            times_table([row for row in rows if row["part"] != "operators"]),
            PRODUCTS,
            operators_table([row for row in rows if row["part"] == "operators"]),
        ]
    )


def measured_on(results: dict[str, Any]) -> str:
    of = results["device"]
    if of["platform"] == "cpu":
        name = f"a CPU ({of['cores']} cores, no accelerator)"
    else:
        name = f"one {of['kind']}"
    sizes = ", at small sizes" if results["small"] else ""
    return f"Measured on **{name}**{sizes}, in {results['seconds']:.0f} s, with jax {of['jax']}."


def checks_table(rows: list[dict[str, Any]]) -> str:
    lines = ["| check | precision | errors (tolerance) | |", "|---" * 4 + "|"]
    for row in rows:
        errors = (
            f"{name} {value:.1e} ({row['tolerances'][name]:.0e})"
            for name, value in row.get("errors", {}).items()
        )
        verdict = "pass" if row.get("passed") else f"**{missing(row) or 'off'}**"
        lines.append(f"| {row['program']} | {row['precision']} | {', '.join(errors)} | {verdict} |")
    return "\n".join(lines)


def times_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| program | cells | precision | compiled in | ms | iterations | temporary memory |",
        "|---" * 7 + "|",
    ]
    for row in rows:
        kind = ", loss and gradient" * ("gradient" in row.get("errors", ()))
        name = f"| {row['program']}{kind} | {size(row)} | {row['precision']} "
        if missing(row):
            lines.append(f"{name}| | **{missing(row)}** | | |")
            continue
        memory = row["temporary_mb"]
        lines.append(
            f"{name}| {row['compile_seconds']:.1f} s | {milliseconds(row['seconds'])} "
            f"| {row.get('iterations', '')} | {'' if memory is None else f'{memory:.3g} MB'} |"
        )
    return "\n".join(lines)


def operators_table(rows: list[dict[str, Any]]) -> str:
    lines = [
        "| operator | cells | precision | compiled in | ms | copies | bytes, in copies "
        "| copy, GB/s |",
        "|---" * 8 + "|",
    ]
    for row in rows:
        name = f"| {row['program']} | {size(row)} | {row['precision']} "
        if missing(row):
            lines.append(f"{name}| | **{missing(row)}** | | | |")
            continue
        copies = row["copies"]
        lines.append(
            f"{name}| {row['compile_seconds']:.1f} s | {milliseconds(row['seconds'])} "
            f"| {copies['median']:.2f} ({copies['lowest']:.2f} to {copies['highest']:.2f}) "
            f"| {row['bytes_of_copies']:.1f} | {row['gigabytes_a_second_of_copy']:.3g} |"
        )
    return "\n".join(lines)


def missing(row: dict[str, Any]) -> str:
    """Why a row has no numbers; empty if it has."""
    return "" if row["outcome"] == "measured" else row["outcome"]


def size(row: dict[str, Any]) -> str:
    return " x ".join(map(str, row.get("cells", ())))


def milliseconds(seconds: dict[str, Any]) -> str:
    low, mid, high = (1e3 * seconds[key] for key in ("lowest", "median", "highest"))
    return f"{mid:.3g} ({low:.3g} to {high:.3g})"
