"""The command `impindiff compare`, from its options to a table."""

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.table import Table

from impindiff.compare._figures import draw
from impindiff.compare._request import QUICK_BUDGET, REQUEST, Request, problem_of, rows_of
from impindiff.compare._results import write_results
from impindiff.compare._runner import Outcome, run_comparison
from impindiff.compare._studies import STUDIES
from impindiff.errors import InputError
from impindiff.problems import get_problem
from impindiff.results import ComparisonResults
from impindiff.settings.configuration import load_configuration, load_settings, nested_overrides

_ROOT = Path("comparisons")


def compare_problem(
    problem: str,
    *,
    methods: str | None,
    seeds: int,
    budget: float | None,
    quick: bool,
    study: str | None,
    config: Sequence[Path],
    overrides: Sequence[str],
    out: Path | None,
    resume: bool,
    say: Callable[[str], None],
) -> tuple[ComparisonResults, Path]:
    """Run a comparison, write results.json and figures; returns the results and the folder.

    **Raises:** `InputError` before anything is written, for an unknown name, invalid settings, and
    a folder that is not empty or, with `resume`, holds no comparison on this problem.
    """
    say(f"comparison on {problem}: reading its settings and methods")
    name = Path(problem).stem if problem.endswith(".py") else get_problem(problem).name
    if study is not None and study not in STUDIES:
        raise InputError(f"--study: there is no study '{study}'; studies: {', '.join(STUDIES)}")
    folder = out or _ROOT / (name if study is None else f"{name}-{study}")
    if resume:
        if methods is not None or budget is not None or quick or config or overrides:
            raise InputError(
                "--resume: a comparison continues with its first options; leave out --methods, "
                "--budget, --quick, --config and --set"
            )
        request = _stored(folder, name)
    else:
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise InputError(
                f"--out: {folder} is not empty; pass --resume to go on with the comparison in it, "
                "or name another"
            )
        given = {
            "problem": str(Path(problem).absolute()) if problem.endswith(".py") else problem,
            "methods": None if methods is None else methods.split(","),
            "seeds": 1 if quick else seeds,
            "budget": QUICK_BUDGET if quick and budget is None else budget,
            "quick": quick,
            "study": study,
            "overrides": nested_overrides(config, overrides),
        }
        request = load_settings(Request, given)
    check_request(request)
    if request.quick and not problem_of(request).quick:
        say(
            f"--quick: {name} has no coarser settings (its `quick` is empty), its grid stays as it "
            "is; one seed, less training and fewer methods only"
        )

    def show(outcome: Outcome) -> None:
        how = "done" if outcome.failure is None else f"failed: {outcome.failure.message}"
        say(f"{outcome.row.title}, seed {outcome.seed}: {how} ({outcome.seconds:.0f} s)")

    try:
        run_comparison(request, folder, say=say, show=show)
    except KeyboardInterrupt:
        say(f"interrupted; continue with: impindiff compare {problem} --out {folder} --resume")
        write_results(request, folder)
        raise
    results = write_results(request, folder)
    draw(results, folder)
    return results, folder


def methods_table(problem: str, config: Sequence[Path], overrides: Sequence[str]) -> Table:
    """One row per method for a problem, with the reason if it cannot solve it.

    **Raises:** `InputError` for an unknown problem or invalid settings.
    """
    request = Request(problem=problem, overrides=nested_overrides(config, overrides))
    table = Table(box=None, pad_edge=False)
    table.add_column("method", no_wrap=True)
    table.add_column("kind")
    table.add_column("description")
    for row in rows_of(request):
        reason = row.method.not_run
        told = row.method.description if reason is None else f"cannot solve it: {reason}"
        table.add_row(row.name, row.method.kind, told)
    return table


def comparison_table(results: ComparisonResults) -> Table:
    """One row per method: errors, mean +- spread, and cost."""
    labels = {
        "training_end": "trained to",
        "twice_training": "twice that",
        "horizon": "horizon",
        "twice_horizon": "twice that",
    }
    table = Table(box=None, pad_edge=False, title_justify="left")
    table.title = f"{results.error_label}, mean +- standard deviation over seeds"
    table.add_column("method", overflow="fold")
    shown = results.times.known()
    for name, time in shown.items():
        table.add_column(f"{labels[name]} {time:g}", justify="right")
    table.add_column("runs", overflow="fold")
    for column in ("failed solves", "s a step", "temp. MB", "steps"):
        table.add_column(column, justify="right")
    for row in results.methods:
        if row.not_run is not None:
            table.add_row(row.name, "not run")
            continue
        spread = row.spread.error_percent
        without = row.failures - row.count("not converged")
        errors = [_with_spread(row.error(name), spread[name], without) for name in shown]
        mean = row.mean
        cost = (mean.failed_solves, mean.seconds_per_step, mean.temporary_mb, mean.steps)
        table.add_row(row.name, *errors, row.outcome(), *map(_number, cost))
    return table


def unconverged_runs(results: ComparisonResults) -> list[str]:
    """A line for each run that did not converge, with its message."""
    return [
        f"{row.name}, seed {run.seed}: {run.message}"
        for row in results.methods
        for run in row.runs
        if run.status == "not converged"
    ]


def _stored(folder: Path, name: str) -> Request:
    path = folder / REQUEST
    if not path.is_file():
        raise InputError(f"--resume: {folder} holds no comparison (no {REQUEST} in it)")
    request = load_configuration(Request, [path], [])
    found = problem_of(request).name
    if found != name:
        raise InputError(f"--resume: the comparison in {folder} is of {found}")
    return request


def check_request(request: Request) -> None:
    """Check that the problem and every row that can run have a valid configuration, before any run.

    **Raises:** `InputError` for an invalid one.
    """
    problem = problem_of(request)
    load_settings(problem.settings, request.overrides)
    for row in rows_of(request):
        if row.method.not_run is None:
            load_settings(problem.settings, row.overrides(0, request))


def _with_spread(mean: float | None, spread: float | None, failures: int) -> str:
    if mean is None:
        return "failed" if failures else "-"
    return _number(mean) + ("" if spread is None else f" +- {spread:.1g}")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}" if value < 1000 else f"{value:.0f}"


__all__ = [
    "check_request",
    "compare_problem",
    "comparison_table",
    "methods_table",
    "unconverged_runs",
]
