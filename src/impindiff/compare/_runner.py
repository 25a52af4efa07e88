"""Execution of a comparison: each run is a separate `impindiff run` process."""

import math
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from impindiff.compare._measures import largest_step, solution, temporary_memory
from impindiff.compare._methods import IMPLICIT, UNROLLED
from impindiff.compare._request import REQUEST, Request, Row, folder_of, problem_of, rows_of
from impindiff.compare._step_search import error_percent, largest_stable_step, step_for_error
from impindiff.compare._studies import STUDIES
from impindiff.data import write
from impindiff.errors import FailureCode
from impindiff.experiment import Run, directory, prepare
from impindiff.experiment.experiment import Experiment
from impindiff.problem import Data, Problem, as_data
from impindiff.results import FAILURE, METRICS, Failure, Times
from impindiff.rollout import AdaptiveStep
from impindiff.settings import dump_yaml, load_settings
from impindiff.training import StorageError, held

MEASURED, STEPS = "measured.json", "steps.json"
LOG = "log.txt"
_COMPILED = ".compiled"
# relative to the largest step stable with the true coefficients, since training passes through
# others
_SAFETY = 0.9
# timeout of a run: so many budgets plus so many seconds for data, compilation and figures
_PATIENCE = (4.0, 900.0)

# row name -> its step, and the temporal error of that step with the true coefficients
Steps = dict[str, dict[str, Any]]


class Outcome(NamedTuple):
    """End of a run, for progress messages."""

    row: Row
    seed: int
    failure: Failure | None
    seconds: float


def run_comparison(
    request: Request,
    out: Path,
    *,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Outcome], None] = lambda outcome: None,
) -> None:
    """Execute every unfinished run of the request, in `out`.

    A failed run keeps its reason (failure.json) and the others continue.

    **Raises:** `InputError` if another process works on the comparison, and `StorageError` once the
    disk is full: the run that met it is continued when the comparison is resumed.
    """
    out.mkdir(parents=True, exist_ok=True)
    with held(out):
        _do(request, out, say, show)


def _do(
    request: Request,
    out: Path,
    say: Callable[[str], None],
    show: Callable[[Outcome], None],
) -> None:
    problem, rows = problem_of(request), rows_of(request)
    for row in rows:
        reason = row.method.not_run
        say(f"{row.name}: {row.title if reason is None else f'not run: {reason}'}")
    directory.write_text(out / REQUEST, dump_yaml(request))
    measure = None if request.study is None else STUDIES[request.study].measure
    if measure is not None:
        _measure(problem, request, rows, measure, out, say)
        return
    for row in rows:
        if row.method.not_run is not None:
            continue
        failure = None
        folders = [folder_of(row, seed, out) for seed in range(request.seeds)]
        if all(is_done(folder) for folder in folders):
            continue
        step = _step_of(problem, request, row, rows, out, say)
        planned = next((count for folder in folders if (count := _planned(folder))), None)
        for seed, folder in enumerate(folders):
            if failure is not None and failure.code is FailureCode.out_of_memory:
                _keep(failure, folder)  # other seeds have no more
            elif not is_done(folder):
                start = time.perf_counter()
                settings = _settings(problem, request, row, seed, out, step, planned, say)
                say(f"{row.title}, seed {seed}: running, log in {_log(folder)}")
                failure = _run(request.problem, settings, folder, request, out)
                show(Outcome(row, seed, failure, time.perf_counter() - start))
            # every seed takes the steps of the first one done, however busy the machine is
            planned = planned or _planned(folder)


def is_done(folder: Path) -> bool:
    """True if a run has ended, successfully or not."""
    ends = (METRICS, FAILURE, MEASURED)
    return any((folder / name).is_file() for name in ends)


def comparison_times(problem: Problem, request: Request, rows: list[Row], out: Path) -> Times:
    """Times to compare errors at: the end of training and twice that, the horizon and twice that.

    Twice the horizon is None where the process has ended by then. Times not set in the settings are
    read from the first finished run.
    """
    runnable = next((row for row in rows if row.method.not_run is None), None)
    given = request.overrides if runnable is None else runnable.overrides(0, request)
    settings = load_settings(problem.settings, given)
    trained, horizon = None, problem.horizon(settings)
    observed = getattr(settings.observations, "times", None)
    if observed:
        trained = float(max(observed))
    folders = [folder_of(row, seed, out) for row in rows for seed in range(request.seeds)]
    ended = next((folder for folder in folders if (folder / METRICS).is_file()), None)
    if ended is not None and (trained is None or horizon is None):
        metrics = Run(ended).metrics
        trained = metrics.trained_until if trained is None else trained
        if horizon is None and metrics.forecast is not None:
            horizon = metrics.forecast.last_time
    horizon = horizon if horizon is not None else trained or 0.0
    trained = horizon if trained is None else trained
    twice, goes_on = 2 * trained, problem.goes_on
    return Times(
        training_end=trained,
        twice_training=None if twice > horizon and not goes_on else twice,
        horizon=horizon,
        twice_horizon=2 * horizon if goes_on else None,
    )


def _measure(
    problem: Problem,
    request: Request,
    rows: list[Row],
    measure: str,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """Make the measurements that need no training, in this process."""
    for row in rows:
        folder = folder_of(row, 0, out)
        if row.method.not_run is not None or (folder / MEASURED).is_file():
            continue
        settings = load_settings(problem.settings, row.overrides(0, request))
        say(f"{row.title}: measuring {measure}")
        if measure == "temporary_mb":
            found = temporary_memory(problem, settings)
        else:
            experiment = _experiment(problem, settings)
            found = largest_step(experiment, _true_or_fresh(experiment))
        folder.mkdir(parents=True, exist_ok=True)
        found.write(folder / MEASURED)
        say(f"{row.title}: {measure} {getattr(found, measure):.4g}")


def _settings(
    problem: Problem,
    request: Request,
    row: Row,
    seed: int,
    out: Path,
    step: float | None,
    planned: int | None,
    say: Callable[[str], None],
) -> Any:
    more: dict[str, Any] = {}
    if step is not None:
        more["stepper"] = {"dt": step}
    if planned is not None:
        more["training"] = {"steps": planned}
    elif request.budget is not None:
        more["training"] = {"seconds": request.budget}
    done = folder_of(row._replace(name=IMPLICIT.name, point=None), 0, out)
    if row.method.name == UNROLLED and UNROLLED not in problem.tuned and _ended(done):
        more["solver"] = _iterations_of(Run(done))
    settings = load_settings(problem.settings, row.overrides(seed, request, more))
    if problem.goes_on and settings.data.path is None:
        more["data"] = {"path": str(_shared_data(problem, settings, seed, out, say))}
        # the data, and so the comparison, end at twice the horizon
        more["forecast"] = {"until": None}
        settings = load_settings(problem.settings, row.overrides(seed, request, more))
    return directory.with_absolute_path(settings)


def _ended(folder: Path) -> bool:
    return (folder / METRICS).is_file()


def _iterations_of(run: Run) -> dict[str, int]:
    """Iteration limits for the solver: twice the average of a run."""
    found = run.metrics.solver
    newton = max(found.iterations_mean or 1.0, 1.0)
    krylov = (found.linear_iterations_mean or 1.0) / newton
    return {
        "max_iterations": math.ceil(2 * newton),
        "max_krylov_iterations": math.ceil(2 * krylov),
    }


def _shared_data(
    problem: Problem, settings: Any, seed: int, out: Path, say: Callable[[str], None]
) -> Path:
    """The reference data of a seed, to twice the horizon: computed once, for all methods."""
    path = out / "data" / f"seed-{seed}.nc"
    if not path.is_file():
        say(f"seed {seed}: computing the data, to twice the horizon, for all methods")
        path.parent.mkdir(parents=True, exist_ok=True)
        write(_reference(problem, settings).dataset, path)
    return path


def _reference(problem: Problem, settings: Any) -> Data:
    directory.set_precision(settings)
    end = 2 * (problem.horizon(settings) or 0.0)
    every = problem.compared_every or settings.forecast.every
    forecast = settings.forecast.model_copy(update={"until": end, "every": every})
    settings = settings.model_copy(update={"forecast": forecast})
    return as_data(problem.reference(settings), settings.data.test)


def _experiment(problem: Problem, settings: Any) -> Experiment:
    """The problem on its data; to twice the horizon if the process continues."""
    if problem.goes_on and settings.data.path is None:
        return Experiment(problem, settings, _reference(problem, settings))
    return prepare(problem, settings)


def _true_or_fresh(experiment: Experiment) -> Any:
    """The model with the true unknowns, or if these are unknown a fresh one."""
    true = experiment.problem.true_model(experiment.settings)
    return experiment.method.example if true is None else true


def _step_of(
    problem: Problem,
    request: Request,
    row: Row,
    rows: list[Row],
    out: Path,
    say: Callable[[str], None],
) -> float | None:
    """The step of a row whose method uses a measured one; stored in steps.json.

    A point of a study sets the step itself.
    """
    if row.method.step is None or row.point is not None:
        return None
    path = out / STEPS
    known: Steps = directory.read_json(path) if path.is_file() else {}
    if row.name not in known:
        asked = [r for r in rows if r.method.step and not r.method.not_run and r.point is None]
        known = _measured_steps(problem, request, asked, out, say)
        directory.write_json(path, known)
    return known[row.name]["step"]


def _measured_steps(
    problem: Problem, request: Request, asked: list[Row], out: Path, say: Callable[[str], None]
) -> Steps:
    implicit = Row("implicit", "", IMPLICIT, None)
    reference = load_settings(problem.settings, implicit.overrides(0, request))
    experiment = _experiment(problem, directory.with_absolute_path(reference))
    model, known = problem.true_model(reference), "true"
    if model is None:
        trained = folder_of(implicit, 0, out)
        done = _ended(trained)
        model = Run(trained).model if done else experiment.method.example
        known = "trained" if done else "first"
    say(f"measuring how long explicit steps may be, with the {known} coefficients")
    data, fresh = experiment.data, experiment.method.example
    truth = solution(experiment, model, data.test or data.training)
    every = [solution(experiment, each, range(data.samples)) for each in (model, fresh)]
    horizon = problem.horizon(reference) or float(truth.times[-1])
    index = int(np.argmin(np.abs(truth.times - horizon)))
    dt, stepper = problem.step(reference), problem.stepper(reference)
    bound: float | None = None
    found: Steps = {}
    if known == "true" and truth.fields and not isinstance(dt, AdaptiveStep):
        bound = error_percent(truth, stepper, dt, index)
        found["implicit"] = {"step": dt, "temporal_error_percent": bound}
    for row in asked:
        settings = load_settings(problem.settings, row.overrides(0, request))
        stepper = problem.stepper(settings)
        step = _SAFETY * min(largest_stable_step(of, stepper) for of in every)
        error = None
        if bound is not None:
            if row.method.step == "equal_error":
                step = min(step, step_for_error(truth, stepper, bound, index))
            error = error_percent(truth, stepper, step, index)
        found[row.name] = {"step": step, "temporal_error_percent": error}
        told = "" if error is None else f", temporal error at t = {horizon:g}: {error:.2g} %"
        told += "" if bound is None else f" (implicit, dt = {dt:g}: {bound:.2g} %)"
        say(f"{row.title}: dt = {step:.3g}{told}")
    return found


def _planned(folder: Path) -> int | None:
    """Number of training steps planned for a run, if known."""
    if not (folder / directory.CONFIGURATION).is_file():
        return None
    return Run(folder).settings.training.steps


def _run(problem: str, settings: Any, folder: Path, request: Request, out: Path) -> Failure | None:
    """Execute one run in a separate process; returns the failure, if any."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "impindiff", "run", problem, "--out", str(folder)]
    if (folder / directory.CONFIGURATION).is_file():
        words.append("--resume")
    else:
        asked = folder.with_name(f"{folder.name}.yaml")
        directory.write_text(asked, dump_yaml(settings))
        words += ["--config", str(asked)]
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str((out / _COMPILED).absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    } | dict(os.environ)
    times, more = _PATIENCE
    patience = times * (request.budget or 600.0) + more
    log = _log(folder)
    with log.open("w") as file:
        try:
            code = subprocess.run(
                words, stdout=file, stderr=subprocess.STDOUT, env=environment, timeout=patience
            ).returncode
            failure = None if code == 0 else _failure(code, folder, log)
        except subprocess.TimeoutExpired:
            failure = Failure(
                code=FailureCode.timed_out, message=f"had not ended after {patience:.0f} s"
            )
    if failure is None:
        return None
    if failure.code is FailureCode.full_disk:
        (folder / FAILURE).unlink(missing_ok=True)
        raise StorageError(failure.message, code=failure.code)
    _keep(failure, folder)
    return failure


def _log(folder: Path) -> Path:
    """The output of a run's process."""
    return folder.with_name(f"{folder.name}.{LOG}")


def _failure(code: int, folder: Path, log: Path) -> Failure:
    """The reason for a failure: the stored one, or the exit of a process that stored none."""
    stored = directory.read_failure(folder)
    if stored is not None:
        return stored
    if code < 0:
        more = ", out of memory?" if code == -9 else ""
        message = f"the process was ended by signal {-code}{more}"
        return Failure(code=FailureCode.killed, message=message)
    # refused before it had a folder: the command's last line has the reason
    lines = [line for line in log.read_text().splitlines() if line.startswith("impindiff: ")]
    last = f"the process ended with exit code {code}; see {log.name}"
    message = lines[-1].removeprefix("impindiff: ") if lines else last
    reason = FailureCode.wrong_input if code == 2 else FailureCode.other
    return Failure(code=reason, message=message)


def _keep(failure: Failure, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    failure.write(folder / FAILURE)
