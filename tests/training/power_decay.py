"""A model with two unknown numbers, which few steps of a second-order method find."""

import jax
import jax.numpy as jnp

import impindiff as ipd

RATE, POWER = 2.0, 1.5
TIMES = (0.0, 0.1, 0.25, 0.5)


class PowerDecay(ipd.HybridModel):
    """du/dt = -exp(a) u^p: the rate and the exponent are unknown."""

    grid: ipd.Grid
    a: jax.Array
    p: jax.Array

    def tendency(self, t, u, latent):
        return -jnp.exp(self.a) * u**self.p


def model(a=0.0, p=1.0):
    return PowerDecay(ipd.Grid((0.0,), (1.0,), (8,)), jnp.asarray(a), jnp.asarray(p))
