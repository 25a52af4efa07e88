"""docs/evidence/benchmarks.md and its figure: the history of benchmarks/run.py, an accelerator."""

import json
from pathlib import Path
from typing import Any

import accelerator_page
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from impindiff.report.style import SERIES_COLOURS, save, styled

DOCS = Path(__file__).parents[1] / "docs"
HISTORY = DOCS / "results" / "history.jsonl"
FIGURE = DOCS / "results" / "benchmarks.png"
PAGE = DOCS / "evidence" / "benchmarks.md"
_TICKS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_COMMITS = 6  # columns of the table

HEAD = """# Benchmarks

Performance over time, as ratios that do not depend on the machine's speed: two programs timed in
turn in one process, bytes from XLA's memory analysis, iteration counts. This page is written by
`python tools/make_results.py --table` from `docs/results/history.jsonl`; each run appends a line.
Seconds on one device, with its numbers checked, are under [Accelerator](#accelerator).

```console
python benchmarks/run.py                   # all, about an hour on two cores
python benchmarks/run.py --quick           # small sizes, about 10 minutes
python benchmarks/run.py --only memory     # one of them
```

`make benchmarks` runs all of them. To add one, write a script in `benchmarks/` that saves its
numbers to `--json FILE`, and an entry in `benchmarks/registry.py` that reads its ratios.

Since commit af407a2dd, `operators` and `refinement` time programs with preallocated outputs, as
in a solve. Before, each call allocated large arrays anew, which took longer than a copy. A
product of variable-coefficient advection and diffusion reads 5 or 6 arrays and writes one, where
a copy reads one and writes one: beyond the caches it cannot take less than 3 or 3.5 copies.
"""


def history(path: Path = HISTORY) -> list[dict[str, Any]]:
    """The runs, oldest first."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def by_ratio(runs: list[dict[str, Any]]) -> dict[tuple[str, str, bool], dict[int, dict[str, Any]]]:
    """By benchmark, what is compared and whether it was a quick run: the ratio of each run."""
    found: dict[tuple[str, str, bool], dict[int, dict[str, Any]]] = {}
    for index, run in enumerate(runs):
        for row in run["ratios"]:
            key = (row["benchmark"], row["compared"], run["quick"])
            found.setdefault(key, {})[index] = row
    # a benchmark's rows together, in the order in which they were first seen
    order = list(dict.fromkeys(benchmark for benchmark, *_ in found))
    return dict(sorted(found.items(), key=lambda item: order.index(item[0][0])))


def latest_table(runs: list[dict[str, Any]]) -> str:
    lines = ["| benchmark | compared | ratio | target | | commit |", "|---" * 6 + "|"]
    for (benchmark, compared, quick), rows in by_ratio(runs).items():
        index, row = max(rows.items())
        met = "" if row["of_target"] is None else ("pass" if row["of_target"] <= 1 else "**fail**")
        lines.append(
            f"| `{benchmark}`{', quick' * quick} | {compared} | {row['ratio']:.3g} "
            f"| {row['target']} | {met} | {runs[index]['commit']} |"
        )
    return "\n".join(lines)


def commits_table(runs: list[dict[str, Any]]) -> str:
    shown = range(max(0, len(runs) - _COMMITS), len(runs))
    commits = (f"{runs[i]['commit']}, {runs[i]['date'][:10]}" for i in shown)
    lines = [f"| ratio | {' | '.join(commits)} |", "|---" * (1 + len(shown)) + "|"]
    for (benchmark, compared, quick), rows in by_ratio(runs).items():
        if not rows.keys() & set(shown):
            continue
        cells = (f"{rows[i]['ratio']:.3g}" if i in rows else "" for i in shown)
        lines.append(f"| `{benchmark}`{', quick' * quick}: {compared} | {' | '.join(cells)} |")
    return "\n".join(lines)


def runs_table(runs: list[dict[str, Any]]) -> str:
    lines = ["| date | commit | size | cores | versions | failed |", "|---" * 6 + "|"]
    for run in reversed(runs):
        versions = ", ".join(f"{name} {number}" for name, number in run["versions"].items())
        lines.append(
            f"| {run['date'][:16].replace('T', ' ')} | {run['commit']} "
            f"| {'quick' if run['quick'] else 'full'} | {run['cores']} | {versions} "
            f"| {', '.join(run['failed'])} |"
        )
    return "\n".join(lines)


def draw(runs: list[dict[str, Any]], path: Path) -> None:
    """Every ratio that has a target, over that target."""
    series = {
        key: {i: row["of_target"] for i, row in rows.items()}
        for key, rows in by_ratio(runs).items()
        if next(iter(rows.values()))["of_target"] is not None
    }
    names = list(dict.fromkeys(benchmark for benchmark, *_ in series))
    with styled():
        figure = Figure(figsize=(max(6.4, 2.5 + 0.5 * len(runs)), 4.6), layout="constrained")
        ax = figure.subplots()
        labelled = set()
        for (benchmark, _, quick), values in series.items():
            number = names.index(benchmark)
            ax.plot(
                list(values),
                list(values.values()),
                color=SERIES_COLOURS[number % len(SERIES_COLOURS)],
                marker="osD^v"[number // len(SERIES_COLOURS)],
                markerfacecolor="white" if quick else None,
                linestyle=":" if quick else "-",
                label="_" if benchmark in labelled else benchmark,
            )
            labelled.add(benchmark)
        ax.axhline(1.0, color="0.5", linewidth=1.0)
        ax.set_yscale("log")
        lower, upper = ax.get_ylim()
        # less than a decade has no tick of its own but 1
        ticks = [t for t in _TICKS if lower <= t <= upper]
        ax.set_yticks(ticks, [f"{t:g}" for t in ticks])
        ax.yaxis.set_minor_locator(NullLocator())
        ax.set_xlim(-0.5, len(runs) - 0.5)
        ax.set_xticks(range(len(runs)), [run["commit"] for run in runs], rotation=60, ha="right")
        ax.set_ylabel("ratio over its target (above 1: missed)")
        figure.legend(loc="outside right upper", frameon=False, title="hollow: quick")
    save(figure, path)


def page(runs: list[dict[str, Any]]) -> str:
    return "\n".join(
        [
            HEAD,
            "## Latest\n",
            latest_table(runs),
            "\n## By commit\n",
            "![Each ratio that has a target, over that target](../results/benchmarks.png)\n",
            "A + marks a commit whose files had been changed.\n",
            commits_table(runs),
            "\n## Runs\n",
            runs_table(runs),
            "",
            accelerator_page.section(accelerator_page.stored()),
            "",
        ]
    )


def write() -> None:
    runs = history()
    draw(runs, FIGURE)
    PAGE.write_text(page(runs))
