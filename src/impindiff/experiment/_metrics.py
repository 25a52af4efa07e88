"""The metrics of a run, from its training and forecast."""

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
from jaxtyping import Float

from impindiff.data import FORECAST_SUFFIX, TRUTH_SUFFIX
from impindiff.experiment.experiment import Experiment
from impindiff.observations import PointTable, relative_l1_percent
from impindiff.results import (
    Estimate,
    ForecastErrors,
    Gradient,
    LatentErrors,
    Memory,
    Misfit,
    Solver,
    Training,
)
from impindiff.settings.sections import ProblemSettings
from impindiff.training import Ensemble, Fitted, TrajectoryLoss, partition, standard_errors

# standard errors need one derivative, the cost of a rollout, per parameter
_MOST_PARAMETERS = 200


def forecast_errors(experiment: Experiment, forecast: xr.Dataset) -> ForecastErrors | None:
    """Relative L1 errors of the forecast of training and test samples; None without a truth.

    Errors of several quantities are averaged.
    """
    data, each = experiment.data, []
    for name in experiment.truth:
        found = forecast[f"{name}{FORECAST_SUFFIX}"].to_numpy()
        truth = forecast[f"{name}{TRUTH_SUFFIX}"].to_numpy()
        each.append(relative_l1_percent(found, truth, space_axes=truth.ndim - 2))
    if not each:
        return None
    percent = np.mean(each, axis=0)
    # without data the error is unknown and left out; where the forecast diverged, it is not finite
    known = [
        t
        for t in range(percent.shape[1])
        if all(
            np.isfinite(forecast[f"{name}{TRUTH_SUFFIX}"].to_numpy()[:, t]).any()
            for name in experiment.truth
        )
    ]
    over_time = percent[data.test or data.training].mean(axis=0)[known]
    sets = {"train": data.training} | ({"test": data.test} if data.test else {})
    times = forecast["time"].to_numpy()[known]
    return ForecastErrors(
        relative_l1_percent={
            name: float(percent[indices, known[-1]].mean()) for name, indices in sets.items()
        },
        error_vs_time=list(zip(times.tolist(), over_time.tolist(), strict=True)),
    )


def training_metrics(
    settings: ProblemSettings,
    fitted: Fitted,
    loss: TrajectoryLoss,
    choices: Mapping[str, Any],
    start: float,
) -> dict[str, Any]:
    """The parts of `RunMetrics` that every run has, at its end.

    - `choices`: from `Trained`.
    - `start`: start of the run, by `time.perf_counter`.
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
            converged=fitted.converged,
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
    """Number of trained parameters."""
    if isinstance(model, Ensemble):
        return number_of_parameters(model.stacked, frozen)
    return sum(leaf.size for leaf in jax.tree.leaves(partition(model, frozen)[0]))


def latent_errors(
    found: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    times: Float[np.ndarray, " time"],
    space_axes: int,
) -> LatentErrors | None:
    """Relative L1 errors of the latent fields whose truth is known; None if there is none.

    For a time-dependent field, the mean over the times, and the error at each.
    """
    percent = {
        name: relative_l1_percent(found[name], truth, space_axes=space_axes)
        for name, truth in truths.items()
        if found[name].shape[-space_axes:] == truth.shape[-space_axes:]
    }
    if not percent:
        return None
    return LatentErrors(
        relative_l1_percent={name: float(errors.mean()) for name, errors in percent.items()},
        error_vs_time={
            name: list(zip(times.tolist(), errors.tolist(), strict=True))
            for name, errors in percent.items()
            if errors.ndim == 1
        },
    )


def misfits(table: PointTable, predicted: Float[np.ndarray, " point"]) -> dict[str, Misfit]:
    """Misfits by quantity: root mean square, relative to the values', and over stated errors."""
    found = {}
    for name in table.quantities:
        own = table.quantity == name
        off, values = predicted[own] - table.value[own], table.value[own]
        known = table.stated[own]
        over = off[known] / table.standard_deviation[own][known]
        size = float(np.sqrt(np.mean(values**2)))
        rms = float(np.sqrt(np.mean(off**2)))
        found[name] = Misfit(
            rms=rms,
            relative_percent=100 * rms / size if size else None,
            in_standard_deviations=float(np.sqrt(np.mean(over**2))) if known.any() else None,
            values=int(own.sum()),
        )
    return found


def identified_numbers(
    experiment: Experiment, fitted: Fitted, loss: TrajectoryLoss
) -> dict[str, Estimate]:
    """The unknown scalars, with standard errors if the model has few parameters.

    For an ensemble, mean and standard deviation over the members.
    """
    values = as_floats(experiment.identified(fitted.model))
    if not values:
        return {}
    known = fitted.linearization
    errors: dict[str, Any] = {}
    if isinstance(fitted.model, Ensemble):
        each = [experiment.identified(member) for member in fitted.model.members]
        errors = {name: np.std([of[name] for of in each], ddof=1) for name in values}
    elif known is not None or number_of_parameters(fitted.model, fitted.frozen) <= _MOST_PARAMETERS:
        errors = standard_errors(experiment.identified, fitted.model, loss, known, fitted.frozen)
    errors, truths = as_floats(errors), experiment.truths()
    return {
        name: Estimate(value=value, standard_error=errors.get(name), truth=truths.get(name))
        for name, value in values.items()
    }


def as_floats(values: Mapping[str, Any]) -> dict[str, float]:
    """Convert to Python floats, for JSON."""
    return {name: float(value) for name, value in values.items()}


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kilobytes elsewhere
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
