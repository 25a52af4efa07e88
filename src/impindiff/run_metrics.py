"""What a run's metrics.json holds."""

import platform
import resource
import sys
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

import equinox as eqx
import jax
import numpy as np
import xarray as xr

from impindiff.cases import Case, Data
from impindiff.cases.settings import CaseSettings, RunSettings
from impindiff.observations import Trajectories, relative_l1_percent
from impindiff.training import Ensemble, Fitted, TrajectoryLoss, partition, standard_errors


def run_metrics(
    case: Case,
    settings: CaseSettings,
    data: Data,
    fitted: Fitted,
    loss: TrajectoryLoss,
    forecast: xr.Dataset,
) -> dict[str, Any]:
    """All that is known once the forecast is made; identified numbers and memory come later."""
    variable = data.trajectories.variable
    space_axes = len(data.trajectories.cells)
    percent = relative_l1_percent(
        forecast[f"{variable}_forecast"].to_numpy(),
        forecast[f"{variable}_truth"].to_numpy(),
        space_axes=space_axes,
    )
    judged = data.held_out or data.training
    at_end = {"train": data.training} | ({"held_out": data.held_out} if data.held_out else {})
    return {
        "case": case.name,
        "forecast": {
            "relative_l1_percent": {
                name: float(percent[indices, -1].mean()) for name, indices in at_end.items()
            },
            "error_vs_time": [
                [float(t), float(p)]
                for t, p in zip(
                    forecast["time"].to_numpy(), percent[judged].mean(axis=0), strict=True
                )
            ],
        },
        "latent": latent_errors(case, data.trajectories, fitted.model),
        **training_metrics(settings, fitted, loss),
    }


def training_metrics(settings: RunSettings, fitted: Fitted, loss: TrajectoryLoss) -> dict[str, Any]:
    """What training did and cost, and with what."""
    totals = fitted.totals
    return {
        "train": {
            "seconds": fitted.seconds,
            "steps": fitted.steps,
            "final_loss": fitted.final_loss,
            "compile_seconds": fitted.compile_seconds,
            "seconds_per_step": fitted.seconds_per_step,
            "temporary_mb": fitted.temporary_mb,
            "parameters": number_of_parameters(fitted.model, fitted.frozen),
            "observations": loss.number_of_observations(),
            "validation_loss": fitted.validation_loss,
            "best_step": fitted.best_step,
            "stopped_early": fitted.stopped_early,
        },
        "solver": {
            "iterations_mean": float(totals.iterations / totals.solves),
            "linear_iterations_mean": float(totals.linear_iterations / totals.solves),
            "max_residual": float(totals.max_residual),
            "failed_solves": int(totals.failed_solves),
        },
        "gradient": {"max_residual": float(totals.max_adjoint_residual)},
        "precision": settings.precision,
        "seed": settings.seed,
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in ("impindiff", "jax", "equinox", "lineax", "optax")},
        },
    }


def number_of_parameters(model: eqx.Module, frozen: Sequence[str] = ()) -> int:
    """How many numbers are trained."""
    if isinstance(model, Ensemble):
        return number_of_parameters(model.stacked, frozen)
    return sum(leaf.size for leaf in jax.tree.leaves(partition(model, frozen)[0]))


def latent_errors(case: Case, data: Trajectories, model: eqx.Module) -> dict[str, Any]:
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
    return {
        "relative_l1_percent": {name: float(errors.mean()) for name, errors in percent.items()},
        "error_vs_time": {
            name: [[float(t), float(p)] for t, p in zip(data.times, errors, strict=True)]
            for name, errors in percent.items()
            if errors.ndim == 1
        },
    }


def identified_numbers(
    case: Case, settings: CaseSettings, fitted: Fitted, loss: TrajectoryLoss
) -> dict[str, dict[str, float]]:
    """Value, standard error and, where it is known, truth of each number that was found.

    Of an ensemble mean and standard deviation over the members.
    """
    values = case.identified(fitted.model)
    if not values:
        return {}
    if isinstance(fitted.model, Ensemble):
        each = [case.identified(member) for member in fitted.model.members]
        errors = {name: np.std([of[name] for of in each], ddof=1) for name in values}
    else:
        known = fitted.linearization
        errors = standard_errors(case.identified, fitted.model, loss, known, fitted.frozen)
    truths = case.truths(settings)
    return {
        name: {"value": float(value), "standard_error": float(errors[name])}
        | ({"truth": truths[name]} if name in truths else {})
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
