"""Runs a comparison: each of its runs is an `impindiff run` of its own."""

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from impindiff import run_directory
from impindiff.cases import Case, get_case
from impindiff.cases.box import BoxCase
from impindiff.cases.configuration import dump_yaml, load_settings
from impindiff.compare.measures import largest_step, temporary_memory, true_solution
from impindiff.compare.methods import methods_of
from impindiff.compare.request import REQUEST, Request, Row, folder_of, rows_of, stored_every
from impindiff.compare.step_search import error_percent, largest_stable_step, step_for_error
from impindiff.compare.studies import STUDIES
from impindiff.errors import FailureCode
from impindiff.observations import Trajectories
from impindiff.opened_run import Run
from impindiff.results import FAILURE, METRICS, Failure, Times
from impindiff.training import StorageError, held

MEASURED, STEPS = "measured.json", "steps.json"
LOG = "log.txt"
_COMPILED = ".compiled"
# Of the largest step that is stable with the true coefficients; training passes through others.
_SAFETY = 0.9
# A run may take so many budgets and so many seconds more, for data, compilation and figures.
_PATIENCE = (4.0, 900.0)

# By row, its step and the error that its length makes with the true coefficients.
Steps = dict[str, dict[str, float]]


class Outcome(NamedTuple):
    """How a run ended, for who watches."""

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
    """Do every run of the request that is not done yet, in `out`.

    A run that fails keeps its reason (failure.json) and the others go on. Raises `InputError` if
    another process is at it, and `StorageError` once the disk is full: the run that met it is taken
    up again when there is room.
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
    case = get_case(request.case)
    rows = rows_of(request)
    run_directory.write_text(out / REQUEST, dump_yaml(request))
    measure = None if request.study is None else STUDIES[request.study].measure
    if measure is not None:
        _measure(case, request, rows, measure, out, say)
        return
    steps = _steps_of(case, request, rows, out, say)
    for row in rows:
        if row.method.not_run is not None:
            continue
        failure = None
        folders = [folder_of(row, seed, out) for seed in range(request.seeds)]
        planned = next((count for folder in folders if (count := _planned(folder))), None)
        for seed, folder in enumerate(folders):
            if failure is not None and failure.code is FailureCode.out_of_memory:
                _keep(failure, folder)  # no other seed has more
            elif not is_done(folder):
                start = time.perf_counter()
                settings = _settings(case, request, row, seed, out, steps, planned)
                failure = _run(case.name, settings, folder, request, out)
                show(Outcome(row, seed, failure, time.perf_counter() - start))
            # every seed takes as many steps as the first done, however busy the machine is
            planned = planned or _planned(folder)


def is_done(folder: Path) -> bool:
    """Whether a run has ended, well or not."""
    ends = (METRICS, FAILURE, MEASURED)
    return any((folder / name).is_file() for name in ends)


def comparison_times(case: Case, settings: Any) -> Times:
    """When errors are compared: the end of training and twice that, the horizon and twice that.

    Twice the horizon is None where the process has ended by then.
    """
    trained = float(max(case.observed_times(settings)))
    horizon = case.horizon(settings)
    ends = not isinstance(case, BoxCase)
    twice = 2 * trained
    return Times(
        training_end=trained,
        twice_training=None if ends and twice > horizon else twice,
        horizon=horizon,
        twice_horizon=None if ends else 2 * horizon,
    )


def _measure(
    case: Case,
    request: Request,
    rows: list[Row],
    measure: str,
    out: Path,
    say: Callable[[str], None],
) -> None:
    """What needs no training, here and now."""
    for row in rows:
        folder = folder_of(row, 0, out)
        if row.method.not_run is not None or (folder / MEASURED).is_file():
            continue
        settings = load_settings(case.settings, row.overrides(0, request))
        if measure == "temporary_mb":
            found = temporary_memory(case, settings)
        else:
            found = largest_step(case, settings, _reference(case, settings))
        folder.mkdir(parents=True, exist_ok=True)
        found.write(folder / MEASURED)
        say(f"{row.title}: {measure} {getattr(found, measure):.4g}")


def _settings(
    case: Case,
    request: Request,
    row: Row,
    seed: int,
    out: Path,
    steps: Steps,
    planned: int | None,
) -> Any:
    more: dict[str, Any] = {}
    if row.method.step is not None and row.name in steps:
        more["stepper"] = {"dt": steps[row.name]["step"]}
    if planned is not None:
        more["training"] = {"steps": planned}
    elif request.budget is not None:
        more["training"] = {"seconds": request.budget}
    settings = load_settings(case.settings, row.overrides(seed, request, more))
    if isinstance(case, BoxCase):
        path = _shared_data(case, settings, seed, out)
        more["data"] = {"path": str(path), "held_out": case.held_out(settings)}
        # the data end at twice the horizon, and so does what is compared
        more["forecast"] = {"until": None}
        settings = load_settings(case.settings, row.overrides(seed, request, more))
    return settings


def _shared_data(case: Case, settings: Any, seed: int, out: Path) -> Path:
    """The reference data of a seed, to twice the horizon: computed once, for all methods."""
    path = out / "data" / f"seed-{seed}.nc"
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        _reference(case, settings).to_netcdf(path)
    return path


def _reference(case: Case, settings: Any) -> Trajectories:
    run_directory.set_precision(settings)
    end = comparison_times(case, settings).twice_horizon
    every = stored_every(case.name) or settings.forecast.every
    forecast = settings.forecast.model_copy(update={"until": end, "every": every})
    return case.reference(settings.model_copy(update={"forecast": forecast}))


def _steps_of(
    case: Case, request: Request, rows: list[Row], out: Path, say: Callable[[str], None]
) -> Steps:
    """The step of each row whose method asks for one that is measured; kept in steps.json."""
    path = out / STEPS
    if path.is_file():
        return run_directory.read_json(path)
    # a point of a study says itself how long its steps are
    asked = [r for r in rows if r.method.step and not r.method.not_run and r.point is None]
    found = _measured_steps(case, request, asked, say) if asked else {}
    run_directory.write_json(path, found)
    return found


def _measured_steps(
    case: Case, request: Request, asked: list[Row], say: Callable[[str], None]
) -> Steps:
    say("measuring how long explicit steps may be, with the true coefficients")
    implicit = Row("implicit", "", methods_of(case.name)["implicit"], None)
    reference = load_settings(case.settings, implicit.overrides(0, request))
    truth = true_solution(case, reference, _reference(case, reference))
    horizon = case.horizon(reference)
    index = int(np.argmin(np.abs(truth.times - horizon)))
    dt = case.step(reference)
    bound = error_percent(truth, case.stepper(reference), dt, index)
    found = {"implicit": {"step": dt, "temporal_error_percent": bound}}
    for row in asked:
        stepper = case.stepper(load_settings(case.settings, row.overrides(0, request)))
        step = _SAFETY * largest_stable_step(truth, stepper)
        if row.method.step == "equal_error":
            step = min(step, step_for_error(truth, stepper, bound, index))
        error = error_percent(truth, stepper, step, index)
        found[row.name] = {"step": step, "temporal_error_percent": error}
        say(
            f"{row.title}: dt = {step:.3g}, temporal error at t = {horizon:g}: {error:.2g} % "
            f"(implicit, dt = {dt:g}: {bound:.2g} %)"
        )
    return found


def _planned(folder: Path) -> int | None:
    """How many steps a run trains, if it got so far as to know."""
    if not (folder / run_directory.CONFIGURATION).is_file():
        return None
    return Run(folder).settings.training.steps


def _run(case: str, settings: Any, folder: Path, request: Request, out: Path) -> Failure | None:
    """One run in a process of its own; why it failed, if it did."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    words = [sys.executable, "-m", "impindiff", "run", case, "--out", str(folder)]
    if (folder / run_directory.CONFIGURATION).is_file():
        words.append("--resume")
    else:
        asked = folder.with_name(f"{folder.name}.yaml")
        run_directory.write_text(asked, dump_yaml(settings))
        words += ["--config", str(asked)]
    environment = {
        "JAX_COMPILATION_CACHE_DIR": str((out / _COMPILED).absolute()),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0.5",
    } | dict(os.environ)
    times, more = _PATIENCE
    patience = times * (request.budget or 600.0) + more
    log = folder.with_name(f"{folder.name}.{LOG}")
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


def _failure(code: int, folder: Path, log: Path) -> Failure:
    """Why a run failed: what it has stored, or what is known of a process that stored nothing."""
    stored = run_directory.read_failure(folder)
    if stored is not None:
        return stored
    if code < 0:
        more = ", out of memory?" if code == -9 else ""
        message = f"the process was ended by signal {-code}{more}"
        return Failure(code=FailureCode.killed, message=message)
    # refused before it had a folder: the command's last line says why
    lines = [line for line in log.read_text().splitlines() if line.startswith("impindiff: ")]
    last = f"the process ended with exit code {code}; see {log.name}"
    message = lines[-1].removeprefix("impindiff: ") if lines else last
    reason = FailureCode.wrong_input if code == 2 else FailureCode.other
    return Failure(code=reason, message=message)


def _keep(failure: Failure, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    failure.write(folder / FAILURE)
