"""What training makes small."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from impindiff.observations import Sensors
from impindiff.rollout import Rollout, number_of_steps, rollout
from impindiff.steppers import AbstractStepper, HybridModel


class TrajectoryLoss(eqx.Module):
    """The relative mean square misfit of a rollout at the observations.

    L(model) = sum_{t, s, i} (H u_s(t) - y_{t s i})^2 / sum y^2, over observation times t, samples s
    and sensors i: 0.01 means an error of 10 % of the observations' root mean square.

    - `u0`: initial states, (samples, *cells).
    - `times`: that of u0, then the observation times.
    - `values`: what was observed, (observation times, samples, sensors).
    - `sensors`: H, which cells were observed.
    - `stepper`, `dt`: as in `rollout`.
    """

    u0: Float[Array, "samples *cells"]
    times: tuple[float, ...] = eqx.field(static=True)
    values: Float[Array, "observations samples sensors"]
    sensors: Sensors
    stepper: AbstractStepper
    dt: float = eqx.field(static=True)

    def __call__(
        self, model: HybridModel, probe: Float[Array, "steps samples"]
    ) -> tuple[Float[Array, ""], Rollout]:
        """(L, the rollout with its statistics); `probe` is handed to the rollout."""
        result = rollout(
            model,
            self.u0,
            np.asarray(self.times),
            stepper=self.stepper,
            dt=self.dt,
            throw=False,
            probe=probe,
        )
        misfit = self.sensors(result.u[1:]) - self.values
        return jnp.sum(misfit**2) / jnp.sum(self.values**2), result

    def probe(self) -> Float[Array, "steps samples"]:
        """The zeros that `rollout` takes as its probe."""
        steps = number_of_steps(np.asarray(self.times), self.dt)
        return jnp.zeros((steps, self.u0.shape[0]), self.u0.dtype)
