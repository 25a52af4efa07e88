"""What training makes small."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, PyTree

from impindiff.rollout import (
    AbstractCheckpointing,
    AdaptiveStep,
    Rollout,
    StoreStates,
    number_of_steps,
    rollout,
)
from impindiff.rollout.samples import find_batch_ndim
from impindiff.steppers import AbstractStepper, HybridModel


class TrajectoryLoss(eqx.Module):
    """The relative mean square misfit of a rollout at the observations, and a penalty if given.

    L(model) = ||w (H u - y)||^2 / ||w y||^2 + R(model): a misfit of 0.01 means an error of 10 % of
    the observations' root mean square.

    - `u0`: initial states, (samples, *cells) or a pytree of such; or one state without the axis
      of samples, as `rollout` takes it, and then `observe` takes states without it too.
    - `times`: that of u0, then the observation times.
    - `values`: y, what was observed, of any shape.
    - `observe`: H, which takes the states at all but the first of `times`, (times, samples,
      *cells) or a pytree of such, to an array of the shape of `values`: `Sensors`,
      `SpaceTimePoints`, `Measurements`, or any callable.
    - `stepper`, `dt`, `checkpointing`: as in `rollout`.
    - `penalty`: R, a prior such as `SlowChange`; none by default.
    - `prior`: a prior as residuals, such as `GaussianPrior`: they are appended to w (H u - y), in
      the same units, and so reach least-squares methods and standard errors too.
    - `weights`: w, of the shape of `values`; None: 1. What weighs 0 is not looked at, be it NaN.
    - `halving`: build the halving of failed steps in (see `rollout`).
    - `prepare`: takes the model to (the model with what is each sample's own in it, u0), where
      conditions differ between samples or the initial state is unknown too; the rollout is of that.
      None: the model, and `u0` as it is.
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

    def misfit(
        self, model: Any, probe: Float[Array, "steps samples"] | None
    ) -> tuple[Float[Array, " residuals"], Rollout]:
        """(w (H u - y) / ||w y|| in a row, and the prior; the rollout with its statistics)."""
        result = self.trajectory(model, probe)
        residuals = self._difference(result)
        if self.prior is not None:
            residuals = jnp.append(residuals, self.prior(model))
        return residuals / self._size(), result

    def at(self, result: Rollout) -> Float[Array, ""]:
        """The misfit alone, ||w (H u - y)||^2 / ||w y||^2, of a rollout that is known already."""
        return jnp.sum((self._difference(result) / self._size()) ** 2)

    def number_of_observations(self) -> int:
        """How many values weigh more than nothing; not to be asked inside `jax.jit`."""
        return self.values.size if self.weights is None else int(np.count_nonzero(self.weights))

    def number_of_residuals(self, model: Any) -> int:
        """The length of the misfit."""
        return eqx.filter_eval_shape(lambda m: self.misfit(m, None)[0], model).size

    def residuals_that_count(self, residuals: int) -> Bool[np.ndarray, " residuals"]:
        """Which of so many entries of the misfit weigh; not to be asked inside `jax.jit`."""
        counts = np.ones(residuals, bool)
        if self.weights is not None:
            counts[: self.values.size] = np.ravel(np.asarray(self.weights)) != 0
        return counts

    def _difference(self, result: Rollout) -> Float[Array, " observations"]:
        found = self.observe(jax.tree.map(lambda x: x[1:], result.u))
        return jnp.ravel(self._weighted(found - self.values))

    def _size(self) -> Float[Array, ""]:
        return jnp.sqrt(jnp.sum(self._weighted(self.values) ** 2))

    def _weighted(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        if self.weights is None:
            return x
        return jnp.where(self.weights == 0, 0.0, self.weights * x)

    def trajectory(self, model: Any, probe: Float[Array, "steps samples"] | None) -> Rollout:
        """What the model makes of the initial states until the last of `times`."""
        prepared, u0 = (model, self.u0) if self.prepare is None else self.prepare(model)
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
        )

    def __call__(
        self, model: Any, probe: Float[Array, "steps samples"]
    ) -> tuple[Float[Array, ""], Rollout]:
        """(L, the rollout with its statistics); `probe` is handed to the rollout."""
        misfit, result = self.misfit(model, probe)
        total = jnp.sum(misfit**2)
        return (total if self.penalty is None else total + self.penalty(model)), result

    def probe(self, model: Any = None) -> Float[Array, "steps *batch"]:
        """The zeros that `rollout` takes as its probe.

        - `model`: from which it is seen whether the initial state has an axis of samples; None: it
          has.
        """
        u0, axes = self.u0, 1
        if isinstance(model, HybridModel):
            if self.prepare is not None:
                model, u0 = eqx.filter_eval_shape(self.prepare, model)
            axes = find_batch_ndim(model, u0)
        first = jax.tree.leaves(u0)[0]
        return jnp.zeros((self._steps(), *first.shape[:axes]), first.dtype)

    def _steps(self) -> int:
        return number_of_steps(np.asarray(self.times), self.dt)
