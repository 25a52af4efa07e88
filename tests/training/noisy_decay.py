"""A model with two unknown numbers and noisy data, small enough to be trained in a second."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import impindiff as ipd
from impindiff.training import Callbacks, FitOptions, Fitted, TrajectoryLoss, fit

TIMES = (0.0, 0.1, 0.2, 0.3, 0.4)


class Decay(ipd.HybridModel):
    """du/dt = -rate u + source on a line of cells."""

    grid: ipd.Grid
    rate: jax.Array
    source: jax.Array

    def tendency(self, t, u, latent):
        return -self.rate * u + self.source


def model(rate=1.0, source=0.0):
    grid = ipd.Grid((0.0,), (1.0,), (3,))
    return Decay(grid, jnp.asarray(rate), jnp.asarray(source))


def loss(noise=0.05, **fields):
    u0 = np.array([[1.0, 2.0, 3.0], [2.0, 0.5, 1.0]])
    t = np.array(TIMES[1:])[:, None, None]
    exact = 0.25 + (u0 - 0.25) * np.exp(-2.0 * t)
    values = exact + noise * np.random.default_rng(0).normal(size=exact.shape)
    given: dict[str, Any] = {
        "u0": jnp.asarray(u0),
        "times": TIMES,
        "values": jnp.asarray(values),
        "observe": lambda u: u[1:],
        "stepper": ipd.RK4(),
        "dt": 0.05,
    }
    return TrajectoryLoss(**given | fields)


def train(
    folder,
    optimizer,
    steps=20,
    of_model=None,
    of_loss=None,
    *,
    log_every=1,
    save_every=5,
    callbacks: Callbacks = Callbacks(),
    resume=False,
    **options: Any,
) -> Fitted[Any]:
    of_model = model() if of_model is None else of_model
    of_loss = loss() if of_loss is None else of_loss
    given = FitOptions(steps=steps, log_every=log_every, save_every=save_every, **options)
    return fit(of_model, of_loss, optimizer, folder, given, callbacks=callbacks, resume=resume)
