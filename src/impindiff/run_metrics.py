"""The numbers of a run, from what it trained and forecast."""

import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from impindiff.cases import Case, Data
from impindiff.cases.settings import RunSettings
from impindiff.observations import Trajectories, relative_l1_percent
from impindiff.problem import Problem
from impindiff.results import (
    Estimate,
    ForecastErrors,
    Gradient,
    LatentErrors,
    Memory,
    Solver,
    Training,
)
from impindiff.training import Ensemble, Fitted, TrajectoryLoss, partition, standard_errors

# Standard errors need a derivative for each parameter: a rollout each.
_MOST_PARAMETERS = 200


def forecast_errors(data: Data, forecast: xr.Dataset) -> ForecastErrors:
    """Relative L1 errors of the forecast of training and held-out samples."""
    variable = data.trajectories.variable
    percent = relative_l1_percent(
        forecast[f"{variable}_forecast"].to_numpy(),
        forecast[f"{variable}_truth"].to_numpy(),
        space_axes=len(data.trajectories.cells),
    )
    over_time = percent[data.held_out or data.training].mean(axis=0)
    sets = {"train": data.training} | ({"held_out": data.held_out} if data.held_out else {})
    return ForecastErrors(
        relative_l1_percent={
            name: float(percent[indices, -1].mean()) for name, indices in sets.items()
        },
        error_vs_time=list(
            zip(forecast["time"].to_numpy().tolist(), over_time.tolist(), strict=True)
        ),
    )


def training_metrics(
    settings: RunSettings,
    fitted: Fitted,
    loss: TrajectoryLoss,
    choices: Mapping[str, Any],
    start: float,
) -> dict[str, Any]:
    """The parts of `RunMetrics` that every run has, at its end.

    - `choices`: of `Trained`.
    - `start`: when the run began, by `time.perf_counter`.
    """
    totals = fitted.totals
    return {
        "train": Training(
            seconds=fitted.seconds,
            steps=fitted.steps,
            final_loss=fitted.final_loss,
            compile_seconds=fitted.compile_seconds,
            seconds_per_step=fitted.seconds_per_step,
            temporary_mb=fitted.temporary_mb,
            parameters=number_of_parameters(fitted.model, fitted.frozen),
            observations=loss.number_of_observations(),
            validation_loss=fitted.validation_loss,
            best_step=fitted.best_step,
            stopped_early=fitted.stopped_early,
            **choices,
        ),
        "solver": Solver(
            iterations_mean=float(totals.iterations / totals.solves),
            linear_iterations_mean=float(totals.linear_iterations / totals.solves),
            max_residual=float(totals.max_residual),
            failed_solves=int(totals.failed_solves),
        ),
        "gradient": Gradient(max_residual=float(totals.max_adjoint_residual)),
        "precision": settings.precision,
        "seed": settings.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("impindiff", "jax", "equinox", "lineax", "optax")},
        },
        "memory": Memory(peak_rss_mb=peak_memory_mb()),
        "seconds_total": time.perf_counter() - start,
    }


def number_of_parameters(model: eqx.Module, frozen: Sequence[str] = ()) -> int:
    """How many numbers are trained."""
    if isinstance(model, Ensemble):
        return number_of_parameters(model.stacked, frozen)
    return sum(leaf.size for leaf in jax.tree.leaves(partition(model, frozen)[0]))


def latent_errors(case: Case, data: Trajectories, model: eqx.Module) -> LatentErrors:
    """Relative L1 errors of the latent fields whose truth is known.

    Of a field that changes in time, the mean over the times of the data, and the error at each.
    """
    found = case.latent_fields(model, data.times)
    space_axes = len(data.cells)
    percent = {
        name: relative_l1_percent(found[name], truth, space_axes=space_axes)
        for name, truth in data.latent.items()
        if name in found
    }
    return LatentErrors(
        relative_l1_percent={name: float(errors.mean()) for name, errors in percent.items()},
        error_vs_time={
            name: list(zip(data.times.tolist(), errors.tolist(), strict=True))
            for name, errors in percent.items()
            if errors.ndim == 1
        },
    )


def identified_numbers(
    case: Case | Problem, settings: Any, fitted: Fitted, loss: TrajectoryLoss
) -> dict[str, Estimate]:
    """The unknown numbers; their standard errors, where the model has few parameters.

    Of an ensemble mean and standard deviation over the members.
    """
    values = as_floats(case.identified(fitted.model))
    if not values:
        return {}
    known = fitted.linearization
    errors: dict[str, Any] = {}
    if isinstance(fitted.model, Ensemble):
        each = [case.identified(member) for member in fitted.model.members]
        errors = {name: np.std([of[name] for of in each], ddof=1) for name in values}
    elif known is not None or number_of_parameters(fitted.model, fitted.frozen) <= _MOST_PARAMETERS:
        errors = standard_errors(case.identified, fitted.model, loss, known, fitted.frozen)
    errors, truths = as_floats(errors), case.truths(settings)
    return {
        name: Estimate(value=value, standard_error=errors.get(name), truth=truths.get(name))
        for name, value in values.items()
    }


def as_floats(values: Mapping[str, Any]) -> dict[str, float]:
    """The same as Python numbers, which JSON takes."""
    return {name: float(value) for name, value in values.items()}


def peak_memory_mb() -> float:
    """The largest resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kilobytes elsewhere
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
