"""Small models that the rollout tests share, so that they also share compiled programs."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from impindiff.grid import Grid
from impindiff.operators import advection, diffusion
from impindiff.steppers import HybridModel

GRID = Grid(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(8, 4))
TIMES = np.asarray([0.0, 0.05, 0.2, 0.25])


class AdvectionDiffusion(HybridModel):
    """du/dt = -div(v u) + div(D grad u), with v the curl of a potential that is learned."""

    grid: Grid
    potential: Array
    diffusivity: Array

    def latent(self, t):
        del t
        hx, hy = self.grid.spacing
        along_y = jnp.roll(self.potential, -1, 1) - jnp.roll(self.potential, 1, 1)
        along_x = jnp.roll(self.potential, -1, 0) - jnp.roll(self.potential, 1, 0)
        return jnp.stack([along_y / (2 * hy), -along_x / (2 * hx)])

    def tendency(self, t, u, latent):
        del t
        spread = diffusion(u, self.diffusivity, self.grid)
        return advection(u, latent, self.grid, scheme="upwind") + spread


def transport(seed: int = 0) -> AdvectionDiffusion:
    potential = 0.2 * jax.random.normal(jax.random.key(seed), GRID.shape)
    return AdvectionDiffusion(GRID, potential, jnp.asarray(0.02))


def blobs(*batch: int, seed: int = 1) -> Array:
    return jax.random.uniform(jax.random.key(seed), (*batch, *GRID.shape))


class Decay(HybridModel):
    """u' = -latent u^3, the coefficient supplied by any callable of time."""

    coefficient: Any = eqx.field(static=True)

    def latent(self, t):
        return self.coefficient(t)

    def tendency(self, t, u, latent):
        del t
        return -latent * u**3


class TwoGases(HybridModel):
    """Two named fields that react with each other."""

    rate: Array

    def tendency(self, t, u, latent):
        del t, latent
        reaction = self.rate * u["fuel"] * u["oxygen"]
        return {"fuel": -reaction, "oxygen": -2 * reaction}
