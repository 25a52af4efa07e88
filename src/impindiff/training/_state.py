"""The training state, and data shared by training steps and their loop."""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.rollout import Rollout
from impindiff.training._algorithm import Algorithm
from impindiff.training._loss import TrajectoryLoss


class Totals(eqx.Module):
    """Solver statistics accumulated over all training steps."""

    solves: Float[Array, "..."]
    iterations: Float[Array, "..."]
    linear_iterations: Float[Array, "..."]
    failed_solves: Float[Array, "..."]
    max_residual: Float[Array, "..."]
    max_adjoint_residual: Float[Array, "..."]

    @classmethod
    def zero(cls) -> "Totals":
        """Statistics before the first step."""
        return cls(*(jnp.zeros(()) for _ in range(6)))

    def add(self, result: Rollout, adjoint_residual: Float[Array, "steps samples"]) -> "Totals":
        """Add one more rollout and its backward pass."""
        stats = result.stats
        dtype = self.solves.dtype
        return Totals(
            self.solves + stats.converged.size,
            self.iterations + jnp.sum(stats.iterations).astype(dtype),
            self.linear_iterations + jnp.sum(stats.linear_iterations).astype(dtype),
            self.failed_solves + jnp.sum(~stats.converged).astype(dtype),
            jnp.maximum(self.max_residual, jnp.max(stats.residual).astype(dtype)),
            jnp.maximum(self.max_adjoint_residual, jnp.max(adjoint_residual).astype(dtype)),
        )

    def of_all(self) -> "Totals":
        """Combine all members of an ensemble."""
        return Totals(
            jnp.sum(self.solves),
            jnp.sum(self.iterations),
            jnp.sum(self.linear_iterations),
            jnp.sum(self.failed_solves),
            jnp.max(self.max_residual),
            jnp.max(self.max_adjoint_residual),
        )


class Best(eqx.Module):
    """The smallest loss so far: of the validation set if there is one, else of training.

    - `loss`: infinite before the first step.
    - `step`: number of updates of its parameters.
    - `parameters`: None if not kept.
    - `stalled`: True once it has not decreased for `patience` steps.
    """

    loss: Array
    step: Array
    parameters: PyTree[Any]
    stalled: Array

    @classmethod
    def none(cls, parameters: PyTree[Any]) -> "Best":
        """The value before the first step."""
        return cls(jnp.asarray(jnp.inf), jnp.zeros((), jnp.int32), parameters, jnp.zeros((), bool))

    def updated(
        self, loss: Array, step: Array, parameters: PyTree[Any], patience: int | None
    ) -> "Best":
        """Update by the loss of parameters after `step` updates; a NaN is never the smallest."""
        loss = loss.astype(self.loss.dtype)
        better = loss < self.loss
        best = jnp.where(better, step, self.step)
        return Best(
            loss=jnp.where(better, loss, self.loss),
            step=best,
            parameters=None
            if self.parameters is None
            else jax.tree.map(
                lambda new, old: jnp.where(better, new, old), parameters, self.parameters
            ),
            stalled=self.stalled if patience is None else step - best >= patience,
        )


class TrainingState(eqx.Module):
    """All inputs of the next step, and data for the run's metrics; arrays only.

    - `loss`, `validation`: at the parameters before the last update; after it for
      `LevenbergMarquardt` and Optimistix's methods. `validation` is None without one.
    - `best`: None if neither patience nor the best weights need it.
    """

    parameters: PyTree[Any]
    optimizer: PyTree[Any]
    step: Array
    seconds: Array
    loss: Array
    finished: Array
    totals: Totals
    validation: Array | None = None
    best: Best | None = None


class StepReport(NamedTuple):
    """Report of a training step, besides the next state.

    - `gradient_norm`: None for Optimistix's methods, some of which compute no gradient.
    - `taken`: False for a rejected trial of Levenberg-Marquardt.
    - `broken`: True if an Optimistix method cannot continue.
    """

    rollout: Rollout
    adjoint_residual: Array
    gradient_norm: Array | None
    taken: Array
    broken: Array | None = None


class Job(eqx.Module):
    """Constants of all training steps.

    - `static`: the part of the model that is not trained.
    - `own`: of an ensemble, frozen arrays specific to each member; None otherwise.
    - `validation`: the validation loss, computed from the rollout of `loss`.
    - `patience`: steps without a smaller loss after which training ends; None: never.
    - `keep_best`: keep the parameters of the smallest loss.
    - `watching`: track the smallest loss; not before the last stage of a curriculum.
    """

    static: Any
    loss: TrajectoryLoss
    algorithm: Algorithm
    validation: TrajectoryLoss | None = None
    patience: int | None = eqx.field(static=True, default=None)
    keep_best: bool = eqx.field(static=True, default=False)
    watching: bool = eqx.field(static=True, default=True)
    own: Any = None

    def model(self, parameters: PyTree[Any]) -> Any:
        """The model with these parameters."""
        return eqx.combine(parameters, self.fixed())

    def fixed(self) -> Any:
        """All of the model that is not trained."""
        return self.static if self.own is None else eqx.combine(self.own, self.static)

    def start(self, parameters: PyTree[Any]) -> TrainingState:
        """The state before the first step, of the types that a step returns.

        A weakly typed scalar (a Python number made an array) would cause a second compilation.
        """
        watched = self.patience is not None or self.keep_best
        state = TrainingState(
            parameters=parameters,
            optimizer=self.algorithm.start(parameters, self.loss, self.fixed()),
            step=jnp.zeros((), jnp.int32),
            seconds=jnp.zeros(()),
            loss=jnp.asarray(jnp.inf),
            finished=jnp.zeros((), bool),
            totals=Totals.zero(),
            validation=None if self.validation is None else jnp.asarray(jnp.inf),
            best=Best.none(parameters if self.keep_best else None) if watched else None,
        )
        return jax.tree.map(lambda leaf: jnp.asarray(leaf, leaf.dtype), state)

    def start_all(self, parameters: PyTree[Any]) -> TrainingState:
        """Initial state for the stacked parameters of an ensemble."""
        return over_members(lambda parameters, job: job.start(parameters), parameters, self)


def member(stacked: PyTree[Any], i: int) -> Any:
    """Select member i of an ensemble from arrays stacked along the leading axis."""
    return jax.tree.map(lambda leaf: leaf[i] if eqx.is_array(leaf) else leaf, stacked)


def over_members(function: Any, stacked: PyTree[Any], job: Job) -> Any:
    """Map `function(stacked, job)` over the members of an ensemble, along the leading axis."""

    def of_member(one, own):
        return function(one, dataclasses.replace(job, own=own))

    return eqx.filter_vmap(of_member, in_axes=eqx.if_array(0))(stacked, job.own)
