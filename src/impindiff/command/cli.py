"""The command `impindiff`."""

import io
import os
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

import typer
from rich.console import Console

from impindiff.command.exit_codes import ending_of
from impindiff.errors import InputError, printable

if TYPE_CHECKING:
    from impindiff.problem import Problem

app = typer.Typer(pretty_exceptions_enable=False)
# names of folders, keys and values are printed as they are, whatever they look like
_out = Console(markup=False, emoji=False, highlight=False)
_error = Console(markup=False, emoji=False, highlight=False, stderr=True)

C = TypeVar("C", bound=Callable[..., Any])


def _ends_at_once(command: C) -> C:
    """End the command at once on Ctrl-C and SIGTERM, even during a compilation."""

    @wraps(command)
    def listening(*args: Any, **kwargs: Any) -> Any:
        from impindiff.command.interruption import watched

        with watched(_tell):
            return command(*args, **kwargs)

    return listening  # pyright: ignore[reportReturnType]


ProblemOrFile = Annotated[
    str,
    typer.Argument(
        metavar="PROBLEM|FILE.py",
        help="one of 'impindiff list', or the file of a user-defined problem",
    ),
]
ConfigFiles = Annotated[
    list[Path] | None,
    typer.Option("--config", metavar="F.yaml", help="configuration file; later ones win"),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="one configuration key, such as training.steps=500"
    ),
]


ChangedData = Annotated[
    bool,
    typer.Option(
        "--changed-data",
        help="continue although data, or files of the run, have changed since it began",
    ),
]


class _Asked:
    """Options given before the command's name.

    - `traceback`: show tracebacks; `no_cache`: no cache of compiled programs.
    """

    traceback = False
    no_cache = False


@app.callback()
def options(
    traceback: Annotated[
        bool,
        typer.Option("--traceback", help="after an error, also show where in the code it arose"),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="compile anew, and keep no compiled programs in the user's cache folder",
        ),
    ] = False,
) -> None:
    """Implicit hybrid neural-physics PDE models: infer unknown physics, forecast stably."""
    _Asked.traceback, _Asked.no_cache = traceback, no_cache


def _keep_programs() -> None:
    """Enable the cache of compiled programs, before a command computes."""
    from impindiff.command.programs import keep_programs

    keep_programs(off=_Asked.no_cache)


def _problem(name: str) -> "Problem":
    """The built-in problem of that name, or the one defined in the file."""
    from impindiff.problem import load_problem
    from impindiff.problems import get_problem

    return load_problem(Path(name)) if name.endswith(".py") else get_problem(name)


@app.command("list")
def list_problems() -> None:
    """List the built-in problems and their unknowns."""
    from rich.table import Table

    from impindiff.problems import PROBLEMS

    table = Table(box=None, pad_edge=False)
    table.add_column("problem", no_wrap=True)
    table.add_column("process")
    table.add_column("infers")
    for problem in PROBLEMS.values():
        table.add_row(problem.name, problem.summary, problem.infers)
    _out.print(table)


@app.command("run")
def run_problem(
    problem: ProblemOrFile,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder of the run (default: runs/PROBLEM)")
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume",
            help="continue the run in the folder, to the bit; a user-defined problem is run from "
            "the files stored in the folder",
        ),
    ] = False,
    changed_data: ChangedData = False,
    devices: Annotated[
        str,
        typer.Option(
            metavar="N|AXES", help="train on N devices along x, or as in batch=2,x=4 (default: 1)"
        ),
    ] = "1",
) -> None:
    """Make or read data, train, forecast, and write metrics and figures."""
    from impindiff.command.interruption import watched
    from impindiff.command.progress import training_progress
    from impindiff.command.run_table import run_table
    from impindiff.devices import mesh_of
    from impindiff.experiment import Run, directory, run
    from impindiff.problem import configure_problem

    if resume and (config or overrides):
        raise InputError(
            "--resume: a run continues with its own configuration; leave out --config and --set"
        )
    if changed_data and not resume:
        raise InputError("--changed-data: is for --resume; a new run takes its data as they are")
    _keep_programs()
    # before JAX is asked for its devices, as by a problem's file or the lock of a folder
    mesh = mesh_of(devices)
    chosen: Any = None
    settings: Any = None
    if not (resume and problem.endswith(".py")):
        chosen = _problem(problem)
    if not resume:
        settings = configure_problem(chosen, config or [], overrides or [])
    name = Path(problem).stem if problem.endswith(".py") else problem
    with (
        watched(_tell) as watch,
        directory.claimed(name, out, resume=resume) as folder,
    ):
        if resume:
            directory.require_same_files(folder, changed=changed_data)
            found = Run(folder)
            if chosen is not None and found.problem.name != problem:
                raise InputError(
                    f"--resume: the run in {folder} is of {found.command}, not {problem}"
                )
            chosen, settings = found.problem, found.settings

        def interrupted() -> str:
            _out.show_cursor(True)
            if not directory.has_begun(folder):
                directory.discard(folder)
                return "interrupted before training began; there is nothing to continue"
            return f"interrupted; continue with: impindiff run {problem} --out {folder} --resume"

        watch.farewell = interrupted
        try:
            with training_progress(_out, settings.training.steps) as show:

                def step(progress: Any) -> None:
                    show(progress)
                    watch.stepped(saved=progress.saved)

                metrics = run(
                    chosen,
                    settings,
                    folder,
                    resume=resume,
                    mesh=mesh,
                    say=_say,
                    show=step,
                )
        except KeyboardInterrupt:
            _tell(interrupted())
            raise typer.Exit(watch.code) from None
        except Exception as error:
            _, line, code = ending_of(error)
            directory.write_failure(folder, code, line or "")
            raise
    _out.print(run_table(metrics))
    _say(f"figures and metrics: {folder}")


@app.command()
def new(
    name: Annotated[str, typer.Argument(metavar="NAME", help="of the folder and the problem")],
    template: Annotated[
        Literal["field", "numbers"],
        typer.Option(
            help="the problem to start from: an unknown field in two dimensions seen by many "
            "sensors, or unknown numbers in one dimension seen by a few"
        ),
    ] = "field",
) -> None:
    """Write a problem to start from: model, configuration, synthetic data, a test."""
    from impindiff.command.new_problem import write_problem

    folder = write_problem(name, Path.cwd(), template)
    for path in sorted(folder.iterdir()):
        _say(str(path.relative_to(Path.cwd())))
    _say(f"next: cd {name}, then impindiff run {name}.py --config {name}.yaml")


@app.command()
def schema(
    problem: ProblemOrFile,
    out: Annotated[
        Path | None, typer.Option(metavar="F.json", help="file to write (default: the terminal)")
    ] = None,
) -> None:
    """Write the JSON Schema of a configuration, for completion and checks in an editor."""
    import json

    from impindiff.data import written_whole

    text = json.dumps(_problem(problem).settings.model_json_schema(), indent=2)
    if out is None:
        _out.print(text, soft_wrap=True)
        return
    with written_whole(out) as partial_file:
        partial_file.write_text(text + "\n")
    _say(f'{out}: begin a YAML file with "# yaml-language-server: $schema={out.name}" to use it')


@app.command()
@_ends_at_once
def data(
    problem: ProblemOrFile,
    out: Annotated[
        Path, typer.Option(metavar="F.nc|F.zarr|F.csv", help="file to write; points alone as .csv")
    ],
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Write a problem's data, such as reference data, as NetCDF, Zarr or CSV by the suffix."""
    from impindiff.data import require_format, write
    from impindiff.experiment import directory
    from impindiff.experiment.sizes import require_problem_fits
    from impindiff.problem import checked, configure_problem, located

    _keep_programs()
    chosen = _problem(problem)
    settings = configure_problem(chosen, config or [], overrides or [])
    directory.set_precision(settings)
    require_format(out)
    require_problem_fits(chosen, settings)
    with located():
        dataset = checked(chosen).described(settings)
    write(dataset, out)
    _say(f"{out}: {chosen.description(settings, dataset)}")


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="file of data, or Zarr folder")],
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="names that differ: 'data.variables={t: time}'"
        ),
    ] = None,
) -> None:
    """Describe a data file, its possible problems, and how to use it in a model."""
    from impindiff import data as reading
    from impindiff.command.data_tables import description_tables
    from impindiff.settings.configuration import nested_overrides

    options = overrides or []
    given = nested_overrides([], options)
    names = given.get("data", {}).get("variables") if isinstance(given.get("data"), dict) else None
    if (given and given != {"data": {"variables": names}}) or not isinstance(names, dict | None):
        raise InputError(
            "inspect: --set takes the names of a file only, such as "
            f"'data.variables={{t: time}}'; got {' '.join(options)}"
        )
    for table in description_tables(reading.inspect(file, names), options):
        _out.print(table, crop=False)


@app.command()
@_ends_at_once
def fetch(
    name: Annotated[
        str | None, typer.Argument(metavar="NAME", help="of the data set, as --list prints it")
    ] = None,
    listed: Annotated[
        bool, typer.Option("--list", help="list the data sets with their licences, fetch nothing")
    ] = False,
) -> None:
    """Fetch a public data set into the user's cache, as the measured examples use it."""
    from impindiff.command.data_tables import public_data_table
    from impindiff.data import fetch, public_data_sets

    if listed == (name is not None):
        raise InputError("fetch: give the name of a data set, or --list for the names, not both")
    known = public_data_sets()
    if name is None:
        _out.print(public_data_table(known.values()))
        return
    folder = fetch(name)
    chosen = known[name]
    _say(f"{folder}: {len(chosen.files)} files, {chosen.licence}, from {chosen.source}")
    _say(f"cite: {chosen.citation}")


@app.command("forecast")
@_ends_at_once
def forecast_run(
    run_dir: Annotated[Path, typer.Argument(metavar="RUN_DIR", help="folder of a trained run")],
    until: Annotated[float, typer.Option(metavar="T", help="last time")],
    out: Annotated[
        Path | None,
        typer.Option(metavar="F.nc", help="file to write (default: RUN_DIR/forecast_until_T.nc)"),
    ] = None,
    animate: Annotated[
        Path | None,
        typer.Option(
            metavar="F.mp4|F.gif",
            help="also write an animation; without ffmpeg on the PATH, F.gif in place of F.mp4",
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(metavar="I", help="sample to animate (default: the middle test sample)"),
    ] = None,
    bands: Annotated[
        bool,
        typer.Option(help="standard deviations too, if the run has a posterior (forecast.bands)"),
    ] = True,
    changed_data: ChangedData = False,
) -> None:
    """Forecast further with a trained run, and store the truth too if it can be computed.

    For a user-defined problem this executes the Python files stored in RUN_DIR, and no others: do
    not use a folder from an untrusted source.
    """
    from impindiff.experiment import forecast

    if sample is not None and animate is None:
        raise InputError("--sample: chooses the sample of --animate; add --animate F.gif")
    _keep_programs()
    done = forecast(
        run_dir,
        until,
        out,
        animate=animate,
        sample=sample,
        bands=bands,
        changed_data=changed_data,
        warn=_warn,
    )
    sizes = done.dataset.sizes
    line = f"{done.path}: {sizes['sample']} samples, {sizes['time']} times to {until:g}"
    if done.error_percent is not None:
        kind = "test set" if done.dataset["test"].any() else "training"
        line += f"; relative L1 error at t = {until:g}, {kind}: {done.error_percent:.3f} %"
    _say(line)
    if done.animation is not None:
        no_mp4 = "" if done.animation == animate else f" (no ffmpeg on the PATH for {animate})"
        _say(f"{done.animation}: animation{no_mp4}")


@app.command()
def compare(
    problem: ProblemOrFile,
    methods: Annotated[
        str | None,
        typer.Option(
            metavar="A,B,...", help="methods to compare, see --list-methods (default: all)"
        ),
    ] = None,
    list_methods: Annotated[
        bool, typer.Option("--list-methods", help="list the problem's methods, and run nothing")
    ] = False,
    seeds: Annotated[
        int, typer.Option(metavar="N", min=1, help="runs of each: network, truth, noise")
    ] = 1,
    budget: Annotated[
        float | None,
        typer.Option(metavar="SECONDS", help="training time of each run (default: all its steps)"),
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="a first look: a coarser grid, one seed, seconds")
    ] = False,
    study: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="along one quantity: pareto, sensors, noise, memory_iterations, memory_steps or "
            "stability",
        ),
    ] = None,
    config: ConfigFiles = None,
    overrides: Overrides = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="folder of the comparison (default: comparisons/PROBLEM)"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="complete the comparison in DIR")
    ] = False,
) -> None:
    """Compare the method with its baselines on one problem, at equal data, budget and seeds."""
    from impindiff.command.interruption import termination_raises
    from impindiff.compare.command import (
        compare_problem,
        comparison_table,
        methods_table,
        unconverged_runs,
    )

    if list_methods:
        _out.print(methods_table(problem, config or [], overrides or []))
        return
    try:
        with termination_raises():
            results, folder = compare_problem(
                problem,
                methods=methods,
                seeds=seeds,
                budget=budget,
                quick=quick,
                study=study,
                config=config or [],
                overrides=overrides or [],
                out=out,
                resume=resume,
                say=_say,
            )
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    _out.print(comparison_table(results))
    for line in unconverged_runs(results):
        _say(line)
    found = "results and figures" if (folder / "figures").is_dir() else "results"
    _say(f"{found}: {folder}; one page of it: impindiff report {folder}")


@app.command("report")
@_ends_at_once
def write_report(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="folder of a finished run or of a comparison")
    ],
    out: Annotated[
        Path | None,
        typer.Option(metavar="F.html", help="file to write (default: DIR/report.html)"),
    ] = None,
) -> None:
    """Write one self-contained HTML page: results, figures, settings, how to reproduce.

    It reads stored results and executes no code in the folder.
    """
    from impindiff import pages

    _say(str(pages.write_report(folder, out)))


def _say(line: str) -> None:
    _out.print(printable(line), soft_wrap=True)


def _tell(line: str) -> None:
    _error.print(printable(line), soft_wrap=True)


def _warn(line: str) -> None:
    _tell(f"impindiff: warning: {line}")


@app.command("check")
@_ends_at_once
def check(
    problem: ProblemOrFile,
    config: ConfigFiles = None,
    overrides: Overrides = None,
) -> None:
    """Test the gradient of the training loss by Taylor's formula: exit code 1 if it is wrong."""
    from impindiff.experiment import check_problem
    from impindiff.problem import configure_problem

    _keep_programs()
    chosen = _problem(problem)
    settings = configure_problem(chosen, config or [], overrides or [])
    found = check_problem(chosen, settings)
    _out.print(str(found), soft_wrap=True)
    if not found.passed:
        raise typer.Exit(1)


def main() -> None:
    """Run the command: exit code 2 and one line for wrong input, 1 for a failed computation."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a character missing from the terminal's encoding
            stream.reconfigure(errors="backslashreplace")
    if not sys.warnoptions:  # warnings of other packages are for developers
        warnings.simplefilter("ignore")
    code = 0
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader of the output has gone; Python would write again at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    except (Exception, SystemExit) as error:
        code = _failed(error)
    if code:
        sys.exit(code)


def _failed(error: BaseException) -> int:
    """Print an error on one line, and return the exit code."""
    code, line, _ = ending_of(error)
    if _Asked.traceback:
        import traceback

        traceback.print_exception(error)
    if line is not None:
        _tell(f"impindiff: {line}")
    return code
