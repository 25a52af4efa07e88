"""One's own model: advection-diffusion whose velocity is a neural field, one training gradient.

python examples/own_model.py
"""

import equinox as eqx
import jax
import jax.numpy as jnp

import impindiff as ipd


class AdvectionDiffusion(ipd.HybridModel):
    grid: ipd.Grid
    velocity: ipd.ConditionalField  # unknown
    diffusivity: float  # known

    def latent(self, t):
        return self.velocity(self.grid, t)

    def tendency(self, t, u, latent):
        return ipd.advection_diffusion(u, latent, self.diffusivity, self.grid, scheme="van_leer")


grid = ipd.Grid(lower=(-1.0, 0.0), upper=(1.0, 1.0), cells=(64, 32))
velocity = ipd.ConditionalField(2, grid.lower, grid.upper, key=jax.random.key(0))
model = AdvectionDiffusion(grid, velocity, 1e-3)
u0 = jnp.exp(-20 * jnp.sum(grid.centers**2, axis=0))
stepper = ipd.CrankNicolson(solver=ipd.NewtonKrylov(), adjoint=ipd.ImplicitAdjoint())


@eqx.filter_jit
@eqx.filter_value_and_grad
def loss(model, u0, observed):
    result = ipd.rollout(model, u0, [0.0, 0.05, 0.1], stepper=stepper, dt=0.01)
    return jnp.mean((result.u[1:] - observed) ** 2)


value, gradient = loss(model, u0, observed=u0)
print(
    f"loss {value:.3e}, gradient of the first layer: {gradient.velocity.network.weights[0].shape}"
)
