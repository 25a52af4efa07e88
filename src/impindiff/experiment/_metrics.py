"""The metrics of a run, from its training and forecast."""

import platform
import resource
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data import FORECAST_SUFFIX, TRUTH_SUFFIX, cell_volumes
from impindiff.experiment._posterior import MOST_PARAMETERS, Uncertainty, number_of_parameters
from impindiff.experiment.experiment import Experiment
from impindiff.inference import Identifiability, check_residuals, identifiability
from impindiff.observations import PointTable, relative_l1_percent
from impindiff.preconditioners import AutomaticChoice
from impindiff.results import (
    Checked,
    Estimate,
    ForecastErrors,
    Gradient,
    LatentErrors,
    Memory,
    Misfit,
    Solver,
    Tested,
    Training,
)
from impindiff.settings.sections import ProblemSettings
from impindiff.training import (
    AbstractPrior,
    Ensemble,
    Fitted,
    Priors,
    TrajectoryLoss,
)

_MOST_TOLD_APART = 40  # in a figure that can be read
_NAMED = 3
_INSIDE = ".raw"  # of a `Parameter`
_EXACT = 0.1  # in standard deviations
_NEGLIGIBLE = 1e-3  # of a number, however small its standard error


def forecast_errors(experiment: Experiment, forecast: xr.Dataset) -> ForecastErrors | None:
    """Relative L1 errors of the forecast of training and test samples; None without a truth.

    Errors of several quantities are averaged.
    """
    data, each = experiment.data, []
    for name in experiment.truth:
        found = forecast[f"{name}{FORECAST_SUFFIX}"].to_numpy()
        truth = forecast[f"{name}{TRUTH_SUFFIX}"].to_numpy()
        each.append(
            relative_l1_percent(
                found, truth, space_axes=truth.ndim - 2, volumes=cell_volumes(forecast)
            )
        )
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
    automatic: AutomaticChoice | None,
    start: float,
) -> dict[str, Any]:
    """The parts of `RunMetrics` that every run has, at its end.

    - `choices`: from `Trained`; `automatic`: the preconditioner, if it was "auto".
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
            prior=chosen_prior(fitted),
            **choices,
        ),
        "solver": Solver(
            iterations_mean=float(totals.iterations / totals.solves),
            linear_iterations_mean=float(totals.linear_iterations / totals.solves),
            max_residual=float(totals.max_residual),
            failed_solves=int(totals.failed_solves),
            automatic_preconditioner=None if automatic is None else str(automatic),
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


def chosen_prior(fitted: Fitted) -> dict[str, float] | None:
    """Chosen quantities of the prior, and the errors' size, after `EmpiricalBayes`."""
    found = fitted.regularised
    prior = None if found is None else found.prior
    if found is None or not isinstance(prior, AbstractPrior | Priors) or found.weights is None:
        return None
    # the errors' size as a multiple of the errors given, or in the unit of the values
    size = np.sqrt(np.mean(1 / np.asarray(found.weights)[np.asarray(found.weights) != 0] ** 2))
    return prior.described() | {"errors": float(size)}


def latent_errors(
    found: Mapping[str, np.ndarray],
    truths: Mapping[str, np.ndarray],
    times: Float[np.ndarray, " time"],
    space_axes: int,
    volumes: Float[np.ndarray, "*space"] | None = None,
) -> LatentErrors | None:
    """Relative L1 errors of the latent fields whose truth is known; None if there is none.

    For a time-dependent field, the mean over the times, and the error at each. `volumes` are those
    of the forecast's cells, where they differ; a field on others is not weighted.
    """
    percent = {}
    for name, truth in truths.items():
        places = truth.shape[-space_axes:]
        if found[name].shape[-space_axes:] == places:
            own = volumes if volumes is not None and volumes.shape == places else None
            percent[name] = relative_l1_percent(
                found[name], truth, space_axes=space_axes, volumes=own
            )
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


class Identified(NamedTuple):
    """The unknown scalars, warnings about them, and which parameters the data tell apart.

    - `identifiability`: None for an ensemble, a single parameter and models of many.
    """

    numbers: dict[str, Estimate]
    warnings: list[str]
    identifiability: Identifiability | None = None


def identified_numbers(
    experiment: Experiment, fitted: Fitted, sure: Uncertainty | None
) -> Identified:
    """The unknown scalars, with standard errors if there is a posterior.

    For an ensemble, mean and standard deviation over the members. A warning names the numbers that
    are further from the minimum of the loss than their standard errors.
    """
    values = as_floats(experiment.identified(fitted.model))
    if not values:
        return Identified({}, [])
    errors: dict[str, Any] = {}
    warnings, told = [], None
    if isinstance(fitted.model, Ensemble):
        each = [experiment.identified(member) for member in fitted.model.members]
        errors = {name: np.std([of[name] for of in each], ddof=1) for name in values}
    elif sure is not None:
        posterior, jacobian = sure.posterior, np.asarray(sure.linearization[1])
        errors = as_floats(posterior.standard_deviation(experiment.identified))
        names = [name.removesuffix(_INSIDE) for name in posterior.parameters.names]
        if np.isfinite(jacobian).all():
            told = identifiability(sure.linearization[1], names)
            # along a direction that the data leave open a step to the minimum means nothing
            if told.is_complete and not sure.is_penalised:
                ahead = as_floats(posterior.change_to_minimum(experiment.identified))
                least = {n: max(errors[n], _NEGLIGIBLE * abs(x)) for n, x in values.items()}
                far = [name for name in values if abs(ahead[name]) > least[name]]
                warnings += [_not_at_the_minimum(far, ahead, errors)] if far else []
            told = told if 1 < len(names) <= _MOST_TOLD_APART else None
    errors, truths = as_floats(errors), experiment.truths()
    found = {
        name: Estimate(value=value, standard_error=errors.get(name), truth=truths.get(name))
        for name, value in values.items()
    }
    return Identified(found, warnings, told)


def _not_at_the_minimum(
    names: Sequence[str], ahead: Mapping[str, float], errors: Mapping[str, float]
) -> str:
    each = [
        f"{name} would change by {ahead[name]:+.2g}, {abs(ahead[name]) / errors[name]:.0f} "
        f"standard errors"
        for name in names[:_NAMED]
    ]
    more = f", and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return (
        f"training has not converged: with the best fit {', '.join(each)}{more}; try more steps, a "
        f"larger learning rate, or training.optimizer=levenberg_marquardt"
    )


def model_check(
    experiment: Experiment,
    fitted: Fitted,
    table: PointTable,
    predicted: Float[np.ndarray, " point"],
) -> Checked | None:
    """Check of the model by its training residuals; None for exact values, and for few.

    Synthetic data without noise are left out: their residuals are errors of discretisation.
    """
    settings = experiment.settings
    noisy = settings.observations.noise or table.stated.any()
    if not (experiment.is_measured or noisy):
        return None
    return _checked(fitted, table, predicted)


def instrument_check(
    fitted: Fitted, table: PointTable, predicted: Float[np.ndarray, " point"]
) -> Checked | None:
    """Check of the model by the readings of instruments; None for exact ones, and for few.

    Instruments always have errors; readings that are off by far less are synthetic, without noise.
    """
    residuals = (predicted - table.value) / table.standard_deviation
    if np.sqrt(np.mean(residuals**2)) < _EXACT:
        return None
    return _checked(fitted, table, predicted)


def _checked(
    fitted: Fitted, table: PointTable, predicted: Float[np.ndarray, " point"]
) -> Checked | None:
    found = check_residuals(
        (predicted - table.value) / table.standard_deviation,
        table.time,
        table.position,
        np.asarray([f"{s} {q}" for s, q in zip(table.sample, table.quantity, strict=True)]),
        parameters=_determined(fitted),
        stated=table.stated,
    )
    if found.explains is None:
        return None
    return Checked(
        explains=found.explains,
        verdict=found.verdict(),
        tests={
            test.name: Tested(
                statistic=test.statistic, probability=test.probability, rejects=test.rejects
            )
            for test in found.tests
        },
    )


def _determined(fitted: Fitted) -> float:
    """Number of parameters that the data determine; 0 for a network, whose weights are no count."""
    if fitted.determined is not None:
        return fitted.determined
    count = number_of_parameters(fitted.model, fitted.frozen)
    return count if count <= MOST_PARAMETERS else 0


def as_floats(values: Mapping[str, Any]) -> dict[str, float]:
    """Convert to Python floats, for JSON."""
    return {name: float(value) for name, value in values.items()}


def peak_memory_mb() -> float:
    """Peak resident memory of this process so far, in MB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # bytes on macOS, kilobytes elsewhere
    return peak / (1e6 if sys.platform == "darwin" else 1e3)
