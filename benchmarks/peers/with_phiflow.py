"""Implicit diffusion with a coefficient that varies, between impermeable walls: PhiFlow.

u_t = div(D grad u) on the unit square, D between 0.01 and 0.02, 4 steps of backward Euler of length
0.05. Both have PhiFlow's discretisation, the larger D of the two cells on a face; relative
residuals of 1e-8, by its conjugate gradients and by BiCGStab with multigrid. The gradient is that
of the sum of u^2 at the end by the field D; the error is that of this gradient, against a tolerance
of 1e-12.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from common import OURS, Rows, relative, script, timed

import impindiff as ipd

DT, STEPS, TOLERANCE = 0.05, 4, 1e-8


class Heat(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: jax.Array

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        total = jnp.zeros_like(u)
        for axis, h in enumerate(self.grid.spacing):
            D, v = jnp.moveaxis(self.diffusivity, axis, 0), jnp.moveaxis(u, axis, 0)
            flux = jnp.maximum(D[1:], D[:-1]) * jnp.diff(v, axis=0) / h
            inflow = jnp.diff(jnp.pad(flux, ((1, 1), (0, 0))), axis=0) / h
            total += jnp.moveaxis(inflow, 0, axis)
        return total


def fields(grid: ipd.Grid) -> tuple[jax.Array, jax.Array]:
    """(D, u at the beginning)."""
    x, y = grid.centers
    D = 0.015 + 0.005 * jnp.sin(5 * x) * jnp.cos(4 * y)
    return D, jnp.exp(-20 * ((x - 0.4) ** 2 + (y - 0.6) ** 2)) + 0.3 * jnp.sin(9 * x * y)


def phiflow_end(u0: jax.Array) -> Callable[[jax.Array], jax.Array]:
    from phi.jax import flow  # pyright: ignore[reportMissingImports]

    flow.math.set_global_precision(64)
    box, closed = flow.Box(x=1, y=1), flow.ZERO_GRADIENT

    def field(values: jax.Array) -> Any:
        return flow.CenteredGrid(flow.tensor(values, flow.spatial("x,y")), closed, bounds=box)

    def end(D: jax.Array) -> jax.Array:
        u, coefficient = field(u0), field(D)
        # a loop of Python: PhiFlow keeps linear maps between steps, which lax.scan refuses
        for _ in range(STEPS):
            solve = flow.Solve("CG", TOLERANCE, 0.0, max_iterations=2000)
            u = flow.diffuse.implicit(u, coefficient, DT, solve=solve)
        return u.values.native("x,y")

    return end


def our_end(
    grid: ipd.Grid, u0: jax.Array, preconditioner: Any, rtol: float = TOLERANCE
) -> Callable[[jax.Array], jax.Array]:
    stepper = ipd.BackwardEuler(
        solver=ipd.NewtonKrylov(rtol=rtol, preconditioner=preconditioner),
        adjoint=ipd.ImplicitAdjoint(rtol=rtol, max_iterations=2000),
    )

    def end(D: jax.Array) -> jax.Array:
        times = [0.0, STEPS * DT]
        return ipd.rollout(Heat(grid, D), u0, times, dt=DT, stepper=stepper, throw=False).u[-1]

    return end


def loss_of(end: Callable[[jax.Array], jax.Array]) -> Callable[[jax.Array], Any]:
    return jax.value_and_grad(lambda D: jnp.sum(end(D) ** 2))


def measure(quick: bool) -> Rows:
    rows = []
    for n in (64,) if quick else (64, 128, 256):
        grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (n, n), (ipd.Neumann(), ipd.Neumann()))
        D, u0 = fields(grid)
        ends = {
            "PhiFlow, diffuse.implicit": phiflow_end(u0),
            f"{OURS}, Multigrid": our_end(grid, u0, ipd.Multigrid()),
        }
        truth = jax.jit(loss_of(our_end(grid, u0, ipd.Multigrid(), rtol=1e-12)))(D)[1]
        rows += timed(
            f"{n} x {n} cells",
            {name: loss_of(end) for name, end in ends.items()},
            (D,),
            lambda found, truth=truth: relative(found[1], truth),
        )
    return rows


if __name__ == "__main__":
    script("phiflow", measure)
