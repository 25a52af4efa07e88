"""The tables and figures of docs/evidence/claims.md."""

from textwrap import shorten

from stored import STORED, command_of, load

from impindiff.results import MethodResults, Numbers

_TIMES = {
    "training_end": "trained to",
    "twice_training": "twice that,",
    "horizon": "horizon,",
    "twice_horizon": "twice the horizon,",
}


def compared(name: str, title: str) -> str:
    """A comparison: its command, a row a method, its figures."""
    results = load(name)
    shown = results.times.known()
    heads = [f"{_TIMES[key]} t = {t:.4g}" for key, t in shown.items()]
    lines = [
        f"### {title}\n",
        f"`{command_of(name)}`\n",
        f"| method | time step | {' | '.join(heads)} | failed | seconds a step, steps "
        "| temporary, peak memory | trained numbers |",
        "|---" * (6 + len(heads)) + "|",
    ]
    reasons = []
    for row in results.methods:
        if row.not_run is not None:
            lines.append(f"| {row.title} | - |" + " - |" * (4 + len(heads)))
            reasons.append(f"- {row.title}: not run, {row.not_run}.")
            continue
        mean = row.mean
        errors = [percent(row, key) for key in shown]
        count = len(row.runs)
        failed = f"**{row.failures} of {count}**" if row.failures else f"0 of {count}"
        lines.append(
            f"| {row.title} | {step(row)} | {' | '.join(errors)} | {failed} | {pace(mean)} "
            f"| {memory(mean)} | {number(mean.parameters)} |"
        )
        messages = {shorten(run.message, 200) for run in row.runs if run.message}
        reasons += [f"- {row.title}: {message}." for message in sorted(messages)]
    lines += ["", *reasons] if reasons else []
    return "\n".join([*lines, "", *_figures(name, title)])


def headline(name: str) -> str:
    """The README's table, of all methods: error at the horizon and at twice that, and cost."""
    results = load(name)
    times = results.times
    lines = [
        f"| method | error at t = {times.horizon:g} | t = {times.twice_horizon:g} | failed "
        "| seconds a training step | temporary memory |",
        "|---|---|---|---|---|---|",
    ]
    for row in results.methods:
        if not row.runs:
            continue
        mean, failures = row.mean, row.failures
        errors = [percent(row, key) for key in ("horizon", "twice_horizon")]
        cost = (number(mean.seconds_per_step), number(mean.temporary_mb))
        lines.append(
            f"| {row.title} | {' | '.join(errors)} | {failures} of {len(row.runs)} "
            f"| {cost[0]} | {cost[1]} MB |"
        )
    return "\n".join(lines)


def studied(name: str, title: str) -> str:
    """A study: its command and its figure."""
    return "\n".join([f"### {title}\n", f"`{command_of(name)}`\n", *_figures(name, title)])


def _figures(name: str, title: str) -> list[str]:
    found = sorted(STORED.glob(f"{name}_*.png"))
    # "memory_iterations_..." is no figure of "memory"
    own = [f for f in found if f.stem.removeprefix(f"{name}_") in (name, "error_vs_time")]
    return [
        f"![{title}: {f.stem.replace('_', ' ')}](../results/comparisons/{f.name})\n" for f in own
    ]


def percent(row: MethodResults, time: str) -> str:
    """The error at a time with its spread, or what became of the runs."""
    mean, spread = (numbers.error_percent[time] for numbers in (row.mean, row.spread))
    if mean is None:
        blown_up = any(run.status == "blow-up" for run in row.runs)
        return "blew up" if blown_up else "failed" if row.failures else "-"
    return number(mean) + ("" if spread is None else f" +- {spread:.2g}") + " %"


def number(value: float | None) -> str:
    """Three digits."""
    if value is None:
        return "-"
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def step(row: MethodResults) -> str:
    """The time step, where the row has one, and the error of its length alone where measured."""
    if row.kind == "black box" and row.method != "local_law":
        return "between observations"
    if row.method.startswith("diffrax"):
        return "adaptive"
    text = number(row.mean.step)
    alone = row.temporal_error_percent
    return text if alone is None else f"{text} ({alone:.2g} %)"


def pace(mean: Numbers) -> str:
    """Seconds a training step, and how many steps were made of the budget."""
    return f"{number(mean.seconds_per_step)} s, {number(mean.steps)}"


def memory(mean: Numbers) -> str:
    """Temporary memory of a training step, and the largest of the process."""
    return f"{number(mean.temporary_mb)}, {number(mean.peak_rss_mb)} MB"
