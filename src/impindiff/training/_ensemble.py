"""Ensembles: several models trained at once, whose spread measures uncertainty."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Generic, TypeVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.rollout import AdaptiveStep, failure_of, rollout
from impindiff.steppers import AbstractStepper
from impindiff.training._algorithm import Optimizer
from impindiff.training._fit import Fitted, fit
from impindiff.training._loss import TrajectoryLoss
from impindiff.training._options import Callbacks, FitOptions
from impindiff.training._resources import TrainingError

M = TypeVar("M", bound=eqx.Module)


class Ensemble(eqx.Module, Generic[M]):
    """Models of one kind that differ in their numbers only.

    - `stacked`: a model whose floating-point arrays have a leading axis of members.
    - `size`: number of members.
    """

    stacked: M
    size: int = eqx.field(static=True)

    @classmethod
    def of(cls, models: Sequence[M]) -> "Ensemble[M]":
        """Stack models; parts other than floating-point arrays come from the first.

        **Raises:** `InputError` for fewer than two, and for models of another structure.
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
        """The models one by one."""
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
    options: FitOptions,
    *,
    callbacks: Callbacks = Callbacks(),
    resume: bool = False,
) -> Fitted[Ensemble[M]]:
    """Train all models at once, as `fit` trains one.

    One compiled program does a step of all of them. Each has its own optimiser state, best weights
    and patience, and the same result as alone, to round-off; the training ends when all have
    finished. The callbacks `evaluate` and `identified` receive the ensemble. `final_loss` and
    `validation_loss` are means over the members. A member that fails ends the training with an
    error that names it.
    """
    ensemble = Ensemble.of(models)
    fitted = fit(
        ensemble.stacked,
        loss,
        optimizer,
        folder,
        options,
        callbacks=dataclasses.replace(
            callbacks,
            evaluate=_of_ensemble(callbacks.evaluate, ensemble.size),
            identified=_of_ensemble(callbacks.identified, ensemble.size),
        ),
        resume=resume,
        members=ensemble.size,
    )
    return dataclasses.replace(fitted, model=Ensemble(fitted.model, ensemble.size))


def ensemble_forecast(
    ensemble: Ensemble[Any] | Sequence[Any],
    u0: PyTree,
    times: Any,
    *,
    stepper: AbstractStepper | None = None,
    dt: float | AdaptiveStep | None = None,
    batch_ndim: int | None = None,
    halving: bool | None = None,
    jump_times: Sequence[float] | None = None,
) -> tuple[PyTree, PyTree]:
    """(mean, standard deviation) over the members of their trajectories from `u0`, by `rollout`.

    The deviation measures the disagreement of members that fit the data equally: no bound of the
    error, and too small where they share a bias.

    **Arguments:**

    - `ensemble`: an `Ensemble`, or a list of models of one kind.
    - others: as in `rollout`.

    **Raises:** `TrainingError` naming a member whose forecast fails.
    """
    if not isinstance(ensemble, Ensemble):
        ensemble = Ensemble.of(ensemble)
    found = []
    for i, model in enumerate(ensemble.members):
        result = rollout(
            model,
            u0,
            times,
            stepper=stepper,
            dt=dt,
            throw=False,
            batch_ndim=batch_ndim,
            halving=halving,
            jump_times=jump_times,
        )
        failure = failure_of(result)
        if failure is not None:
            raise TrainingError(f"member {i}: the forecast failed at {failure}", code=failure.code)
        found.append(result.u)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *found)
    mean = jax.tree.map(lambda x: jnp.mean(x, axis=0), stacked)
    return mean, jax.tree.map(lambda x: jnp.std(x, axis=0, ddof=1), stacked)


def _of_ensemble(function: Any, size: int) -> Any:
    return None if function is None else lambda stacked: function(Ensemble(stacked, size))
