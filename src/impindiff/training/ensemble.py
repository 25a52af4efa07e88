"""Several models at once: what their disagreement tells of how well the data determine them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.rollout import Rollout, failure_of, rollout
from impindiff.training.algorithm import Optimizer
from impindiff.training.fit import Fitted, fit
from impindiff.training.loss import TrajectoryLoss
from impindiff.training.resources import TrainingError

M = TypeVar("M", bound=eqx.Module)


class Ensemble(eqx.Module, Generic[M]):
    """Models of one kind that differ in their numbers only.

    - `stacked`: a model whose floating-point arrays have a leading axis of members.
    - `size`: how many.
    """

    stacked: M
    size: int = eqx.field(static=True)

    @classmethod
    def of(cls, models: Sequence[M]) -> "Ensemble[M]":
        """What else than floating-point arrays the models hold is taken from the first.

        Raises `InputError` for fewer than two, and for models of another structure.
        """
        if len(models) < 2:
            raise InputError(f"ensemble: {len(models)} model(s); give two at least")
        parameters, rest = zip(
            *(eqx.partition(model, eqx.is_inexact_array) for model in models), strict=True
        )
        try:
            stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *parameters)
        except ValueError as error:
            raise InputError(f"ensemble: the models are not of one structure ({error})") from None
        return cls(eqx.combine(stacked, rest[0]), len(models))

    @property
    def members(self) -> list[M]:
        """One by one."""
        parameters, rest = eqx.partition(self.stacked, eqx.is_inexact_array)
        return [
            eqx.combine(jax.tree.map(lambda leaf: leaf[i], parameters), rest)  # noqa: B023
            for i in range(self.size)
        ]


def fit_ensemble(
    models: Sequence[M],
    loss: TrajectoryLoss,
    optimizer: Optimizer,
    folder: Path,
    **options: Any,
) -> Fitted[Ensemble[M]]:
    """Train all models at once, as `fit` trains one; the options are those of `fit`.

    One compiled program does a step of all of them. Each has its own optimiser state, best weights
    and patience, and ends with what it would have ended with alone, to round-off; the training
    ends when all have. `identified` and `evaluate` are called with the ensemble. `final_loss` and
    `validation_loss` are means over the members. A member that fails ends the training with an
    error that names it.
    """
    ensemble = Ensemble.of(models)
    for name in ("evaluate", "identified"):
        function = options.get(name)
        if function is not None:
            options[name] = _of_ensemble(function, ensemble.size)
    fitted = fit(ensemble.stacked, loss, optimizer, folder, members=ensemble.size, **options)
    return dataclasses.replace(fitted, model=Ensemble(fitted.model, ensemble.size))


def ensemble_forecast(
    ensemble: Ensemble[Any] | Sequence[Any], u0: PyTree, times: Any, **options: Any
) -> tuple[PyTree, PyTree]:
    """(mean, standard deviation) over the members of their trajectories from `u0`, by `rollout`.

    - `ensemble`: an `Ensemble`, or a list of models of one kind.
    - `options`: of `rollout`.

    The deviation tells how far members that fit the data alike disagree: no bound of the error,
    and too small where all of them are wrong alike. Raises `TrainingError` naming a member whose
    forecast fails.
    """
    if not isinstance(ensemble, Ensemble):
        ensemble = Ensemble.of(ensemble)
    found = [
        _forecast(f"member {i}", model, u0, times, options)
        for i, model in enumerate(ensemble.members)
    ]
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *(result.u for result in found))
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), stacked)
    return mean, jax.tree.map(lambda x: jnp.std(x, axis=0, ddof=1), stacked)


def _forecast(name: str, model: Any, u0: PyTree, times: Any, options: Any) -> Rollout:
    result = rollout(model, u0, times, **options, throw=False)
    failure = failure_of(result)
    if failure is not None:
        raise TrainingError(f"{name}: the forecast failed at {failure}", code=failure.code)
    return result


def _of_ensemble(function: Any, size: int) -> Any:
    return lambda stacked: function(Ensemble(stacked, size))
