"""The steady heat slab: compliance and its gradient by the density of material; ours alone.

    0 = div(k(rho) grad T)  on 2 x 1,   k = 1e-3 + (1 - 1e-3) rho^3,
    T = 0 on the left, heat flux 1 on the right, none elsewhere, rho smooth between 0.2 and 0.8

on 2 N x N cells, by `ipd.steady` to 1e-10 with multigrid. The published times of other codes for
N = 256 are of other hardware, an A100. The error is that of the gradient along a direction, against
central differences.
"""

import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from common import OURS, Rows, script

import impindiff as ipd

VOID = 1e-3


class HeatSlab(ipd.HybridModel):
    grid: ipd.Grid
    density: jax.Array

    def conductivity(self) -> jax.Array:
        return VOID + (1 - VOID) * self.density**3

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        k = self.conductivity()
        # the derivative of T that carries a flux of 1
        walls = ((ipd.Dirichlet(0.0), ipd.Neumann(1.0 / k[-1])), ipd.Neumann())
        return ipd.diffusion(u, k, self.grid, averaging="harmonic", boundary=walls)


def slab(n: int) -> HeatSlab:
    walls = ((ipd.Dirichlet(0.0), ipd.Neumann()), ipd.Neumann())
    grid = ipd.Grid((0.0, 0.0), (2.0, 1.0), (2 * n, n), boundary=walls)
    x, y = grid.centers
    return HeatSlab(grid, 0.5 + 0.3 * jnp.sin(2 * jnp.pi * x) * jnp.cos(2 * jnp.pi * y))


def compliance(model: HeatSlab) -> jax.Array:
    """The integral of T over the heated wall."""
    solver = ipd.NewtonKrylov(rtol=1e-10, preconditioner=ipd.Multigrid())
    u = ipd.steady(model, jnp.zeros(model.grid.cells), solver=solver, throw=False).u
    dx, dy = model.grid.spacing
    return dy * jnp.sum(u[-1] + 0.5 * dx / model.conductivity()[-1])


def seconds(function: Any, model: HeatSlab, repeats: int = 5) -> tuple[Any, float, float]:
    """(result, of the first call, median of later ones)."""
    taken = []
    found = None
    for _ in range(1 + repeats):
        start = time.perf_counter()
        found = jax.block_until_ready(function(model))
        taken.append(time.perf_counter() - start)
    return found, taken[0], sorted(taken[1:])[repeats // 2]


def measure(quick: bool) -> Rows:
    rows = []
    for n in (16, 64) if quick else (16, 64, 256):
        model = slab(n)
        forward = eqx.filter_jit(compliance)
        gradient = eqx.filter_jit(eqx.filter_value_and_grad(compliance))
        _, _, solving = seconds(forward, model)
        found, first, after = seconds(gradient, model)
        way = jnp.cos(3 * model.grid.centers[0]) * jnp.sin(2 * model.grid.centers[1])
        h = 1e-5
        above, below = (forward(HeatSlab(model.grid, model.density + s * h * way)) for s in (1, -1))
        exact = float((above - below) / (2 * h))
        error = abs(float(jnp.vdot(found[1].density, way)) / exact - 1)
        row = {"case": f"{2 * n} x {n} cells", "program": f"{OURS}, steady", "error": error}
        rows.append(row | {"first": first, "after": after, "forward": solving, "memory_mb": None})
        print(row["case"], f"{first:.2f} s, then {after:.3f} s, forward {solving:.3f} s", error)
    return rows


if __name__ == "__main__":
    script("impindiff", measure)
