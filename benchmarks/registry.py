"""The benchmarks that `run.py` knows, and the ratios that each of them is judged by.

To add one: a script beside this file that writes its numbers to `--json FILE`, a function here that
reads the ratios from them, and an entry in `BENCHMARKS`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Ratio:
    """One number that a machine's speed does not change, or changes little.

    - `compared`: what is divided by what, and of what size.
    - `value`: the ratio.
    - `most`, `least`: the target, if there is one.
    """

    compared: str
    value: float
    most: float | None = None
    least: float | None = None

    @property
    def target(self) -> str:
        if self.most is not None:
            return f"<= {self.most:.3g}"
        return "" if self.least is None else f">= {self.least:.3g}"

    @property
    def of_target(self) -> float | None:
        """How much of what is allowed is used: up to 1 meets the target. None without one."""
        if self.most is not None:
            return self.value / self.most
        return None if self.least is None else self.least / self.value

    @property
    def met(self) -> bool | None:
        """None without a target."""
        return None if self.of_target is None else self.of_target <= 1


@dataclass(frozen=True)
class Benchmark:
    """A script of this folder, `NAME.py --json FILE`.

    - `name`: of the script, without `.py`.
    - `read`: the ratios from what it writes.
    - `quick`: whether it knows `--quick`, a run of seconds on smaller sizes.
    """

    name: str
    read: Callable[[Any], Iterator[Ratio]]
    quick: bool = False


def size(cells: list[int]) -> str:
    return " x ".join(map(str, cells))


def operators(results: Any) -> Iterator[Ratio]:
    for of in results:
        form, products = "advection_diffusion, upwind", ("J v", "J^T w")
        name = f"{size(of['shape'])} {of['dtype']}, {of['boundary'].lower()}"
        large = of["shape"][-1] >= 512
        times = [of["ratios"][form][k] for k in products]
        yield Ratio(
            f"larger of J v, J^T w / array copy, {name}", max(times), most=3.0 if large else None
        )
        if large:
            a_byte = (t / of["bytes"][form][k] for t, k in zip(times, products, strict=True))
            yield Ratio(f"the same, a byte read or written, {name}", max(a_byte))


def memory(results: Any) -> Iterator[Ratio]:
    span = f"with a limit of {results['limits'][-1]} and of {results['limits'][0]} iterations"
    for name, most in (("ImplicitAdjoint", 1.0), ("Unrolled", None)):
        found = results["temporary_bytes"][name]
        yield Ratio(f"temporary memory of {name}, {span}", found[-1] / found[0], most)


def checkpointing(results: Any) -> Iterator[Ratio]:
    for row in results["schedules"][1:]:
        of = f"{row['schedule']} / StoreStates(), {results['steps']} steps"
        yield Ratio(f"temporary memory, {of}", row["relative_memory"])
        yield Ratio(f"time of a gradient, {of}", row["relative_time"])
        yield Ratio(f"solves / theory, {row['schedule']}", row["solves"] / row["solves_in_theory"])


def training_step(results: Any) -> Iterator[Ratio]:
    yield Ratio(
        "training step / forward rollout, steady advection-diffusion",
        results["relative_to_forward"],
        most=results["bound"],
    )
    yield Ratio(
        "evaluations of the field in a training step", results["evaluations"]["latent"], most=1
    )


def conditioning(results: Any) -> Iterator[Ratio]:
    for name, row in results.items():
        if name != "steady":
            yield Ratio(
                f"gradient with velocity by {name} / steady velocity",
                row["relative_to_steady"],
                most=1.5 if name == "last_layer" else None,
            )


def burgers(results: Any) -> Iterator[Ratio]:
    yield Ratio("value and gradient / forward rollout, Burgers", results["gradient"])
    yield Ratio("time of Unrolled / ImplicitAdjoint, Burgers", results["unrolled_time"])
    yield Ratio("memory of Unrolled / ImplicitAdjoint, Burgers", results["unrolled_memory"])


def stability(results: Any) -> Iterator[Ratio]:
    for problem, rows in results.items():
        steps = {kind: [r["dt"] for r in rows if r["implicit"] is kind] for kind in (True, False)}
        stiff = problem == list(results)[-1]
        yield Ratio(
            f"largest step, shortest of the implicit / longest of the explicit, {problem}",
            min(steps[True]) / max(steps[False]),
            least=1.0 if stiff else None,
        )


def infiltration(results: Any) -> Iterator[Ratio]:
    counted = [row["cells"] for row in results["iterations"] if row["preconditioned"]]
    yield Ratio(
        f"Krylov iterations a solve, {counted[-1]}^2 / {counted[0]}^2 cells, infiltration",
        results["growth"],
        most=1.5,
    )
    for run in results["runs"]:
        yield Ratio(
            f"seconds of a densification / bound, {size(run['cells'])}, step {run['step']:g}",
            (run["compile_seconds"] + run["run_seconds"]) / run["bound_seconds"],
            most=1.0,
        )


def preconditioner(results: Any) -> Iterator[Ratio]:
    for ndim in (2, 3):
        first, *_, last = (row for row in results if len(row["cells"]) == ndim)
        for name in ("front", "blocks"):
            few, many = (row["iterations"][name]["multigrid"] for row in (first, last))
            yield Ratio(
                f"iterations with multigrid, {size(last['cells'])} / {size(first['cells'])} cells, "
                f"D falls by 1000 ({name})",
                many / few,
                most=max(1.5, (few + 2) / few),  # two iterations are granted
            )
        yield Ratio(f"V-cycle / product with A, {size(last['cells'])} cells", last["cycle"])


def automatic_choice(results: Any) -> Iterator[Ratio]:
    rows = results["rows"]
    cells = f"{size(rows[0]['cells'])} to {size(rows[-1]['cells'])} cells"
    yield Ratio(
        f"time of a training run, automatic / better of no preconditioner and multigrid, {cells}",
        results["worst"],
        most=results["bound"],
    )


def refinement(results: Any) -> Iterator[Ratio]:
    for of in results:
        cells = [size(row["cells"]) for row in of["rows"]]
        last, name = cells[-1], f"{of['title']}, D dt/dx^2 = {of['rows'][-1]['D dt / dx^2']:g}"
        yield Ratio(
            f"iterations with Multigrid, {last} / {cells[0]} cells, {name}",
            of["growth"]["iterations"],
            most=1.5,
        )
        if len(cells) > 3:
            compared = f"largest / smallest time per unknown, {cells[2]} to {last} cells, {name}"
            yield Ratio(compared, of["growth"]["time"], most=2.0)


def devices(results: Any) -> Iterator[Ratio]:
    for row in results:
        if row["axes"]:
            name = "Multigrid" if row["multigrid"] else "no preconditioner"
            yield Ratio(f"speed-up of two devices, {row['case']}, {name}", row["speed-up"])


def step_split(results: Any) -> Iterator[Ratio]:
    for part, seconds in results["seconds"].items():
        yield Ratio(
            f"{part} / training step, steady advection-diffusion", seconds / results["whole"]
        )


def compile_time(results: Any) -> Iterator[Ratio]:
    shortest, *_, longest = results["steps"]
    for row in results["programs"]:
        of = f"{longest} / {shortest} steps, {row['program']}"
        operations = row["operations"]
        yield Ratio(f"operations of the program, {of}", operations[-1] / operations[0], most=1.02)
        yield Ratio(f"seconds to compile, {of}", row["longest_over_shortest"], most=1.5)


def posterior(results: Any) -> Iterator[Ratio]:
    yield Ratio(
        f"posterior of {results['parameters']} weights / their training", results["ratio"], most=1.0
    )


BENCHMARKS = (
    Benchmark("operators", operators, quick=True),
    Benchmark("memory", memory, quick=True),
    Benchmark("checkpointing", checkpointing),
    Benchmark("compile_time", compile_time, quick=True),
    Benchmark("training_step", training_step, quick=True),
    Benchmark("conditioning", conditioning),
    Benchmark("burgers", burgers, quick=True),
    Benchmark("stability", stability),
    Benchmark("infiltration", infiltration),
    Benchmark("preconditioner", preconditioner, quick=True),
    Benchmark("automatic_choice", automatic_choice, quick=True),
    Benchmark("refinement", refinement, quick=True),
    Benchmark("devices", devices),
    Benchmark("step_split", step_split),
    Benchmark("posterior", posterior),
)
