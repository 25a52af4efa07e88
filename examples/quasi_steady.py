"""One's own model with a quasi-steady component: gas that deposits a solid in a porous bed.

Gas gets through the bed in less than a second, the bed fills in days: d(gas)/dt is nothing beside
the other terms of the gas equation, and a model without it needs no steps that resolve it:

    gas       0 = div(D(s) grad c) - k c,     c = 1 at the inlet, no flux elsewhere
    solid     ds/dt = c

In every stage of every step the solver finds the gas that belongs to the solid, and the gradient
goes through that constraint. D(s), how well gas still gets through a bed with solid s in it, is
what nobody can measure: a learned closure stands for it.

python examples/quasi_steady.py
"""

from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax.numpy as jnp

import impindiff as ipd


class Deposition(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: Callable  # unknown
    uptake: float  # known

    def mass(self):
        return {"gas": 0.0, "solid": 1.0}  # the gas has mass 0: its equation is 0 = tendency

    def scale(self):
        # The sizes of the two equations, so that one tolerance means the same for both: the
        # solid's is of size 1; the terms of the gas equation are as large as the uptake.
        return {"gas": self.uptake, "solid": 1.0}

    def tendency(self, t, u, latent):
        c, s = u["gas"], u["solid"]
        spread = ipd.diffusion(c, self.diffusivity(s), self.grid, averaging="harmonic")
        return {"gas": spread - self.uptake * c, "solid": c}


# Unpreconditioned, the elliptic gas equation needs more iterations the finer the grid is. One
# multigrid cycle, for the matrix as the solver finds it, keeps them few on any grid.
inlet = (ipd.Dirichlet(1.0), ipd.Neumann())
grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (32, 32), boundary=(inlet, ipd.Neumann()))
solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid())
stepper = ipd.SDIRK2(solver=solver)


# The closure starts as this law and keeps two of its properties whatever is learned: it is
# positive, and it falls.
def law(s, steepness):
    return jnp.exp(-steepness * s)


closure = ipd.MonotoneClosure(partial(law, steepness=1.0), lower=0.0, upper=1.0, knots=4)
model = Deposition(grid, closure, uptake=4.0)
true_model = Deposition(grid, partial(law, steepness=3.0), uptake=4.0)

# The gas may start as anything: `rollout` first makes it obey its equation.
u0 = {"gas": jnp.ones(grid.cells), "solid": jnp.zeros(grid.cells)}
times = [0.0, 0.5, 1.0]


@eqx.filter_jit
def solid_on_the_way(model):
    result = ipd.rollout(model, u0, times, stepper=stepper, dt=0.1)
    return result.u["solid"][1:], result.stats


observed, stats = solid_on_the_way(true_model)
print(
    f"gas and solid to t = 1 in {stats.iterations.size} steps, "
    f"{stats.linear_iterations.sum() / stats.iterations.sum():.1f} Krylov iterations a Newton step"
)


@eqx.filter_jit
@eqx.filter_value_and_grad
def loss(model):
    return jnp.mean((solid_on_the_way(model)[0] - observed) ** 2)


value, gradient = loss(model)
print(f"loss {value:.3e}, d loss / d log slopes {gradient.diffusivity.log_slopes}")
