"""RK4's stages are a loop: chained stencils would be fused, and computed many times over."""

import jax
import jax.numpy as jnp

import impindiff as ipd
from impindiff.steppers import RK4, HybridModel


class Decay(HybridModel):
    def tendency(self, t, u, latent):
        return jnp.cos(t) - jnp.sinh(u)


def test_the_tendency_stands_in_the_program_once():
    def run(u0):
        return ipd.rollout(Decay(), u0, [0.0, 0.1], dt=0.1, stepper=RK4(), throw=False).u

    assert str(jax.make_jaxpr(run)(jnp.ones(3))).count("sinh") == 1
