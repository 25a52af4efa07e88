"""What decays at an unknown rate from an unknown amplitude, for tests of a whole run."""

from typing import Any

import jax.numpy as jnp

import impindiff as ipd

GRID = ipd.Grid((0.0,), (1.0,), (8,))


class Decay(ipd.HybridModel):
    grid: ipd.Grid
    rate: ipd.Parameter
    amplitude: ipd.Parameter

    def latent(self, t):
        return {"sink": jnp.full(self.grid.cells, self.rate())}

    def tendency(self, t, u, latent):
        return {"c": -latent["sink"] * u["c"]}


class DecayProblem(ipd.Problem):
    """What decays at an unknown rate from an unknown amplitude."""

    dataset: Any = None

    def model(self, settings, key):
        return Decay(GRID, ipd.Parameter(1.0, lower=0.0), ipd.Parameter(0.7, lower=0.0))

    def initial_state(self, settings, model, data):
        return {"c": model.amplitude() * jnp.ones(GRID.cells)}

    def data(self, settings):
        return self.dataset
