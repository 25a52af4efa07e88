"""Nonlinear problems whose solutions are known: Burgers' equation in one dimension, two, a system.

    python validation/burgers.py

1. Operators: a travelling wave between walls whose values depend on time; the sine that steepens
   into a shock (Cole-Hopf); a manufactured solution in two dimensions with a diffusivity that
   varies; and the 2-D Burgers system for (u, v), a dictionary of two fields. Crank-Nicolson with
   steps so small that the mean absolute error is the spatial scheme's.
2. The gradient of a loss at the end of the system's rollout with respect to the viscosity and both
   initial fields, against central differences.

The order is the slope of a straight line through the last 3 refinements. Float64. Exits with 1 if
an order is off by more than 0.15 or the gradient by more than 1e-6.
"""

import sys
from collections.abc import Callable
from functools import partial

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from orders import Row, row, table_of
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.problems.cole_hopf import cole_hopf_sine

TOLERANCE = 0.15
GRADIENT_BOUND = 1e-6
PI2 = 2 * np.pi
TIGHT = ipd.NewtonKrylov(rtol=1e-12, atol=1e-14)
CRANK_NICOLSON = ipd.CrankNicolson(solver=TIGHT, adjoint=ipd.ImplicitAdjoint(rtol=1e-12))


def burgers_flux(u):
    return 0.5 * u**2


class Burgers(ipd.HybridModel):
    """du/dt + div(u^2/2, ...) = div(k grad u) + forcing(t), u's conditions being the grid's."""

    grid: ipd.Grid
    diffusivity: Array | float
    scheme: str = "central"
    forcing: Callable[[Array], Array] | None = None

    def latent(self, t):
        return None if self.forcing is None else self.forcing(t)

    def tendency(self, t, u, latent):
        rate = ipd.convection(u, burgers_flux, self.grid, self.scheme, t=t)
        rate += ipd.diffusion(u, self.diffusivity, self.grid, t=t)
        return rate if latent is None else rate + latent


def final(model: ipd.HybridModel, u0, until: float, steps: int):
    result = ipd.rollout(model, u0, [0.0, until], stepper=CRANK_NICOLSON, dt=until / steps)
    return jax.tree.map(lambda leaf: leaf[-1], result.u)


# 1. In space


def wave_error(scheme: str, cells: int) -> float:
    """u = c - a tanh(a (x - c t) / (2 nu)), which moves at the speed c."""
    a, c, viscosity, until = 0.5, 0.75, 0.1, 0.4

    def exact(t, x):
        return c - a * jnp.tanh(a * (x - c * t) / (2 * viscosity))

    walls = (ipd.Dirichlet(lambda t: exact(t, -1.0)), ipd.Dirichlet(lambda t: exact(t, 1.0)))
    grid = ipd.Grid((-1,), (1,), (cells,), (walls,))
    (x,) = grid.centers
    u = final(Burgers(grid, viscosity, scheme), exact(0.0, x), until, 200)
    return float(jnp.abs(u - exact(until, x)).mean())


def sine_error(cells: int) -> float:
    """Up to a time at which the shock's slope is 6 times the sine's steepest."""
    viscosity, until = 0.02, 0.5
    grid = ipd.Grid((-1,), (1,), (cells,), (ipd.Dirichlet(0.0),))
    x = grid.axis_centers(0)
    start, exact = cole_hopf_sine(x, [0.0, until], viscosity)
    u = final(Burgers(grid, viscosity), start, until, 250)
    return float(np.abs(u - exact).mean())


def manufactured_error(cells: int) -> float:
    """The forcing is the residual of the differential equation itself, by derivatives of u."""
    until = 0.2
    grid = ipd.Grid((0, 0), (1, 1), (cells, cells))

    def exact(t, x, y):
        return 0.5 + 0.4 * jnp.sin(PI2 * (x - 0.5 * t)) * jnp.cos(PI2 * y + t)

    def diffusivity(x, y):
        return 0.03 * (1.5 + jnp.sin(PI2 * x + 1) * jnp.cos(PI2 * y))

    def carried(t, x, y):
        return burgers_flux(exact(t, x, y))

    def residual(t, x, y):
        total = jax.grad(exact, 0)(t, x, y)
        for axis in (1, 2):

            def flux(*at, axis=axis):
                return carried(*at) - diffusivity(*at[1:]) * jax.grad(exact, axis)(*at)

            total += jax.grad(flux, axis)(t, x, y)
        return total

    everywhere = jax.vmap(jax.vmap(residual, (None, 0, 0)), (None, 0, 0))
    x, y = grid.centers
    model = Burgers(grid, diffusivity(x, y), forcing=lambda t: everywhere(t, x, y))
    u = final(model, exact(0.0, x, y), until, 40)
    return float(jnp.abs(u - exact(until, x, y)).mean())


class VectorBurgers(ipd.HybridModel):
    """du/dt + u du/dx + v du/dy = nu laplace(u), and so for v, each with its own conditions."""

    grid: ipd.Grid
    boundary: dict[str, tuple]
    viscosity: Array

    def tendency(self, t, u, latent):
        def rate(name):
            sides = self.boundary[name]
            dx, dy = ipd.gradient(u[name], self.grid, boundary=sides, t=t)
            spread = ipd.diffusion(u[name], self.viscosity, self.grid, boundary=sides, t=t)
            return spread - u["u"] * dx - u["v"] * dy

        return {name: rate(name) for name in u}


VISCOSITY = 0.03


def system_exact(name: str, t, x, y):
    """A front along x = y - t / 4, in terms of (u, v), by the Cole-Hopf transform."""
    u = 0.75 - 0.25 * jax.nn.sigmoid((4 * x - 4 * y + t) / (32 * VISCOSITY))
    return u if name == "u" else 1.5 - u


def system(cells: int) -> tuple[VectorBurgers, dict[str, Array]]:
    grid = ipd.Grid((0, 0), (1, 1), (cells, cells))
    along = grid.axis_centers(0)

    def sides(name):
        def wall(x, y):
            return ipd.Dirichlet(lambda t: system_exact(name, t, x, y))

        return ((wall(0.0, along), wall(1.0, along)), (wall(along, 0.0), wall(along, 1.0)))

    model = VectorBurgers(grid, {name: sides(name) for name in "uv"}, jnp.asarray(VISCOSITY))
    return model, {name: system_exact(name, 0.0, *grid.centers) for name in "uv"}


def system_error(cells: int) -> float:
    until = 0.5
    model, start = system(cells)
    found = final(model, start, until, 40)
    return float(
        sum(
            jnp.abs(found[name] - system_exact(name, until, *model.grid.centers)).mean()
            for name in found
        )
    )


def space_rows() -> list[Row]:
    measured = partial(row, tolerance=TOLERANCE)
    out = [
        measured(
            "1-D, travelling wave",
            scheme,
            "cells",
            theory,
            (64, 128, 256, 512) if scheme == "rusanov" else (32, 64, 128, 256),
            lambda n, scheme=scheme: wave_error(scheme, n),
        )
        for scheme, theory in (("rusanov", 1), ("central", 2), ("van_leer", 2))
    ]
    sizes = (64, 128, 256, 512)
    out.append(measured("1-D, Cole-Hopf sine", "central", "cells", 2, sizes, sine_error))
    sizes = (12, 24, 48, 96)
    out.append(measured("2-D, manufactured", "central", "cells", 2, sizes, manufactured_error))
    out.append(measured("2-D system, front", "central", "cells", 2, (8, 16, 32, 64), system_error))
    return out


# 2. The gradient


def gradient_errors(directions: int = 4) -> list[tuple[str, float]]:
    """Relative errors against central differences, the best of a few steps in each direction."""
    model, start = system(12)
    rng = np.random.default_rng(0)
    weights = {name: jnp.asarray(rng.normal(size=(12, 12))) for name in start}

    @eqx.filter_jit
    def loss(parameters):
        viscosity, u0 = parameters
        changed = eqx.tree_at(lambda m: m.viscosity, model, viscosity)
        u = final(changed, u0, 0.2, 8)
        return sum(jnp.sum(weights[name] * u[name] ** 2) for name in u)

    point = (model.viscosity, start)
    exact = eqx.filter_jit(jax.grad(loss))(point)

    def error(direction) -> float:
        pairs = zip(jax.tree.leaves(exact), jax.tree.leaves(direction), strict=True)
        want = sum(float(jnp.vdot(g, d)) for g, d in pairs)
        found = []
        for h in (1e-3, 1e-4, 1e-5):
            up, down = (
                loss(jax.tree.map(lambda x, d, s=s: x + s * d, point, direction)) for s in (h, -h)
            )
            found.append(abs(float(up - down) / (2 * h) - want) / abs(want))
        return min(found)

    nothing = jax.tree.map(jnp.zeros_like, start)
    # A viscosity moves by a hundredth of what a velocity does: it is that much smaller.
    out = [("viscosity", error((jnp.asarray(0.01), nothing)))]
    for i in range(directions):
        field = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape)), start)
        out.append((f"initial fields, direction {i + 1}", error((jnp.asarray(0.0), field))))
    return out


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    measured = space_rows()
    gradients = gradient_errors()
    second = Table(title="Gradient through the 2-D system, against central differences")
    for heading in ("with respect to", "relative error", "bound", ""):
        second.add_column(heading)
    for name, error in gradients:
        verdict = "ok" if error <= GRADIENT_BOUND else "MISSED"
        second.add_row(name, f"{error:.1e}", f"{GRADIENT_BOUND:.0e}", verdict)
    console = Console(width=120)
    console.print(table_of(measured, "Burgers' equation: order of accuracy in space"))
    console.print(second)
    passed = all(r.passed for r in measured) and all(e <= GRADIENT_BOUND for _, e in gradients)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
