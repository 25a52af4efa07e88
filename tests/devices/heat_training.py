"""A small problem to be trained over devices: one unknown number in a heat equation."""

import jax
import jax.numpy as jnp
import numpy as np
import optax

import impindiff as ipd
from impindiff.training import FitOptions, TrajectoryLoss, fit


class Spreading(ipd.HybridModel):
    grid: ipd.Grid
    D: ipd.Parameter

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.D(), self.grid)


def train(folder, steps, **given):
    """Four steps or so of Adam, each logged and saved."""
    jax.config.update("jax_enable_x64", True)
    grid = ipd.Grid((0, 0), (1, 1), (16, 8))
    x = np.asarray(grid.centers)
    u0 = jnp.asarray(np.stack([np.sin(2 * np.pi * x[0]), np.cos(2 * np.pi * x[1])]))
    stepper = ipd.BackwardEuler(
        solver=ipd.NewtonKrylov(rtol=1e-13, atol=1e-15), adjoint=ipd.ImplicitAdjoint(rtol=1e-12)
    )
    loss = TrajectoryLoss(u0, (0.0, 0.1), 0.1 * u0[None], lambda u: u[1:], stepper, 0.05)
    model, optimizer = Spreading(grid, ipd.Parameter(0.05)), optax.adam(0.1)
    options = FitOptions(steps=steps, log_every=1, save_every=1)
    fit(model, loss, optimizer, folder, options, **given)
