"""The main job for a problem of one's own: training, forecast, metrics, figures."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff import run_directory
from impindiff.cases.step_settings import describe_steps
from impindiff.devices import Mesh
from impindiff.errors import InputError, SolverError
from impindiff.observations import forecast_dataset, provenance, require_writable, write_netcdf
from impindiff.observations.scattered import PointTable
from impindiff.opened_run import Run
from impindiff.problem import (
    Measured,
    Problem,
    ProblemSettings,
    checked,
    located,
    require_consistent,
)
from impindiff.problem_figures import draw_problem
from impindiff.results import METRICS, Misfit, RunMetrics
from impindiff.rollout import rollout
from impindiff.run_metrics import identified_numbers, training_metrics
from impindiff.run_training import train
from impindiff.sizes import require_problem_fits, require_rollout_fits
from impindiff.steppers import HybridModel
from impindiff.training import Progress

_OUTPUTS = 50
_LABELS = ("long_name", "units", "scaling", "standard_name")


class Prepared(NamedTuple):
    """A problem that may be trained: settings, model and measurements fit each other and memory.

    - `problem`: the same; what its hooks return is checked.
    - `model`: with its first parameters.
    - `until`: the end of the forecast.
    """

    problem: Problem
    settings: Any
    model: HybridModel
    found: Measured
    until: float


def prepare_problem(problem: Problem, settings: ProblemSettings) -> Prepared:
    """What training starts from, in the precision of the settings; nothing is written.

    Raises `InputError` for settings, hooks or data that are wrong, and for too little memory.
    """
    run_directory.set_precision(settings)
    settings = run_directory.with_absolute_path(settings)
    problem = checked(problem)
    require_problem_fits(problem, settings)
    model = problem.model(settings, jax.random.key(settings.seed))
    found = problem.measured(settings, model)
    until = _last(settings, found)
    _require_fits(problem, settings, model, found, until)
    require_consistent(problem, settings, model, found)
    return Prepared(problem, settings, model, found, until)


@located()
def run_problem(
    problem: Problem,
    settings: ProblemSettings,
    folder: Path,
    *,
    resume: bool = False,
    mesh: Mesh | None = None,
    say: Callable[[str], None] = lambda line: None,
    show: Callable[[Progress], None] = lambda progress: None,
) -> RunMetrics:
    """Train a problem and forecast, in `folder`; returns the metrics that it also writes.

    Raises as `run_case`; an error of the problem's own file, as `InputError` that names the line.
    """
    start = time.perf_counter()
    problem, settings, example, found, until = prepare_problem(problem, settings)
    say(_what_was_measured(found))

    judged = found.held_out if len(found.held_out) else None
    trained = train(
        problem,
        settings,
        found,
        folder,
        results_size=_results_size(problem, settings, example, found),
        store=lambda folder: run_directory.write_problem(folder, problem),
        evaluate=None if judged is None else _off_by(problem, settings, found, judged),
        resume=resume,
        mesh=mesh,
        say=say,
        show=show,
    )
    settings, fitted = trained.settings, trained.fitted
    run_directory.write_model(folder, fitted.model)
    say("forecast, metrics and figures")
    forecast = forecast_fields(problem, settings, fitted.model, found, until)
    write_netcdf(forecast, folder / "forecast.nc")
    sets = {"train": found.training} | ({"held_out": judged} if judged is not None else {})
    predicted = {
        name: predict(problem, settings, fitted.model, found, table) for name, table in sets.items()
    }
    identified = identified_numbers(problem, settings, fitted, trained.loss)
    draw_problem(forecast, sets, predicted, identified, folder)
    metrics = RunMetrics(
        problem=problem.name,
        summary=problem.summary,
        trained_until=settings.observations.until,
        misfit={name: misfits(table, predicted[name]) for name, table in sets.items()},
        identified=identified,
        **training_metrics(settings, fitted, trained.loss, trained.choices, start),
    )
    metrics.write(folder / METRICS)
    return metrics


@located()
def forecast_problem(
    folder: Path, until: float, out: Path | None = None, *, changed_data: bool = False
) -> tuple[xr.Dataset, Path]:
    """Forecast a trained problem to `until`, and store it; by default in its folder.

    It runs the problem's file that the run keeps, and no other.

    - `changed_data`: go on with files that are not what they were when the run began.

    Raises `InputError` as `forecast_run`.
    """
    out = folder / f"forecast_until_{until:g}.nc" if out is None else out
    run_directory.require_same_files(folder, changed=changed_data)
    run = Run(folder)
    problem, settings = run.problem, run.settings
    require_writable(out)
    model, found = run.model, run.data
    if not found.start < until < np.inf:
        raise InputError(f"--until: {until:g} is not a time after the initial one, {found.start:g}")
    _require_fits(problem, settings, model, found, until)
    forecast = forecast_fields(problem, settings, model, found, until)
    write_netcdf(forecast, out)
    return forecast, out


def forecast_fields(
    problem: Problem, settings: ProblemSettings, model: HybridModel, found: Measured, until: float
) -> xr.Dataset:
    """Every quantity as `NAME_forecast` on (`sample`, `time`, space), and the latent fields.

    Raises `SolverError` for a step that fails.
    """
    every = settings.forecast.every
    count = _OUTPUTS if every is None else max(1, round((until - found.start) / every))
    times = np.linspace(found.start, until, count + 1)
    states = _rolled_out(problem, settings, model, found, times)
    grid: Any = getattr(model, "grid", None)
    coordinates = {name: grid.axis_centers(axis) for axis, name in enumerate("xyz"[: grid.ndim])}
    attributes = {
        str(name): {key: of.attrs[key] for key in _LABELS if key in of.attrs}
        for name, of in found.dataset.variables.items()
    }
    told = provenance(
        f"Forecast of {problem.name}",
        describe_steps(settings.stepper.name, problem.step(settings)),
        settings.model_dump(mode="json"),
    )
    parts = [
        forecast_dataset(
            np.moveaxis(np.asarray(field), 0, 1),
            times,
            coordinates,
            np.zeros(found.samples, bool),
            variable=str(name),
            attrs=told,
            variable_attrs=attributes,
        )
        for name, field in problem.quantities(states).items()
    ]
    forecast = xr.merge(parts, combine_attrs="override", compat="equals", join="exact")
    latent = jax.lax.map(lambda t: problem.latent_fields(model, t), jnp.asarray(times))
    for name, values in latent.items():
        values, dimensions = np.asarray(values), ("time", *coordinates)
        if (values == values[:1]).all():  # steady
            values, dimensions = values[0], dimensions[1:]
        forecast[name] = (dimensions, values, {"long_name": name.replace("_", " ")})
    return forecast


def predict(
    problem: Problem,
    settings: ProblemSettings,
    model: HybridModel,
    found: Measured,
    table: PointTable,
) -> Float[np.ndarray, " point"]:
    """What the model says of these values, in their units."""
    times, points = problem.reading(settings, model, found, table)
    states = _rolled_out(problem, settings, model, found, times)
    return np.asarray(points(states)) * table.standard_deviation


def misfits(table: PointTable, predicted: Float[np.ndarray, " point"]) -> dict[str, Misfit]:
    """By quantity: root mean square, the same relative to the values', and over their errors."""
    found = {}
    for name in table.quantities:
        own = table.quantity == name
        off, values = predicted[own] - table.value[own], table.value[own]
        size = float(np.sqrt(np.mean(values**2)))
        rms = float(np.sqrt(np.mean(off**2)))
        found[name] = Misfit(
            rms=rms,
            relative_percent=100 * rms / size if size else None,
            in_standard_deviations=float(
                np.sqrt(np.mean((off / table.standard_deviation[own]) ** 2))
            ),
            values=int(own.sum()),
        )
    return found


def _rolled_out(
    problem: Problem,
    settings: ProblemSettings,
    model: HybridModel,
    found: Measured,
    times: Float[np.ndarray, " time"],
) -> Any:
    result = rollout(
        model,
        problem.start(settings, model, found),
        times,
        stepper=settings.stepper.build(settings.solver, settings.gradient),
        dt=problem.step(settings),
        throw=False,
    )
    result.raise_for_failure()
    return result.u


def _off_by(
    problem: Problem, settings: ProblemSettings, found: Measured, table: PointTable
) -> Callable[[Any], float | None]:
    """The relative L1 misfit of values held back, in percent."""

    def percent(model: Any) -> float | None:
        try:
            predicted = predict(problem, settings, model, found, table)
        except SolverError:
            return None
        off = np.abs((predicted - table.value) / table.standard_deviation).sum()
        relative = 100 * float(off / np.abs(table.value / table.standard_deviation).sum())
        return relative if np.isfinite(relative) else None

    return percent


def _last(settings: ProblemSettings, found: Measured) -> float:
    until = settings.forecast.until
    if until is None:
        return float(found.everything.time.max())
    if not until > found.start:
        raise InputError(
            f"forecast.until: {until:g} is not after the initial state at {found.start:g}"
        )
    return until


def _what_was_measured(found: Measured) -> str:
    table = found.everything
    counts = ", ".join(
        f"{int((table.quantity == name).sum())} of {name}" for name in table.quantities
    )
    held_out = f"; {len(found.held_out)} held back" if len(found.held_out) else ""
    trajectories = f", {found.samples} samples" if found.samples > 1 else ""
    return (
        f"data: {counts}{trajectories}, t = {table.time.min():g} to {table.time.max():g}{held_out}"
    )


def _require_fits(
    problem: Problem, settings: ProblemSettings, model: HybridModel, found: Measured, until: float
) -> None:
    """Refuse a forecast, and a training as long, that need more memory than there is."""
    state = eqx.filter_eval_shape(lambda: problem.start(settings, model, found))
    every = settings.forecast.every
    outputs = _OUTPUTS if every is None else (until - found.start) / every
    require_rollout_fits(state, outputs, found.start, until, problem.step(settings))


def _results_size(
    problem: Problem, settings: ProblemSettings, model: HybridModel, found: Measured
) -> int:
    """About the bytes of forecast.nc and figures."""
    state = eqx.filter_eval_shape(lambda: problem.start(settings, model, found))
    one = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(state))
    every = settings.forecast.every
    outputs = _OUTPUTS if every is None else (_last(settings, found) - found.start) / every
    return int(one * (outputs + 1)) + 2_000_000
