"""The results of a comparison, from the folders of its runs."""

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal

import numpy as np

from impindiff.compare._request import Request, Row, folder_of, problem_of, rows_of
from impindiff.compare._runner import MEASURED, STEPS, comparison_times, is_done
from impindiff.compare._studies import STUDIES
from impindiff.errors import FailureCode
from impindiff.experiment import Run, directory
from impindiff.results import (
    METRICS,
    RESULTS,
    ComparisonResults,
    MethodResults,
    MethodRun,
    Misfit,
    Number,
    Numbers,
    Pair,
    Times,
)
from impindiff.rollout import AdaptiveStep
from impindiff.settings import load_configuration, load_settings
from impindiff.support.memory import memory_limit

# percent; a forecast with a larger error diverges
_BLOWN_UP = 1000.0
_NUMBERS = [name for name in Numbers.model_fields if name != "error_percent"]


def collect(request: Request, out: Path) -> ComparisonResults:
    """Collect all rows with their runs, mean and spread."""
    problem, rows = problem_of(request), rows_of(request)
    times = comparison_times(problem, request, rows, out)
    metric, judged_on = _metric(request, rows, out)
    return ComparisonResults(
        problem=problem.name,
        command=request.command(),
        study=request.study,
        study_summary=None if request.study is None else STUDIES[request.study].summary,
        quick=request.quick,
        budget_seconds=request.budget,
        seeds=list(range(request.seeds)),
        times=times,
        metric=metric,
        judged_on=judged_on,
        machine=machine(),
        versions={
            "python": platform.python_version(),
            **{name: version(name) for name in ("impindiff", "jax", "equinox", "lineax", "optax")},
        },
        methods=[_row(row, request, out, times) for row in rows],
    )


def write_results(request: Request, out: Path) -> ComparisonResults:
    """Collect the results and store them as results.json."""
    results = collect(request, out)
    results.write(out / RESULTS)
    return results


def machine() -> dict[str, Any]:
    """The machine of the measurements: operating system, processor, cores and memory."""
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "memory_gb": memory_limit() / 1e9,
    }


def _row(row: Row, request: Request, out: Path, times: Times) -> MethodResults:
    method = row.method
    steps = directory.read_json(out / STEPS) if (out / STEPS).is_file() else {}
    runs = []
    if method.not_run is None:
        folders = [(folder_of(row, seed, out), seed) for seed in range(request.seeds)]
        # an interrupted comparison has unfinished runs
        runs = [_run(folder, seed, out, times) for folder, seed in folders if is_done(folder)]
    overrides = row.overrides(0, request, _measured(row, request, out))
    return MethodResults(
        name=row.name,
        title=row.title,
        method=method.name,
        x=None if row.point is None else row.point.x,
        kind=method.kind,
        description=method.description,
        tuning=method.tuning,
        overrides={k: v for k, v in overrides.items() if k not in ("seed", "forecast")},
        not_run=method.not_run,
        temporal_error_percent=steps.get(row.name, {}).get("temporal_error_percent"),
        failures=sum(run.status != "ok" for run in runs),
        runs=runs,
        mean=_over_runs(runs, times, np.mean, 1),
        spread=_over_runs(runs, times, lambda values: np.std(values, ddof=1), 2),
    )


def _metric(
    request: Request, rows: Sequence[Row], out: Path
) -> tuple[Literal["relative_l1_percent", "relative_percent"], Literal["train", "test"]]:
    """The errors of the runs and the set that they are of, the same for all: they share data."""
    folders = [folder_of(row, seed, out) for row in rows for seed in range(request.seeds)]
    ended = next((folder for folder in folders if (folder / METRICS).is_file()), None)
    if ended is None:
        return "relative_l1_percent", "test"
    metrics = Run(ended).metrics
    if metrics.forecast is not None:
        judged = metrics.forecast.relative_l1_percent
        return "relative_l1_percent", "train" if set(judged) == {"train"} else "test"
    return "relative_percent", "test" if metrics.misfit.get("test") else "train"


def _measured(row: Row, request: Request, out: Path) -> dict[str, Any]:
    """Changes to a row's settings that its first run was started with: measured, or of a budget.

    Without those of the comparison's own data and of the forecast.
    """
    folder = folder_of(row, 0, out)
    asked = folder.with_name(f"{folder.name}.yaml")
    if row.method.not_run is not None or not asked.is_file():
        return {}
    model = problem_of(request).settings
    wanted = load_settings(model, row.overrides(0, request)).model_dump(mode="json")
    given = load_configuration(model, [asked], []).model_dump(mode="json")
    changes = _changes(given, wanted)
    return {key: value for key, value in changes.items() if key not in ("data", "forecast")}


def _changes(given: dict[str, Any], wanted: Any) -> dict[str, Any]:
    """The keys of `given`, at every level, whose values are not those of `wanted`."""
    if not isinstance(wanted, dict):
        return given
    return {
        key: _changes(value, wanted.get(key)) if isinstance(value, dict) else value
        for key, value in given.items()
        if value != wanted.get(key)
    }


def _run(folder: Path, seed: int, out: Path, times: Times) -> MethodRun:
    found: dict[str, Any] = {"seed": seed, "folder": folder.relative_to(out).as_posix()}
    none: dict[str, Number] = dict.fromkeys(Times.model_fields)
    failure = directory.read_failure(folder)
    if failure is not None:
        status = "blow-up" if failure.code is FailureCode.not_finite else "failed"
        found |= {"status": status, "message": failure.message, "error_percent": none}
        return MethodRun.model_validate(found)
    if (folder / MEASURED).is_file():
        measured = Numbers.read(folder / MEASURED).model_dump()
        return MethodRun.model_validate(found | measured | {"error_percent": none})
    metrics = Run(folder).metrics
    errors, wrong = none, []
    if metrics.forecast is not None:
        errors = _errors(metrics.forecast.error_vs_time, times)
        wrong = [time for name, time in times.known().items() if is_blown_up(errors[name])]
    elif metrics.misfit:
        errors = none | {"horizon": _mean_misfit(metrics.misfit)}
    train, failed = metrics.train, metrics.solver.failed_solves
    status, message = "ok", None
    if wrong:
        status, message = "blow-up", f"the forecast has blown up by t = {wrong[0]:g}"
    elif train.converged is False and not train.stopped_early:
        status, message = "not converged", _unconverged(Run(folder), failed)
    return MethodRun(
        seed=seed,
        folder=found["folder"],
        status=status,
        message=message,
        error_percent=errors,
        step=_step(folder),
        seconds_per_step=train.seconds_per_step,
        compile_seconds=train.compile_seconds,
        temporary_mb=train.temporary_mb,
        peak_rss_mb=metrics.memory.peak_rss_mb,
        training_seconds=train.seconds,
        steps=train.steps,
        parameters=train.parameters,
        observations=train.observations,
        final_loss=train.final_loss,
        failed_solves=failed,
    )


def _unconverged(run: Run, failed: int) -> str:
    """The reason why an optimiser had not converged, with remedies.

    A run's configuration has the steps that fit its budget. A run with fewer gave up before, as
    Levenberg-Marquardt does at its largest damping: more steps would not help.
    """
    steps = run.metrics.train.steps
    if steps < run.configuration["training"]["steps"]:
        found, tries = f"the optimiser gave up after {steps} steps", []
    else:
        found = f"the optimiser had not converged when training ended, after {steps} steps"
        tries = ["more training.steps", "a larger --budget if set"]
    if failed:
        found += f", in which {failed} solves failed"
        tries.append("a shorter stepper.dt")
    return f"{found}; try {', or '.join(tries)}" if tries else found


def _mean_misfit(misfit: Mapping[str, Mapping[str, Misfit]]) -> Number:
    """Mean misfit over quantities, of test values, or of all values without a test set."""
    found = misfit.get("test") or misfit["train"]
    percents = [of.relative_percent for of in found.values() if of.relative_percent is not None]
    return float(np.mean(percents)) if percents else None


def _step(folder: Path) -> float | None:
    """The length of a run's steps; None if adaptive."""
    run = Run(folder)
    step = run.problem.step(run.settings)
    return None if isinstance(step, AdaptiveStep) else step


def _errors(stored: Sequence[Pair], times: Times) -> dict[str, Number]:
    """The stored error at each of the times; None where it is not finite or not stored."""
    found: dict[str, Number] = {}
    for name, time in times:
        near = [p for t, p in stored if time is not None and t and abs(t - time) < 1e-6 * time]
        found[name] = near[0] if near else None
    return found


def is_blown_up(percent: float | None) -> bool:
    """True if a forecast with this error diverges, or has diverged."""
    return percent is None or percent > _BLOWN_UP


def _over_runs(
    runs: Sequence[MethodRun],
    times: Times,
    statistic: Callable[[Sequence[float]], Any],
    least: int,
) -> Numbers:
    """A statistic of each number over the runs that have it, None if fewer than `least` do.

    Errors of diverged forecasts are left out: such runs are counted instead.
    """

    def over(values: Sequence[float | None]) -> float | None:
        known = [v for v in values if v is not None]
        return float(statistic(known)) if len(known) >= least else None

    errors = {
        name: over([None if is_blown_up(e := run.error_percent[name]) else e for run in runs])
        for name, _ in times
    }
    numbers = {name: over([getattr(run, name) for run in runs]) for name in _NUMBERS}
    return Numbers(error_percent=errors, **numbers)
