"""What training makes small."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.rollout import (
    AbstractCheckpointing,
    AdaptiveStep,
    Rollout,
    StoreStates,
    number_of_steps,
    rollout,
)
from impindiff.steppers import AbstractStepper, HybridModel


class TrajectoryLoss(eqx.Module):
    """The relative mean square misfit of a rollout at the observations, and a penalty if given.

    L(model) = ||H u - y||^2 / ||y||^2 + R(model): a misfit of 0.01 means an error of 10 % of the
    observations' root mean square.

    - `u0`: initial states, (samples, *cells) or a pytree of such.
    - `times`: that of u0, then the observation times.
    - `values`: y, what was observed, of any shape.
    - `observe`: H, which takes the states at all but the first of `times`, (times, samples,
      *cells) or a pytree of such, to an array of the shape of `values`: `Sensors`,
      `SpaceTimePoints`, `Measurements`, or any callable.
    - `stepper`, `dt`, `checkpointing`: as in `rollout`.
    - `penalty`: R, a prior such as `SlowChange`; none by default.
    - `prior`: a prior as residuals, such as `GaussianPrior`: they are appended to H u - y, in the
      same units, and so reach least-squares methods and standard errors too.
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

    def misfit(
        self, model: Any, probe: Float[Array, "steps samples"] | None
    ) -> tuple[Float[Array, " observations"], Rollout]:
        """((H u - y) / ||y|| in a row, and the prior; the rollout with its statistics)."""
        result = self.trajectory(model, probe)
        difference = jnp.ravel(self.observe(jax.tree.map(lambda x: x[1:], result.u)) - self.values)
        if self.prior is not None:
            difference = jnp.append(difference, self.prior(model))
        return difference / jnp.sqrt(jnp.sum(self.values**2)), result

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

    def probe(self) -> Float[Array, "steps samples"]:
        """The zeros that `rollout` takes as its probe."""
        steps = number_of_steps(np.asarray(self.times), self.dt)
        first = jax.tree.leaves(self.u0)[0]
        return jnp.zeros((steps, first.shape[0]), first.dtype)
