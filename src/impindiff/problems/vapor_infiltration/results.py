"""Diagnostics of a trained model of vapor infiltration, against the truth."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PyTree

from impindiff.data.layout import described
from impindiff.fields import BoundedField
from impindiff.inference import Identifiability, flat_parameters, identifiability, laplace
from impindiff.observations import Measurements, Probes
from impindiff.observations.checks import up_to
from impindiff.problem import Data, conditions_of
from impindiff.problem.findings import ClosureCurve, Findings, Series, Sweep
from impindiff.problems.vapor_infiltration.forward import ATTRIBUTES
from impindiff.problems.vapor_infiltration.model import (
    VaporInfiltration,
    concentration,
    imbalance,
    imbalance_of_rates,
)
from impindiff.problems.vapor_infiltration.specimens import (
    MASS,
    THERMOCOUPLES,
    axes_of,
    observation_times,
    of_specimens,
    states_at,
    weighing_times,
)
from impindiff.rollout import rollout
from impindiff.training import (
    Fitted,
    TrajectoryLoss,
)

_POINTS = 200
# parameter path -> label in figures
_WORDS = {
    "transport.closure.": "diffusivity ",
    "heat.conductivity.closure.": "conductivity ",
    "log_odds": "threshold",
    "log_exponent": "exponent",
    "log_slopes": "slope ",
    "shift": "level",
}
# a part counts as closed once its mass gain has slowed to this fraction of the initial rate
_CLOSED = 0.1


class Law(NamedTuple):
    """A learned law, as a function of porosity.

    - `name`: in metrics; `label`: in figures.
    - `of`: extracts the law from a model.
    """

    name: str
    label: str
    of: Callable[[VaporInfiltration, Float[Array, " n"]], Float[Array, " n"]]


def diffusivity_of(
    model: VaporInfiltration, eps: Float[Array, " n"], initial: float
) -> Float[Array, " n"]:
    """The effective diffusivity d(eps)."""
    return model.transport(eps, model.pores.surface(eps, jnp.asarray(initial)))


def gather(
    laws: Sequence[Law],
    truth: VaporInfiltration,
    prior: VaporInfiltration,
    settings: Any,
    data: Data,
    fitted: Fitted,
    loss: TrajectoryLoss,
) -> Findings:
    """Collect all findings; `truth` and `prior` are models to compare the laws with."""
    every, times = list(range(data.samples)), data.dataset["time"].to_numpy()
    conditions = conditions_of(data.dataset)
    u, imbalances = _rolled_out(fitted.model, data, times, loss)
    found = {"porosity": u["porosity"], "gas": np.asarray(concentration(u))} | (
        {"temperature": u["temperature"]} if "temperature" in u else {}
    )
    true = states_at(data.dataset, range(len(times)))
    space = tuple(range(2, found["porosity"].ndim))
    judged = data.test or data.training
    means = {name: of["porosity"].mean(axis=space) for name, of in (("m", found), ("t", true))}
    trapped = {name: mean[-1] for name, mean in means.items()}
    gain = {name: mean[0] - mean for name, mean in means.items()}
    closing = {
        name: np.array([_closure_time(times, of[:, i]) for i in every]) for name, of in gain.items()
    }
    curves = [_curve(law, fitted, loss, truth, prior, data, settings) for law in laws]
    metrics: dict[str, Any] = {
        "forecast": {
            "relative_l2_percent": {
                "porosity": _relative_l2(found["porosity"], true["porosity"], judged),
                "mass_gain": float(
                    100
                    * np.linalg.norm((gain["m"] - gain["t"])[:, judged])
                    / np.linalg.norm(gain["t"][:, judged])
                ),
            },
            "trapped_porosity_error": float(np.abs(trapped["m"] - trapped["t"])[judged].max()),
            "closure_time_error": float(np.max(np.abs(closing["m"] - closing["t"])[judged])),
        },
        "latent": {
            "relative_l2_percent": {
                law.name: curve.relative_l2_percent for law, curve in zip(laws, curves, strict=True)
            }
            | _field_errors(fitted.model, data.dataset)
        },
        "balance": {"max_imbalance": imbalances},
        "specimens": {
            **{name: values.tolist() for name, values in conditions.items()},
            "test": list(data.test),
            "trapped_porosity": {"model": trapped["m"].tolist(), "truth": trapped["t"].tolist()},
            "relative_l2_percent": [
                _relative_l2(found["porosity"], true["porosity"], [i]) for i in every
            ],
        },
    }
    told = None
    if fitted.linearization is not None:
        told = identifiability(
            np.asarray(fitted.linearization[1]),
            [_readable(name) for name in flat_parameters(fitted.model, fitted.frozen).names],
        )
        metrics["identifiability"] = {
            "condition_indices": told.condition_indices.tolist(),
            "weakest": told.weakest(),
        }
    shown = judged[0]
    return Findings(
        metrics=metrics,
        closures=curves,
        series=_series(settings, data, loss, found, true, gain),
        trained_until=observation_times(settings)[-1],
        time_label="time over t_d",
        sweeps=[_sweep(settings, data, trapped)],
        snapshots={
            "porosity": (
                _fields(data.dataset, {"porosity": found["porosity"]}, shown),
                _fields(data.dataset, {"porosity": true["porosity"]}, shown),
            ),
            "state": (_fields(data.dataset, found, shown), None),
        },
        levels={"porosity": 0.5 * (settings.physics.eps0 + settings.physics.percolation[0])},
        identifiability=told,
        lines=_lines(told, metrics),
    )


def _rolled_out(
    model: VaporInfiltration, data: Data, times: Float[np.ndarray, " t"], loss: TrajectoryLoss
) -> tuple[PyTree[Float[np.ndarray, "t sample *cells"]], float]:
    """The states of every specimen, and the largest imbalance of gas and deposited solid.

    Quasi-steady gas is in balance at each instant, so that rates are compared; with storage it is
    over each interval, for which the inflow is tracked. In the data's batches, as the forecast,
    whose program serves.
    """
    tracked = dataclasses.replace(model, track_inflow=model.storage > 0)
    conditions = conditions_of(data.dataset)

    def of(specimens: Sequence[int]) -> VaporInfiltration:
        chosen = {name: values[list(specimens)] for name, values in conditions.items()}
        return of_specimens(tracked, chosen)

    def states(batch: Sequence[int]) -> PyTree[Float[np.ndarray, "t sample *cells"]]:
        own = of(batch)
        u0 = own.initial_state(len(batch))
        u = rollout(own, u0, times, stepper=loss.stepper, dt=loss.dt).u
        return jax.tree.map(np.asarray, u)

    u = data.joined([states(batch) for batch in data.batches])
    of_gas = imbalance if tracked.track_inflow else imbalance_of_rates
    found = eqx.filter_jit(of_gas)(of(range(data.samples)), u)
    return u, float(np.nanmax(found))


def _relative_l2(found: np.ndarray, truth: np.ndarray, samples: Sequence[int]) -> float:
    """100 ||found - truth|| / ||truth|| over times and space, the mean over the samples."""
    errors = [np.linalg.norm((found - truth)[:, i]) / np.linalg.norm(truth[:, i]) for i in samples]
    return float(100 * np.mean(errors))


def _field_errors(model: VaporInfiltration, data: xr.Dataset) -> dict[str, float]:
    """Errors of the initial porosity, where it is a learned field and the truth is known."""
    if not isinstance(model.initial_porosity, BoundedField):
        return {}
    if "initial_porosity" not in data:
        return {}
    truth = data["initial_porosity"].to_numpy()
    learned = np.asarray(model.latent(jnp.zeros(())).initial)
    error = float(100 * np.linalg.norm(learned - truth) / np.linalg.norm(truth))
    return {"initial_porosity": error}


def _closure_time(times: Float[np.ndarray, " t"], gain: Float[np.ndarray, " t"]) -> float:
    """Time when the mass gain has slowed to a tenth of its initial rate; NaN if not reached."""
    rates = np.diff(gain) / np.diff(times)
    relative, middle = rates / rates[0], 0.5 * (times[1:] + times[:-1])
    slow = np.flatnonzero(relative < _CLOSED)
    if len(slow) == 0 or slow[0] == 0:
        return float("nan")
    around = slice(slow[0] - 1, slow[0] + 1)
    # between the last faster interval and the first slower one
    return float(np.interp(-_CLOSED, -relative[around], middle[around]))


def _visited(data: Data, settings: Any) -> tuple[float, float]:
    """Range of porosity in the training specimens while observed."""
    training = data.of(data.training)
    observed = up_to(training["time"].to_numpy(), observation_times(settings)[-1])
    seen = training["porosity"].to_numpy()[:, observed]
    return float(seen.min()), float(seen.max())


def _curve(
    law: Law,
    fitted: Fitted,
    loss: TrajectoryLoss,
    truth: VaporInfiltration,
    prior: VaporInfiltration,
    data: Data,
    settings: Any,
) -> ClosureCurve:
    lowest, highest = _visited(data, settings)
    inside = jnp.linspace(lowest, highest, _POINTS)
    learned, true = (np.asarray(law.of(model, inside)) for model in (fitted.model, truth))
    error = float(100 * np.linalg.norm(learned - true) / np.linalg.norm(true))
    x = jnp.linspace(0.01, highest, _POINTS)
    return ClosureCurve(
        name=law.label,
        argument_label="porosity",
        x=np.asarray(x),
        learned=np.asarray(law.of(fitted.model, x)),
        truth=np.asarray(law.of(truth, x)),
        prior=np.asarray(law.of(prior, x)),
        visited=(lowest, highest),
        relative_l2_percent=error,
        standard_error=_standard_error(law, fitted, loss, x),
    )


def _standard_error(
    law: Law, fitted: Fitted, loss: TrajectoryLoss, x: Float[Array, " n"]
) -> Float[np.ndarray, " n"] | None:
    """Standard error of the law at x, by the covariance of all parameters; None if unknown."""
    known = fitted.linearization
    if known is None:
        return None
    posterior = laplace(fitted.model, loss, freeze=fitted.frozen, linearization=known)
    error = np.asarray(posterior.standard_deviation(lambda model: law.of(model, x)))
    return error if np.isfinite(error).all() else None


def _series(
    settings: Any,
    data: Data,
    loss: TrajectoryLoss,
    found: Mapping[str, np.ndarray],
    true: Mapping[str, np.ndarray],
    gain: Mapping[str, np.ndarray],
) -> dict[str, list[Series]]:
    training, times = data.training, data.dataset["time"].to_numpy()
    plant = loss.observe
    assert isinstance(plant, Measurements)
    measured = plant.split(loss.values, len(training))
    errors = {part.name: np.asarray(part.standard_deviation) for part in plant.parts}
    weighed = weighing_times(settings)
    panels = {
        "mass gain, mean porosity lost": [
            Series(
                label=_label(settings, data.dataset, i),
                times=times,
                predicted=gain["m"][:, i],
                truth=gain["t"][:, i],
                measured_times=weighed,
                measured=measured[MASS][:, k, 0],
                standard_deviation=errors[MASS] if settings.observations.noise else None,
            )
            for k, i in enumerate(training)
        ]
    }
    if THERMOCOUPLES not in measured:
        return panels
    (probes,) = (part.operator for part in plant.parts if part.name == THERMOCOUPLES)
    assert isinstance(probes, Probes)
    reference = settings.physics.heat.reference
    for k, i in enumerate(training):
        read = {
            name: reference * np.asarray(probes(jnp.asarray(of["temperature"][:, i])))
            for name, of in (("m", found), ("t", true))
        }
        panels[f"temperature in K, {_label(settings, data.dataset, i)}"] = [
            Series(
                label=f"at {', '.join(f'{x:g}' for x in probes.positions[j])}",
                times=times,
                predicted=read["m"][:, j],
                truth=read["t"][:, j],
                measured_times=weighed,
                measured=measured[THERMOCOUPLES][:, k, j],
                standard_deviation=errors[THERMOCOUPLES],
            )
            for j in range(probes.count)
        ]
    return panels


def _differs(data: xr.Dataset) -> str:
    """The condition that distinguishes specimens: the heater's temperature if that varies."""
    heater = conditions_of(data).get("heater")
    return "phi2" if heater is None or np.ptp(heater) == 0 else "heater"


def _condition(settings: Any, data: xr.Dataset) -> tuple[Float[np.ndarray, " n"], str]:
    """Values of that condition, the heater's in K, and their label."""
    name = _differs(data)
    values = conditions_of(data)[name]
    if name == "heater":
        return values * settings.physics.heat.reference, "temperature of the heater in K"
    return values, "phi^2"


def _label(settings: Any, data: xr.Dataset, sample: int) -> str:
    values, label = _condition(settings, data)
    short = "phi^2 = {:.3g}" if label == "phi^2" else "heater {:.0f} K"
    return short.format(values[sample])


def _sweep(settings: Any, data: Data, trapped: Mapping[str, np.ndarray]) -> Sweep:
    values, label = _condition(settings, data.dataset)
    return Sweep(
        name="trapped_porosity",
        x=values,
        predicted=trapped["m"],
        truth=trapped["t"],
        x_label=label,
        y_label=f"mean porosity at t = {float(data.dataset['time'][-1]):g}",
        trained_x=tuple(float(values[i]) for i in data.training),
        log_x=label == "phi^2",
    )


def _fields(data: xr.Dataset, fields: Mapping[str, np.ndarray], sample: int) -> xr.Dataset:
    axes = axes_of(data)
    coordinates = {name: data[name].to_numpy() for name in ("time", *axes)}
    return xr.Dataset(
        {
            name: (("time", *axes), values[:, sample], ATTRIBUTES[name])
            for name, values in fields.items()
        },
        {
            name: (name, values, described(name, name, ATTRIBUTES))
            for name, values in coordinates.items()
        },
    )


def _readable(name: str) -> str:
    """A parameter's name in words."""
    for place, word in _WORDS.items():
        name = name.replace(place, word)
    return name


def _lines(told: Identifiability | None, metrics: Mapping[str, Any]) -> list[str]:
    lines = [f"gas in and solid deposited agree to {metrics['balance']['max_imbalance']:.1e}"]
    return lines + ([f"parameters: {told.weakest()}"] if told is not None else [])
