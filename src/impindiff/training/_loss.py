"""The training objective: least-squares misfit of a rollout, plus regularisation."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from impindiff.errors import InputError
from impindiff.observations.walls import of_model
from impindiff.preconditioners import AutomaticChoice, asks_for_choice
from impindiff.rollout import (
    AbstractCheckpointing,
    AdaptiveStep,
    Rollout,
    StoreStates,
    declared_jumps,
    number_of_steps,
    rollout,
    with_automatic_choice,
)
from impindiff.rollout.samples import find_batch_ndim
from impindiff.steppers import AbstractStepper, HybridModel


class TrajectoryLoss(eqx.Module):
    """Relative mean square misfit of a rollout at the observations, plus an optional penalty.

    L(model) = ||w (H u - y)||^2 / ||w y||^2 + R(model): a misfit of 0.01 means an error of 10 % of
    the observations' root mean square.

    - `u0`: initial states, (samples, *cells) or a pytree of such; or one state without the axis
      of samples, as `rollout` takes it, and then `observe` takes states without it too.
    - `times`: that of u0, then the observation times.
    - `values`: y, the observed values, of any shape.
    - `observe`: H, from the states at all of `times`, the initial ones first, (times, samples,
      *cells) or a pytree of such, to an array of the shape of `values`: `AtTimes`,
      `SpaceTimePoints`, `ScatteredPoints`, `Measurements`, or any callable. If it has a method
      `of_model`, the operator follows the current model, whose boundary values may be learned.
    - `stepper`, `dt`, `checkpointing`: as in `rollout`.
    - `penalty`: R, a prior such as `SlowChange`; none by default.
    - `prior`: a prior as residuals, such as `GaussianPrior`: they are appended to w (H u - y), in
      the same units, so they apply to least-squares methods and standard errors too.
    - `weights`: w, of the shape of `values`; None: 1. Values of weight 0 are ignored, even NaN.
    - `halving`: build in the halving of failed steps (see `rollout`).
    - `jump_times`: as in `rollout`; default those that the model declares.
    - `simulate`: integrator (model, u0, times) -> `Rollout` in place of `rollout`, such as another
      package's solver or an emulator.
    - `prepare`: maps the model to (the model with sample-specific values, u0), where conditions
      differ between samples or the initial state is unknown too; the rollout uses these. None: the
      model, and `u0` unchanged.
    """

    u0: PyTree[Float[Array, "..."]]
    times: tuple[float, ...] = eqx.field(static=True)
    values: Float[Array, "..."]
    observe: Callable[..., Any]
    stepper: AbstractStepper
    dt: float | AdaptiveStep = eqx.field(static=True)
    checkpointing: AbstractCheckpointing = eqx.field(static=True, default=StoreStates())
    penalty: Callable[[HybridModel], Float[Array, ""]] | None = None
    halving: bool = eqx.field(static=True, default=False)
    prepare: Callable[[Any], tuple[HybridModel, PyTree]] | None = None
    prior: Callable[[Any], Float[Array, " residuals"]] | None = None
    weights: Float[Array, "..."] | None = None
    jump_times: tuple[float, ...] | None = eqx.field(static=True, default=None)
    simulate: Callable[[Any, PyTree, tuple[float, ...]], Rollout] | None = None

    def misfit(
        self, model: Any, probe: Float[Array, "steps samples"] | None
    ) -> tuple[Float[Array, " residuals"], Rollout]:
        """(w (H u - y) / ||w y|| flattened, and the prior; the rollout with its statistics)."""
        result = self.trajectory(model, probe)
        residuals = self._difference(result, self.prepared(model))
        if self.prior is not None:
            residuals = jnp.append(residuals, self.prior(model))
        return residuals / self.size(), result

    def forwards(self) -> "TrajectoryLoss":
        """The same loss for derivatives in forward mode, which store no states.

        A `simulate` that has only reverse mode offers its other self by a method `forwards`.
        """
        simulate = getattr(self.simulate, "forwards", lambda: self.simulate)()
        return dataclasses.replace(self, checkpointing=StoreStates(), simulate=simulate)

    def with_automatic_choice(self, model: Any) -> tuple["TrajectoryLoss", AutomaticChoice | None]:
        """(the loss with the preconditioner that "auto" stands for at this model, the choice).

        Not inside `jax.jit`. None: the stepper does not ask for one, or is not used.
        """
        if self.simulate is not None or not asks_for_choice(self.stepper):
            return self, None
        prepared, u0 = (model, self.u0) if self.prepare is None else self.prepare(model)
        jumps = declared_jumps(prepared, self.jump_times)
        stepper, choice = with_automatic_choice(
            self.stepper, prepared, u0, np.asarray(self.times), self.dt, jump_times=jumps
        )
        return dataclasses.replace(self, stepper=stepper), choice

    def at(self, result: Rollout, prepared: Any) -> Float[Array, ""]:
        """The misfit alone, ||w (H u - y)||^2 / ||w y||^2, of a known rollout.

        - `prepared`: the rollout's model, see `prepared` of the loss that made it.
        """
        return jnp.sum((self._difference(result, prepared) / self.size()) ** 2)

    def number_of_observations(self) -> int:
        """Number of values with a weight other than 0; not inside `jax.jit`."""
        return self.values.size if self.weights is None else int(np.count_nonzero(self.weights))

    def number_of_residuals(self, model: Any) -> int:
        """The length of the misfit."""
        if self.prior is None:
            return self.values.size
        return self.values.size + eqx.filter_eval_shape(self.prior, model).size

    def residuals_that_count(self, residuals: int) -> Bool[np.ndarray, " residuals"]:
        """Mask of a misfit's entries, `residuals` in all, that weigh; not inside `jax.jit`."""
        counts = np.ones(residuals, bool)
        if self.weights is not None:
            counts[: self.values.size] = np.ravel(np.asarray(self.weights)) != 0
        return counts

    def _difference(self, result: Rollout, prepared: Any) -> Float[Array, " observations"]:
        found = of_model(self.observe, prepared)(result.u)
        if jnp.shape(found) != jnp.shape(self.values):
            raise InputError(
                f"loss: observe gives an array of shape {jnp.shape(found)}, but the values have "
                f"shape {jnp.shape(self.values)}; give one value for each that is observed"
            )
        return jnp.ravel(self._weighted(found - self.values))

    def prepared(self, model: Any) -> Any:
        """The model whose rollout is observed."""
        return model if self.prepare is None else self.prepare(model)[0]

    def size(self) -> Float[Array, ""]:
        """The size ||w y|| of the weighted values, over which residuals are reported."""
        return jnp.sqrt(jnp.sum(self._weighted(self.values) ** 2))

    def _weighted(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if self.weights is None:
            return x
        return jnp.where(self.weights == 0, 0.0, self.weights * x)

    def trajectory(self, model: Any, probe: Float[Array, "steps samples"] | None) -> Rollout:
        """The trajectory from the initial states to the last of `times`."""
        prepared, u0 = (model, self.u0) if self.prepare is None else self.prepare(model)
        if self.simulate is not None:
            return self.simulate(prepared, u0, self.times)
        return rollout(
            prepared,
            u0,
            np.asarray(self.times),
            stepper=self.stepper,
            dt=self.dt,
            checkpointing=self.checkpointing,
            throw=False,
            probe=probe,
            halving=self.halving,
            jump_times=self.jump_times,
        )

    def __call__(
        self, model: Any, probe: Float[Array, "steps samples"]
    ) -> tuple[Float[Array, ""], Rollout]:
        """(L, the rollout with its statistics); `probe` is passed to the rollout."""
        misfit, result = self.misfit(model, probe)
        total = jnp.sum(misfit**2)
        return (total if self.penalty is None else total + self.penalty(model)), result

    def probe(self, model: Any = None) -> Float[Array, "steps *batch"]:
        """Zeros for the `probe` of `rollout`.

        - `model`: determines whether the initial state has an axis of samples, and the jumps; None:
          it has, and the jumps are those of the loss.
        """
        prepared, u0 = model, self.u0
        if model is not None and self.prepare is not None:
            prepared, u0 = eqx.filter_eval_shape(self.prepare, model)
        axes, jumps = 1, self.jump_times
        if isinstance(prepared, HybridModel):
            axes = find_batch_ndim(prepared, u0)
            jumps = declared_jumps(prepared, self.jump_times)
        first = jax.tree.leaves(u0)[0]
        return jnp.zeros((self._steps(jumps), *first.shape[:axes]), first.dtype)

    def _steps(self, jumps: Sequence[float] | None) -> int:
        return number_of_steps(np.asarray(self.times), self.dt, jumps)
