"""Heat slab: the compliance of a steady conductor, and its gradient by the density of material.

    0 = div(k(rho) grad T)  on 2 x 1,   k = 1e-3 + (1 - 1e-3) rho^3,
    T = 0 on the left, heat flux 1 on the right, none elsewhere

The compliance is the integral of T over the heated wall, which topology optimisation makes small.
Its gradient costs one linear solve. python examples/steady/heat_slab.py [N]
"""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp

import impindiff as ipd

VOID = 1e-3


class HeatSlab(ipd.HybridModel):
    grid: ipd.Grid
    density: jax.Array  # rho, in [0, 1]

    def conductivity(self):
        return VOID + (1 - VOID) * self.density**3

    def tendency(self, t, u, latent):
        k = self.conductivity()
        heated = ipd.Neumann(1.0 / k[-1])  # the derivative of T that carries a flux of 1
        walls = ((ipd.Dirichlet(0.0), heated), ipd.Neumann())
        return ipd.diffusion(u, k, self.grid, averaging="harmonic", boundary=walls)


def slab(cells, key=None):
    """The slab on cells x cells/2, of density 1/2, or with a random texture."""
    walls = ((ipd.Dirichlet(0.0), ipd.Neumann()), ipd.Neumann())
    grid = ipd.Grid((0.0, 0.0), (2.0, 1.0), (cells, cells // 2), boundary=walls)
    texture = 0.0 if key is None else 0.4 * jax.random.uniform(key, grid.cells, minval=-1.0)
    return HeatSlab(grid, jnp.full(grid.cells, 0.5) + texture)


@eqx.filter_jit
def compliance(model):
    solver = ipd.NewtonKrylov(rtol=1e-10, preconditioner=ipd.Multigrid())
    u = ipd.steady(model, jnp.zeros(model.grid.cells), solver=solver).u
    dx, dy = model.grid.spacing
    return dy * jnp.sum(u[-1] + 0.5 * dx / model.conductivity()[-1])  # T on the wall


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    model = slab(int(sys.argv[1]) if len(sys.argv) > 1 else 32, jax.random.key(0))
    gradient = eqx.filter_grad(compliance)(model).density
    way = jax.random.normal(jax.random.key(1), model.grid.cells)
    above, below = (HeatSlab(model.grid, model.density + h * way) for h in (1e-5, -1e-5))
    difference = (compliance(above) - compliance(below)) / 2e-5
    print(f"compliance {compliance(model):.6f}")
    print(f"derivative {jnp.sum(gradient * way):.8f}, central difference {difference:.8f}")
