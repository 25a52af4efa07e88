"""Burgers' equation by an IMEX pair of order 3: Diffrax with a matrix-free root finder.

u_t + div(u^2/2, u^2/2) = nu lap(u) on the unit square, nu = 0.01, convection explicit by van Leer's
scheme, diffusion implicit, 20 steps of 0.01. Diffrax by KenCarp3, whose stages are solved by
Newton's method with GMRES of Lineax in place of its dense default, and by its default adjoint; ours
by KenCarp3; tolerances of 1e-8. Backward, Diffrax differentiates root finding by the default
adjoint of Optimistix, which builds the dense Jacobian: 32 x 32 cells, not 64 x 64. The gradient is
that of the sum of u^2 at the end by the initial state; the error is that of this gradient, against
ours to 1e-12.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from common import OURS, Rows, loss_of, relative, script, timed

import impindiff as ipd

NU, DT, STEPS, TOLERANCE = 0.01, 0.01, 20, 1e-8


class Burgers(ipd.HybridModel):
    grid: ipd.Grid

    def stiff(self, u: Any) -> Any:
        return ipd.diffusion(u, NU, self.grid)

    def rest(self, u: Any) -> Any:
        return ipd.convection(u, lambda u: 0.5 * u**2, self.grid, "van_leer")

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        return ipd.IMEX(implicit=self.stiff(u), explicit=self.rest(u))


def initial(grid: ipd.Grid) -> jax.Array:
    x, y = 2 * jnp.pi * grid.centers
    return 0.3 + jnp.sin(x) * jnp.cos(y)


def diffrax_end(model: Burgers) -> Callable[[jax.Array], jax.Array]:
    import diffrax
    import lineax
    import optimistix

    finder = optimistix.Newton(
        rtol=TOLERANCE,
        atol=TOLERANCE,
        linear_solver=lineax.GMRES(rtol=TOLERANCE, atol=TOLERANCE, restart=10),
    )
    terms = diffrax.MultiTerm(
        diffrax.ODETerm(lambda t, u, args: model.rest(u)),
        diffrax.ODETerm(lambda t, u, args: model.stiff(u)),
    )

    def end(u: jax.Array) -> jax.Array:
        solution = diffrax.diffeqsolve(
            terms,
            diffrax.KenCarp3(root_finder=finder),
            0.0,
            STEPS * DT,
            DT,
            u,
            stepsize_controller=diffrax.ConstantStepSize(),
            max_steps=STEPS + 1,
            throw=False,
        )
        assert solution.ys is not None
        return solution.ys[-1]

    return end


def our_end(model: Burgers, rtol: float = TOLERANCE) -> Callable[[jax.Array], jax.Array]:
    stepper = ipd.KenCarp3(
        solver=ipd.NewtonKrylov(rtol=rtol), adjoint=ipd.ImplicitAdjoint(rtol=rtol)
    )

    def end(u: jax.Array) -> jax.Array:
        times = [0.0, STEPS * DT]
        return ipd.rollout(model, u, times, dt=DT, stepper=stepper, throw=False).u[-1]

    return end


def measure(quick: bool) -> Rows:
    n = 16 if quick else 32
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (n, n))
    model, u0 = Burgers(grid), initial(grid)
    ends = {
        "Diffrax, KenCarp3, Newton with GMRES": diffrax_end(model),
        f"{OURS}, KenCarp3": our_end(model),
    }
    truth = jax.jit(loss_of(our_end(model, rtol=1e-12)))(u0)[1]
    return timed(
        f"{n} x {n} cells",
        {name: loss_of(end) for name, end in ends.items()},
        (u0,),
        lambda found: relative(found[1], truth),
    )


if __name__ == "__main__":
    script("diffrax", measure)
