"""Run the examples that the documentation quotes, keep their metrics and figures, write the tables.

Also writes docs/evidence/benchmarks.md, from the history of benchmarks/run.py and what
benchmarks/accelerator.py stored.

python tools/make_results.py            # everything anew (about an hour on two cores)
python tools/make_results.py --table    # only the tables, from the stored results
"""

import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import benchmark_page
from stored import RESULTS, errors_of, metrics

DOCS = Path(__file__).parents[1] / "docs"
EXAMPLES = {
    "demo": "whole field at t = 0.05",
    "sensors": "128 random sensors at t = 0.05 and 0.10",
    "noise": "whole field at t = 0.05 with 5 % noise",
    "high_order": "whole field at t = 0.05, third-order stepper",
}
DYNAMIC = "dynamic"
SPACE = "space"
SPACE_OPTIONS = ["--set", "grid.cells=[32, 16, 16]", "--set", "training.steps=400"]
BURGERS = {
    "burgers_public": ("burgers_public", []),
    "burgers_public_noise": ("burgers_public", ["--set", "observations.noise=0.01"]),
    "burgers": ("burgers", []),
}
INFILTRATION = {
    "closure": ("vapor_infiltration_closure", []),
    "closure_mismatch": ("vapor_infiltration_closure", ["--set", "mismatch=true"]),
    "field": ("vapor_infiltration_field", []),
    "thermal": ("vapor_infiltration_thermal", []),
}
FIGURES = {
    "demo": ("velocity", "forecast_test", "error_vs_time", "history"),
    "burgers_public": ("identified",),
    "burgers": ("diffusivity",),
    DYNAMIC: ("velocity",),
    SPACE: ("velocity_across_z",),
    "closure": ("closures", "instruments", "porosity", "trapped_porosity"),
    "field": ("initial_porosity",),
    "thermal": ("closures", "instruments", "identifiability"),
}


def run(name: str, problem: str, options: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / name
        command = ["impindiff", "run", problem, "--out", str(out), *options]
        subprocess.run([sys.executable, "-m", *command], check=True)
        RESULTS.mkdir(exist_ok=True)
        shutil.copy(out / "metrics.json", RESULTS / f"{name}.json")
        for figure in FIGURES.get(name, ()):
            # the first of the table keeps the plain name
            prefix = f"{name}_" if name in (DYNAMIC, SPACE, *INFILTRATION) else ""
            shutil.copy(out / "figures" / f"{figure}.png", RESULTS / f"{prefix}{figure}.png")


def stored(name: str) -> Any:
    return json.loads((RESULTS / f"{name}.json").read_text())


def table() -> str:
    lines = [
        "| training sees (5 samples) | forecast error at t = 0.2, test samples | velocity x, y | "
        "training | in all | peak memory |",
        "|---|---|---|---|---|---|",
    ]
    for name, observed in EXAMPLES.items():
        run, (forecast, latent) = metrics(name), errors_of(name)
        velocity = latent.relative_l1_percent
        lines.append(
            f"| {observed} (`examples/{name}.yaml`) "
            f"| {forecast.relative_l1_percent['test']:.3f} % "
            f"| {velocity['velocity_x']:.2f} %, {velocity['velocity_y']:.2f} % "
            f"| {run.train.steps} steps, {run.train.seconds:.0f} s "
            f"| {run.seconds_total:.0f} s "
            f"| {(run.memory.peak_rss_mb or 0.0) / 1000:.1f} GB |"
        )
    lines += [
        "",
        "Errors are relative L1 norms, means over fields; float64, dt = 0.01, Crank-Nicolson",
        "unless stated otherwise, 2 cores. `python tools/make_results.py` redoes the runs and",
        "this table.",
    ]
    return "\n".join(lines)


def burgers_table() -> str:
    lines = [
        "| `burgers_public` | found | standard error | true value | off by | in all |",
        "|---|---|---|---|---|---|",
    ]
    for name, observed in (
        ("burgers_public", "clean data"),
        ("burgers_public_noise", "1 % noise (`--set observations.noise=0.01`)"),
    ):
        run = metrics(name)
        for number, of in run.identified.items():
            lines.append(
                f"| {number}, {observed} | {of.value:.6g} | {of.standard_error:.1g} "
                f"| {of.truth:.6g} | {of.off_percent:+.3f} % | {run.seconds_total:.0f} s |"
            )
    run, (forecast, latent) = metrics("burgers"), errors_of("burgers")
    test = forecast.relative_l1_percent["test"]
    field = latent.relative_l1_percent["diffusivity"]
    lines += [
        "",
        f"`burgers`: forecast error at t = 1, test samples, {test:.3f} %; diffusivity "
        f"{field:.1f} %; {run.train.steps} steps, "
        f"{run.seconds_total:.0f} s in all.",
    ]
    return "\n".join(lines)


def dynamic_table() -> str:
    """The forecast at the observations and past the last one."""
    run, (forecast, latent) = metrics(DYNAMIC), errors_of(DYNAMIC)
    last_seen = 0.35
    pairs = forecast.error_vs_time
    seen = max(error for t, error in pairs if t <= last_seen and error is not None)
    velocity = latent.relative_l1_percent
    return "\n".join(
        [
            f"| test error, worst t <= {last_seen} | test error, t = 0.4 "
            "| velocity x, y, mean over t | training | in all |",
            "|---|---|---|---|---|",
            f"| {seen:.2f} % | {forecast.relative_l1_percent['test']:.2f} % "
            f"| {velocity['velocity_x']:.1f} %, {velocity['velocity_y']:.1f} % "
            f"| {run.train.steps} steps, {run.train.seconds:.0f} s "
            f"| {run.seconds_total:.0f} s |",
        ]
    )


def changing_table() -> str:
    """A changing velocity with a prior that the data chose, on several truths."""
    lines = [
        "| truth | test error | velocity x, y | test values in the 90 % band | velocity |",
        "|---|---|---|---|---|",
    ]
    for row in stored("regularisation"):
        if (row["example"], row["field"], row["cells"]) == ("changing", "prior", None):
            end, *velocity = (f"{error:.2g}" for error in row["errors"])
            inside = " | ".join(f"{share:.0f} %" for share in row["covered"])
            truth = "0, the shipped one" if row["truth"] == 0 else row["truth"]
            lines.append(f"| {truth} | {end} % | {', '.join(velocity)} % | {inside} |")
    return "\n".join(lines)


def space_table() -> str:
    """The steady problem in three dimensions."""
    run, (forecast, latent) = metrics(SPACE), errors_of(SPACE)
    velocity = latent.relative_l1_percent.values()
    return "\n".join(
        [
            "| test error, t = 0.2 | velocity x, y, z | training | in all | peak memory |",
            "|---|---|---|---|---|",
            f"| {forecast.relative_l1_percent['test']:.2f} % "
            f"| {', '.join(f'{percent:.1f} %' for percent in velocity)} "
            f"| {run.train.steps} steps, {run.train.seconds:.0f} s "
            f"| {run.seconds_total:.0f} s "
            f"| {(run.memory.peak_rss_mb or 0.0) / 1000:.1f} GB |",
        ]
    )


def conditioning_table() -> str:
    """Results of benchmarks/conditioning.py."""
    lines = [
        "| velocity | value and gradient, ms a time step | relative to steady | temporary memory |",
        "|---|---|---|---|",
    ]
    for name, row in stored("conditioning").items():
        lines.append(
            f"| {name} | {row['ms_a_time_step']:.1f} | {row['relative_to_steady']:.2f} "
            f"| {row['temporary_mb']:.0f} MB |"
        )
    return "\n".join(lines)


def memory_table() -> str:
    """Results of benchmarks/checkpointing.py."""
    results = stored("memory")
    lines = [
        "| schedule | temporary memory | of `StoreStates()` | time, of `StoreStates()` "
        "| forward solves a step |",
        "|---|---|---|---|---|",
    ]
    for row in results["schedules"]:
        chosen = "" if row["run"] == row["schedule"] else f" (chose `{row['run']}`)"
        lines.append(
            f"| `{row['schedule']}`{chosen} | {row['temporary_bytes'] / 1e6:.1f} MB "
            f"| {row['relative_memory']:.3f} | {row['relative_time']:.2f} "
            f"| {row['solves'] / results['steps']:.2f} |"
        )
    return "\n".join(lines)


def stability_table() -> str:
    """Results of benchmarks/stability.py."""
    results = stored("stability")
    lines = [
        f"| largest dt (error there), limited by | {' | '.join(results)} |",
        "|---" * (1 + len(results)) + "|",
    ]
    for rows in zip(*results.values(), strict=True):
        kind = "implicit" if rows[0]["implicit"] else "explicit"
        cells = (f"{r['dt']:.3g} ({r['error_percent']:.2g} %), {r['limit']}" for r in rows)
        lines.append(f"| `{rows[0]['stepper']}`, {kind} | {' | '.join(cells)} |")
    return "\n".join(lines)


def infiltration_table() -> str:
    """Results of benchmarks/infiltration.py."""
    results = stored("infiltration")
    lines = [
        "| whole densification, phi^2 = 1 | time step | compile, run | implicit steps "
        "| explicit steps it would take |",
        "|---|---|---|---|---|",
    ]
    for row in results["runs"]:
        lines.append(
            f"| {' x '.join(map(str, row['cells']))} cells | {row['step']:g} "
            f"| {row['compile_seconds']:.0f} s, {row['run_seconds']:.1f} s "
            f"| {row['steps']} | {row['explicit_steps']:.1e} |"
        )
    counted = {(row["cells"], row["preconditioned"]): row for row in results["iterations"]}
    sizes = sorted({cells for cells, _ in counted})
    lines += [
        "",
        f"On {results['cores']} core(s), float64. Krylov iterations a linear solve as the grid is "
        "refined:",
        "",
        f"| cells | {' | '.join(f'{n} x {n}' for n in sizes)} |",
        "|---" * (1 + len(sizes)) + "|",
    ]
    for name, preconditioned in (("multigrid for gas", True), ("no preconditioner", False)):
        cells = (counted.get((n, preconditioned)) for n in sizes)
        numbers = (f"{row['krylov_per_solve']:.1f}" if row else "not run" for row in cells)
        lines.append(f"| {name} | {' | '.join(numbers)} |")
    return "\n".join(lines)


def experiments_table() -> str:
    """The three experiments, and the first with data that its model cannot make."""
    lines = [
        "| experiment | found, relative L2 error | porosity over time, test parts "
        "| trapped porosity, test parts | training | in all |",
        "|---|---|---|---|---|---|",
    ]
    for name, (problem, options) in INFILTRATION.items():
        run, (forecast, latent) = metrics(name), errors_of(name)
        command = f"`{' '.join([problem, *options])}`"
        errors = latent.relative_l2_percent.items()
        found = [f"{of.replace('_', ' ')} {percent:.1f} %" for of, percent in errors]
        gamma = run.identified.get("gamma")
        if gamma is not None:
            found.append(
                f"gamma {gamma.value:.2f} +- {gamma.standard_error:.1g} "
                f"(true {gamma.truth:.2f}, off by {gamma.off_percent:+.1f} %)"
            )
        lines.append(
            f"| {command} | {', '.join(found)} "
            f"| {forecast.relative_l2_percent['porosity']:.2f} % "
            f"| off by {forecast.others['trapped_porosity_error']:.4f} "
            f"| {run.train.steps} steps, {run.train.seconds:.0f} s "
            f"| {run.seconds_total:.0f} s |"
        )
    return "\n".join(lines)


def preconditioner_table() -> str:
    """Results of benchmarks/preconditioner.py."""
    names = {"front": "across a front", "blocks": "between blocks", "cells": "from cell to cell"}
    lines = [
        f"| cells | {' | '.join(f'D falls by 1000 {name}' for name in names.values())} |",
        "|---" * (1 + len(names)) + "|",
    ]
    for row in stored("preconditioner"):
        counts = (row["iterations"][name] for name in names)
        cells = (f"{n['multigrid']} ({n['plain'] or 'not solved'})" for n in counts)
        lines.append(f"| {' x '.join(map(str, row['cells']))} | {' | '.join(cells)} |")
    lines += [
        "",
        "BiCGStab iterations to a residual of 1e-8, at most 2000; in brackets without multigrid.",
    ]
    return "\n".join(lines)


def refinement_table() -> str:
    """Results of benchmarks/refinement.py: rows at a fixed dt, growth of the others."""
    lines = [
        "| cells | D dt / dx^2 | iterations forward, adjoint | in brackets | ns per unknown |",
        "|---|---|---|---|---|",
    ]
    at_fixed_dt = [s for s in stored("refinement") if s["title"].endswith("fixed dt")]
    for series in at_fixed_dt:
        lines.append(f"| **{series['title']}** | | | | |")
        for row in series["rows"]:
            few, many = row["multigrid"], row.get("none")
            plain = ""
            if many is not None:
                counts = [str(many[key] or "not solved") for key in ("forward", "adjoint")]
                plain = f"({', '.join(counts)})"
            times = [f"{few['ns per unknown']:.0f}"]
            if many is not None and "ns per unknown" in many:
                times.append(f"({many['ns per unknown']:.0f})")
            lines.append(
                f"| {' x '.join(map(str, row['cells']))} | {row['D dt / dx^2']:.3g} "
                f"| {few['forward']}, {few['adjoint']} | {plain} | {' '.join(times)} |"
            )
    growth = max(s["growth"]["iterations"] for s in stored("refinement"))
    times = [[r["multigrid"]["ns per unknown"] for r in s["rows"]] for s in stored("refinement")]
    note = (
        f"Iterations grow by at most {growth:.2g} x, here and with D dt / dx^2 of 1, 10 or 100 on "
        f"every grid; the time per unknown from the coarsest to the finest by at most "
        f"{max(t[-1] / t[0] for t in times):.2g} x, and between any two grids by "
        f"{max(max(t) / min(t) for t in times):.2g} x.\n`python benchmarks/refinement.py` "
        "measures it again."
    )
    return "\n".join([*lines, "", note])


def automatic_choice_table() -> str:
    """Results of benchmarks/automatic_choice.py."""
    results = stored("automatic_choice")
    rows = results["rows"]
    exchanges = sorted({row["exchange"] for row in rows})
    lines = [
        f"| cells | {' | '.join(f'D dt / dx^2 = {x:g}' for x in exchanges)} |",
        "|---" * (1 + len(exchanges)) + "|",
    ]
    for cells in sorted({tuple(row["cells"]) for row in rows}):
        found = [
            f"{row['none']['seconds']:,.1f}, {row['multigrid']['seconds']:,.1f}: "
            f"{'multigrid' if row['choice'] != 'none' else 'none'}, {row['ratio']:.2f}"
            for row in rows
            if tuple(row["cells"]) == cells
        ]
        lines.append(f"| {' x '.join(map(str, cells))} | {' | '.join(found)} |")
    lines += [
        "",
        f"CPU seconds of {results['training_steps']} training steps, compilation included: without "
        "preconditioner, with `Multigrid`; the automatic choice, and its time, that of choosing "
        f"included, over the better of the two: at most {results['worst']:.2f}.",
    ]
    return "\n".join(lines)


def devices_table() -> str:
    """Results of benchmarks/devices.py."""
    lines = [
        "| | preconditioner | seconds | speed-up for the work | largest exchange but sums |",
        "|---|---|---|---|---|",
    ]
    for row in stored("devices"):
        name = "`Multigrid()`" if row["multigrid"] else "none"
        exchange = f"{row['largest exchange']} numbers, {', '.join(row['kinds']) or 'none'}"
        cost = f"{row['seconds']:.2f} | {row['speed-up']:.2f}"
        lines.append(f"| {row['case']} | {name} | {cost} | {exchange} |")
    return "\n".join(lines)


# Scripts of benchmarks/peers/, in the order of the page, and what stands above their tables.
PEERS = {
    "with_exponax": (
        "Smooth periodic Burgers' equation, nu = 0.02, 100 steps to t = 0.5, in 2-D with the flux "
        "u^2/2 along both axes. The error is that of the state at the end, against three times as "
        "many points and eight times as many steps."
    ),
    "with_picardax": (
        "Burgers' equation of a velocity, upwind, nu = 0.01, 20 Crank-Nicolson steps of 0.02 to "
        "1e-8, the discretisation of picardax in both. The error is that of the state at the end, "
        "against 1e-12."
    ),
    "with_phiflow": (
        "Diffusion with a field D, impermeable walls, 4 steps of backward Euler to 1e-8, the "
        "discretisation of PhiFlow in both, gradient by D. The error is that of the gradient, "
        "against 1e-12."
    ),
    "with_diffrax": (
        "Burgers' equation, convection explicit and diffusion implicit, 20 steps of KenCarp3. "
        "Diffrax solves its stages by Newton's method with GMRES, but differentiates them by the "
        "default adjoint of Optimistix, with a dense Jacobian. The error is that of the gradient, "
        "against 1e-12."
    ),
    "heat_slab": (
        "The steady heat slab on 2N x N cells: compliance, and its gradient by the density. "
        "Published for N = 256 on an A100, that is on other hardware, forward and with the "
        "gradient: JAX-FEM 4.5 and 9.8 s, Firedrake 10 and 20 s, torch-fem 33 and 11 s. The error "
        "is that of the gradient along a direction, against central differences."
    ),
}


def peers_table() -> str:
    """Results of benchmarks/peers/run.py, a table for each script."""
    results = stored("peers")
    lines = [
        f"JAX {results['versions']['jax']}, {results['cores']} cores, float64; other programs used "
        f"the machine too (load {results['load']:g} at the end).",
    ]
    for name, text in PEERS.items():
        found = results["peers"].get(name)
        if found is None:
            lines += ["", f"`{name}.py` was not run: pip install 'impindiff[peers]'."]
            continue
        own = name == "heat_slab"
        lines += ["", "### Heat slab" if own else f"### {found['peer']} {found['version']}"]
        lines += ["", text, ""]
        lines += [
            "| case | program | first gradient | later ones | forward | error |"
            if own
            else "| case | program | first gradient | later ones | peer / ours "
            "| temporary memory | error |",
            "|---|---|---|---|---|---|" if own else "|---|---|---|---|---|---|---|",
        ]
        for row in found["rows"]:
            start = f"| {row['case']} | {row['program']} | {row['first']:.1f} s "
            start += f"| {milliseconds(row['after'])} "
            if own:
                lines.append(f"{start}| {milliseconds(row['forward'])} | {row['error']:.1e} |")
                continue
            memory = "" if row["memory_mb"] is None else f"{row['memory_mb']:.1f} MB"
            ratio = rounded(fastest_peer(found["rows"], row) / row["after"]) if ours(row) else ""
            lines.append(f"{start}| {ratio} | {memory} | {row['error']:.1e} |")
    return "\n".join(lines)


def ours(row: Any) -> bool:
    """Whether a row is of this library."""
    return row["program"].startswith("Im-PiNDiff")


def fastest_peer(rows: Any, like: Any) -> float:
    """Seconds of the peer's fastest program on the case of a row."""
    return min(row["after"] for row in rows if row["case"] == like["case"] and not ours(row))


def rounded(ratio: float) -> str:
    """Two digits."""
    return f"{ratio:.0f}" if ratio >= 100 else f"{ratio:.2g}"


def milliseconds(seconds: float) -> str:
    """Three digits."""
    return f"{1e3 * seconds:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


# Where each table stands: between `<!-- NAME:` and `<!-- end of NAME -->` of a page.
TABLES: dict[str, tuple[str, Callable[[], str]]] = {
    "results": ("gallery/steady_velocity.md", table),
    "burgers": ("gallery/burgers.md", burgers_table),
    "dynamic": ("gallery/dynamic_velocity.md", dynamic_table),
    "changing": ("gallery/dynamic_velocity.md", changing_table),
    "conditioning": ("gallery/dynamic_velocity.md", conditioning_table),
    "space": ("gallery/three_dimensions.md", space_table),
    "infiltration": ("gallery/vapor_infiltration.md", infiltration_table),
    "experiments": ("gallery/vapor_infiltration.md", experiments_table),
    "memory": ("guides/checkpointing.md", memory_table),
    "stability": ("guides/choosing.md", stability_table),
    "preconditioner": ("guides/choosing.md", preconditioner_table),
    "refinement": ("evidence/scaling.md", refinement_table),
    "automatic_choice": ("evidence/scaling.md", automatic_choice_table),
    "devices": ("guides/devices.md", devices_table),
    "peers": ("evidence/peers.md", peers_table),
}


def between(text: str, name: str, content: str) -> str:
    """The text with the content between the markers `name` replaced."""
    start, end = f"<!-- {name}:", f"<!-- end of {name} -->"
    head, found, rest = text.partition(start)
    opening, _, rest = rest.partition("\n")
    _, closed, tail = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"no '{start} ...' and '{end}'")
    return f"{head}{start}{opening}\n\n{content}\n\n{end}{tail}"


def write_tables() -> None:
    for name, (place, rows) in TABLES.items():
        page = DOCS / place
        page.write_text(between(page.read_text(), name, rows()))


def main() -> None:
    if "--table" not in sys.argv[1:]:
        for name in EXAMPLES:
            config = DOCS.parent / "examples" / f"{name}.yaml"
            run(name, "advection_diffusion_steady", ["--config", str(config)])
        for name, (problem, options) in BURGERS.items():
            run(name, problem, options)
        run(DYNAMIC, "advection_diffusion_dynamic", [])
        run(SPACE, "advection_diffusion_steady", SPACE_OPTIONS)
        for name, (problem, options) in INFILTRATION.items():
            run(name, problem, options)
    write_tables()
    benchmark_page.write()


if __name__ == "__main__":
    main()
