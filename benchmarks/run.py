"""Run the benchmarks, print one table of ratios, add them to the history.

    python benchmarks/run.py                          # all of them, about an hour on two cores
    python benchmarks/run.py --quick                  # small sizes, about 10 minutes
    python benchmarks/run.py --only memory operators  # those named
    python tools/make_results.py --table              # then: the page, from the history

Each benchmark is a script of its own process. The history, docs/results/history.jsonl, has a line a
run: date, commit, versions, cores, ratios. Exits with 1 if a target is missed or a script fails.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

from registry import BENCHMARKS, Benchmark, Ratio
from rich.console import Console
from rich.table import Table

HERE = Path(__file__).parent
HISTORY = HERE.parent / "docs" / "results" / "history.jsonl"
PACKAGES = ("jax", "jaxlib", "equinox", "numpy")
WORDS = {True: "pass", False: "FAIL", None: ""}


class Outcome(NamedTuple):
    """The ratios of one benchmark, and its exit code: above 0 if a check of its own failed."""

    benchmark: Benchmark
    ratios: list[Ratio]
    exit_code: int
    seconds: float

    @property
    def passed(self) -> bool:
        return self.exit_code == 0 and all(ratio.met is not False for ratio in self.ratios)


def chosen(only: Sequence[str], quick: bool) -> list[Benchmark]:
    """The benchmarks named, or all that have what is asked for."""
    known = {of.name: of for of in BENCHMARKS}
    unknown = [name for name in only if name not in known]
    if unknown:
        sys.exit(f"--only: there is no benchmark {unknown[0]}; there are {', '.join(known)}")
    slow = [name for name in only if quick and not known[name].quick]
    if slow:
        sys.exit(f"--quick: {slow[0]} has no short form; leave --quick out, or {slow[0]}")
    return [known[name] for name in only] or [of for of in BENCHMARKS if of.quick or not quick]


def run(benchmark: Benchmark, quick: bool, keep: Path | None) -> Outcome:
    """One script, in a process of its own; its numbers stay in `keep`, if given."""
    with TemporaryDirectory() as folder:
        path = (keep or Path(folder)) / f"{benchmark.name}.json"
        path.unlink(missing_ok=True)
        command = [sys.executable, str(HERE / f"{benchmark.name}.py"), "--json", str(path)]
        start = time.perf_counter()
        done = subprocess.run(command + ["--quick"] * quick, check=False)
        seconds = time.perf_counter() - start
        ratios = list(benchmark.read(json.loads(path.read_text()))) if path.is_file() else []
    # a script that ended well and wrote nothing is at fault as well
    return Outcome(benchmark, ratios, done.returncode or int(not ratios), seconds)


def table_of(outcomes: Sequence[Outcome]) -> Table:
    table = Table("benchmark", "compared", "ratio", "target", "")
    for of in outcomes:
        name = of.benchmark.name
        for ratio in of.ratios:
            table.add_row(
                name, ratio.compared, f"{ratio.value:.3g}", ratio.target, WORDS[ratio.met]
            )
            name = ""
        if of.exit_code:
            table.add_row(name, "exit code of the script", str(of.exit_code), "= 0", "FAIL")
        table.add_section()
    return table


def entry(outcomes: Sequence[Outcome], quick: bool) -> dict[str, Any]:
    """The line of the history."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    ratios = [
        {
            "benchmark": of.benchmark.name,
            "compared": ratio.compared,
            "ratio": ratio.value,
            "target": ratio.target,
            "of_target": ratio.of_target,
        }
        for of in outcomes
        for ratio in of.ratios
    ]
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": commit(),
        "quick": quick,
        "versions": {"python": platform.python_version(), **{p: version(p) for p in PACKAGES}},
        "cores": cores,
        "seconds": {of.benchmark.name: round(of.seconds, 1) for of in outcomes},
        "failed": [of.benchmark.name for of in outcomes if of.exit_code],
        "ratios": ratios,
    }


def commit() -> str:
    """The short hash, with a + if files differ from it; "unknown" outside of a repository."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(HERE), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no", "--", "../src", ".")
        return git("rev-parse", "--short=9", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these, in turn")
    parser.add_argument("--quick", action="store_true", help="small sizes, of those that have them")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="keep each script's numbers here")
    parser.add_argument("--history", type=Path, default=HISTORY, help="add the line to this file")
    parser.add_argument("--list", action="store_true", help="names, and which know --quick")
    options = parser.parse_args()
    console = Console(width=130)
    if options.list:
        for of in BENCHMARKS:
            console.print(f"{of.name}{' (quick)' * of.quick}")
        return 0
    benchmarks = chosen(options.only, options.quick)
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for benchmark in benchmarks:
        console.rule(benchmark.name)
        outcomes.append(run(benchmark, options.quick, options.keep))
    left_out = [of.name for of in BENCHMARKS if options.quick and not of.quick]
    console.print(table_of(outcomes))
    if left_out and not options.only:
        console.print(f"without a short form, left out: {', '.join(left_out)}")
    with options.history.open("a") as history:
        history.write(json.dumps(entry(outcomes, options.quick)) + "\n")
    return int(not all(of.passed for of in outcomes))


if __name__ == "__main__":
    raise SystemExit(main())
