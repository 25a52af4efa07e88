"""Standard deviations of what a run shows, from the posterior of the model's parameters."""

import dataclasses
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, PyTree

from impindiff.data import FORECAST_SUFFIX, SPREAD_SUFFIX
from impindiff.errors import InputError
from impindiff.experiment._stations import Stations, station_series
from impindiff.experiment.directory import read_with_digest, write_with_digest
from impindiff.experiment.experiment import Experiment, at_times
from impindiff.inference import (
    FlatParameters,
    Linearization,
    Posterior,
    flat_parameters,
    laplace,
    linearized,
)
from impindiff.training import Ensemble, Fitted, TrajectoryLoss, partition

# a posterior needs one derivative, the cost of a rollout, per parameter
MOST_PARAMETERS = 200
# derivatives of the forecast
_MOST_DIRECTIONS = 40
# of these at a time, for their memory
_MOST_AT_ONCE, _BYTES_AT_ONCE = 16, 2**28


class Uncertainty(NamedTuple):
    """The posterior of a fit, and the misfit's derivatives that it was made of.

    - `is_penalised`: training had a penalty, which is no part of the data, and has its minimum
      elsewhere.
    """

    posterior: Posterior[Any]
    linearization: Linearization
    is_penalised: bool = False

    @property
    def is_finite(self) -> bool:
        """False where the data leave a parameter undetermined."""
        return bool(jnp.isfinite(self.posterior.factor).all())


def uncertainty(experiment: Experiment, fitted: Fitted, loss: TrajectoryLoss) -> Uncertainty | None:
    """The Laplace approximation at a fit; None for many parameters, ensembles and black boxes.

    None, too, for a model with a function that has a derivative in reverse mode only
    (`jax.custom_vjp`).

    After `EmpiricalBayes` it is that of the chosen prior and errors, for any number of parameters;
    else for at most 200, or after Levenberg-Marquardt.
    """
    if isinstance(fitted.model, Ensemble) or not experiment.method.is_hybrid:
        return None
    try:
        return _at_fit(fitted, loss)
    except TypeError as error:
        if "custom_vjp" not in str(error):
            raise
        return None


def _at_fit(fitted: Fitted, loss: TrajectoryLoss) -> Uncertainty | None:
    if fitted.regularised is not None:
        known = linearized(fitted.model, fitted.regularised, fitted.frozen)
        posterior = laplace(
            fitted.model,
            fitted.regularised,
            freeze=fitted.frozen,
            errors="given",
            linearization=known,
        )
        return Uncertainty(posterior, known)
    count, known = number_of_parameters(fitted.model, fitted.frozen), fitted.linearization
    if count == 0 or (known is None and count > MOST_PARAMETERS):
        return None
    penalised, loss = loss.penalty is not None, dataclasses.replace(loss, penalty=None)
    known = known or linearized(fitted.model, loss, fitted.frozen)
    posterior = laplace(fitted.model, loss, freeze=fitted.frozen, linearization=known)
    return Uncertainty(posterior, known, penalised)


def add_bands(
    experiment: Experiment,
    posterior: Posterior[Any],
    states: PyTree[np.ndarray],
    times: Float[np.ndarray, " time"],
    shown: Int[np.ndarray, " output"],
    latent: Mapping[str, Float[np.ndarray, "..."]],
    forecast: xr.Dataset,
    series: Stations | None = None,
) -> Stations | None:
    """Add standard deviations to a forecast, and return the series, if any, with theirs.

    To first order: the derivative of the states along each column of the posterior's factor, a
    rollout each; then differences of what is measured in them from one deviation above to one
    below. None, and nothing is added, if a solve fails.

    - `states`: of all samples at `times`; `forecast` and `latent` are at `times[shown]`.
    """
    posterior = with_few_columns(posterior)

    def measured(model: Any, u: list[PyTree[np.ndarray]]) -> Any:
        around = station_series(experiment, model, u, times, forecast) if series else {}
        return experiment.at_data(at_times(u, shown)), jax.tree.map(lambda s: s.predicted, around)

    flat = posterior.parameters
    total: Any = None
    columns = np.asarray(posterior.factor.T)
    for column, change in _derivatives(experiment, flat, columns, states, times):
        if change is None:
            return None
        above, below = (
            measured(
                flat.model(flat.values + sign * column),
                [jax.tree.map(lambda u, d, s=sign: u + s * d, states, change)],
            )
            for sign in (1.0, -1.0)
        )
        squares = jax.tree.map(lambda a, b: ((a - b) / 2) ** 2, above, below)
        total = squares if total is None else jax.tree.map(np.add, total, squares)
    quantities, curves = jax.tree.map(np.sqrt, total)
    for name, values in quantities.items():
        own = forecast[name + FORECAST_SUFFIX]
        forecast[name + SPREAD_SUFFIX] = (own.dims, values[0], own.attrs)
    for name, values in _of_latent(experiment, posterior, latent, times[shown]).items():
        forecast[name + SPREAD_SUFFIX] = (forecast[name].dims, values, forecast[name].attrs)
    return jax.tree.map(
        lambda s, d: dataclasses.replace(s, predicted_deviation=d), series or {}, curves
    )


def write_posterior(path: Path, posterior: Posterior[Any]) -> None:
    """Write a posterior's arrays; the model and its parameters are stored elsewhere."""
    if posterior.factor.shape[1] > MOST_PARAMETERS:
        posterior = with_few_columns(posterior)
    file = io.BytesIO()
    np.savez(file, factor=posterior.factor, error_scale=posterior.error_scale)
    write_with_digest(path, file.getvalue())


def read_posterior(path: Path, model: Any, freeze: Sequence[str]) -> Posterior[Any]:
    """Read a posterior of `write_posterior`.

    **Raises:** `InputError` for another file, and for one of another model.
    """
    flat = flat_parameters(model, freeze)
    try:
        with np.load(read_with_digest(path)) as stored:
            factor, scale = stored["factor"], stored["error_scale"]
    except Exception as error:  # NumPy raises various types
        reason = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: cannot be read as a posterior ({reason})") from None
    if factor.ndim != 2 or len(factor) != flat.values.size:
        raise InputError(
            f"{path}: holds a factor of shape {factor.shape}, and the model has {flat.values.size} "
            "parameters; it belongs to another model"
        )
    return Posterior(flat, jnp.asarray(factor, flat.values.dtype), jnp.asarray(scale))


def _derivatives(
    experiment: Experiment,
    flat: FlatParameters[Any],
    directions: Float[np.ndarray, "k n"],
    states: PyTree[np.ndarray],
    times: Float[np.ndarray, " time"],
) -> Iterator[tuple[Float[np.ndarray, " n"], PyTree[np.ndarray] | None]]:
    """Each direction with the derivative of `states` along it, None where a solve fails.

    Several at a time, which share the rollout's own solves.
    """
    needed, index = experiment.rolled_out(times)
    samples = experiment.data.samples
    dataset = experiment.data.of(range(samples))

    def rolled_out(values: Array) -> tuple[PyTree[Array], Array]:
        result = experiment.method.trajectory(flat.model(values), dataset, samples, needed)
        return result.u, jnp.all(result.stats.converged)

    # the values are an argument, so that another fit needs no other program
    @jax.jit
    def along(values: Array, directions: Array) -> tuple[PyTree[Array], Array]:
        def one(direction: Array) -> tuple[PyTree[Array], Array]:
            return jax.jvp(rolled_out, (values,), (direction,), has_aux=True)[1:]

        return jax.vmap(one, out_axes=(0, None))(directions)

    bytes_of_one = sum(leaf.nbytes for leaf in jax.tree.leaves(states))
    at_once = min(max(_BYTES_AT_ONCE // bytes_of_one, 1), _MOST_AT_ONCE)
    passes = -(-len(directions) // at_once)
    # all of the same size, for one program
    size = -(-len(directions) // passes)
    for first in range(0, len(directions), size):
        here = directions[first : first + size]
        filled = np.concatenate([here, np.zeros((size - len(here), here.shape[1]))])
        changes, converged = along(flat.values, jnp.asarray(filled, flat.values.dtype))
        changes = jax.tree.map(lambda leaf: np.asarray(leaf)[:, index], changes)
        for i, direction in enumerate(here):
            yield direction, jax.tree.map(lambda leaf, i=i: leaf[i], changes) if converged else None


def with_few_columns(posterior: Posterior[Any]) -> Posterior[Any]:
    r"""The posterior with a factor of at most 40 columns.

    Of more, $F Z / \sqrt{40}$ with normal random numbers Z: deviations are right to 11 %.
    """
    columns = posterior.factor.shape[1]
    if columns <= _MOST_DIRECTIONS:
        return posterior
    shape = (columns, _MOST_DIRECTIONS)
    mixed = jax.random.normal(jax.random.key(0), shape, posterior.factor.dtype)
    return dataclasses.replace(posterior, factor=posterior.factor @ mixed / shape[1] ** 0.5)


def _of_latent(
    experiment: Experiment,
    posterior: Posterior[Any],
    latent: Mapping[str, Float[np.ndarray, "..."]],
    times: Float[np.ndarray, " time"],
) -> dict[str, Float[np.ndarray, "..."]]:
    """Standard deviations of the latent fields, in the shapes of `latent`, which is at `times`."""
    if not latent:
        return {}
    ndim = experiment.method.example.grid.ndim
    steady = all(field.ndim == ndim for field in latent.values())
    at = jnp.asarray(times[:1] if steady else times)
    found = posterior.standard_deviation(
        lambda model: jax.lax.map(lambda t: experiment.problem.latent_fields(model, t), at)
    )
    return {
        name: np.asarray(found[name][0] if field.ndim == ndim else found[name])
        for name, field in latent.items()
    }


def number_of_parameters(model: eqx.Module, frozen: Sequence[str] = ()) -> int:
    """Number of trained parameters."""
    if isinstance(model, Ensemble):
        return number_of_parameters(model.stacked, frozen)
    return sum(leaf.size for leaf in jax.tree.leaves(partition(model, frozen)[0]))
