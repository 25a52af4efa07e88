"""Radial coordinates and stretched axes against exact solutions.

    python validation/coordinates.py

Cooling of a cylinder and a sphere (series), a steady annulus (log), a boundary layer of advection
and diffusion (exponential), Theis' well on a logarithmic axis (exponential integral), conservation
over 1000 implicit steps, and iterations with multigrid. The order is the slope of a straight line
through the last 3 refinements.

Exits with 1 if an order is off by more than 0.15, the well by more than 0.1 %, or a total by more
than 1e-12 of itself.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.special import exp1, j0, j1, jn_zeros

import impindiff as ipd
from impindiff.grid import geometric, tanh
from impindiff.implicit.linear import krylov_solve
from impindiff.observations import Probes

TOLERANCE = 0.15
CELLS = (16, 32, 64, 128)


class Row(NamedTuple):
    """One line of the table."""

    problem: str
    grid: str
    cells: tuple[int, ...]
    errors: tuple[float, ...]
    order: float
    theory: float

    @property
    def passed(self) -> bool:
        return abs(self.order - self.theory) <= TOLERANCE


class Transport(ipd.HybridModel):
    """Advection and diffusion with given coefficients."""

    grid: ipd.Grid
    D: jax.Array | float
    velocity: tuple[jax.Array | float, ...] | None = None
    scheme: str = "upwind"

    def latent(self, t):
        return self.D

    def tendency(self, t, u, latent):
        if self.velocity is None:
            return ipd.diffusion(u, latent, self.grid, t=t)
        return ipd.advection_diffusion(u, self.velocity, latent, self.grid, self.scheme, t=t)


def advanced(model: Transport, u0, times, dt=None, stepper=None):
    """States at the times, by accurate implicit steps."""
    solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid(), rtol=1e-12)
    stepper = stepper or ipd.KenCarp4
    run = jax.jit(lambda u0: ipd.rollout(model, u0, times, stepper=stepper(solver=solver), dt=dt).u)
    return np.asarray(run(jnp.asarray(u0)))


AXES: dict[str, Callable[[float, float, int], np.ndarray]] = {
    "uniform": lambda a, b, n: np.linspace(a, b, n + 1),
    "tanh": lambda a, b, n: tanh(a, b, n, 1.5, "upper"),
    "geometric": lambda a, b, n: geometric(a, b, n, growth=0.1 ** (1 / (n - 1))),
}


def cylinder(r, t, modes=40):
    k = jn_zeros(0, modes)[:, None]
    return np.sum(2 * j0(k * r) / (k * j1(k)) * np.exp(-(k**2) * t), 0)


def sphere(r, t, modes=40):
    k = np.pi * np.arange(1, modes + 1)[:, None]
    return np.sum(-2 * np.cos(k) * np.sin(k * r) / (k * r) * np.exp(-(k**2) * t), 0)


def cooling_error(coordinates: str, axis: str, n: int) -> float:
    """Relative L1 error at t = 0.15 of a body, warm at 0, whose surface is at 0; from t = 0.05."""
    exact = {"cylindrical": cylinder, "spherical": sphere}[coordinates]
    edges = AXES[axis](0.0, 1.0, n)
    grid = ipd.Grid.from_edges((edges,), (ipd.Dirichlet(0.0),), coordinates)
    r, V = grid.axis_centers(0), grid.volumes
    times = np.asarray([0.05, 0.15])
    found = advanced(Transport(grid, 1.0), exact(r, 0.05), times, dt=0.01)[-1]
    return float(np.sum(V * np.abs(found - exact(r, 0.15))) / np.sum(V * exact(r, 0.15)))


def steady(grid: ipd.Grid, tendency: Callable) -> np.ndarray:
    """The steady state of an affine tendency, by a dense solve."""
    zero = jnp.zeros(grid.shape)
    matrix = jax.jacobian(tendency)(zero)
    return np.asarray(jnp.linalg.solve(matrix, -tendency(zero)))


def annulus_error(coordinates: str, axis: str, n: int) -> float:
    """Largest error of a steady shell from radius 0.2 at 1 to radius 1 at 0."""
    edges = geometric(0.2, 1.0, n) if axis == "log" else AXES[axis](0.2, 1.0, n)
    walls = ((ipd.Dirichlet(1.0), ipd.Dirichlet(0.0)),)
    grid = ipd.Grid.from_edges((edges,), walls, coordinates)
    found = steady(grid, lambda u: ipd.diffusion(u, 1.0, grid))
    r = grid.axis_centers(0)
    exact = np.log(r) / np.log(0.2) if coordinates == "cylindrical" else (1 / r - 1) / 4
    return float(np.abs(found - exact).max())


def layer_error(scheme: str, axis: str, n: int) -> float:
    """Largest error of v u' = D u'' with v / D = 50, from 0 to 1 at the end of the layer."""
    v, D = 1.0, 0.02
    walls = ((ipd.Dirichlet(0.0), ipd.Dirichlet(1.0)),)
    grid = ipd.Grid.from_edges((AXES[axis](0.0, 1.0, n),), walls)
    found = steady(grid, lambda u: ipd.advection_diffusion(u, (v,), D, grid, scheme))
    x = grid.axis_centers(0)
    return float(np.abs(found - np.expm1(v * x / D) / np.expm1(v / D)).max())


class Well(NamedTuple):
    """Drawdown at a well of constant rate, observed over four decades of time."""

    cells: int
    worst: float

    @property
    def passed(self) -> bool:
        return self.worst <= 1e-3


def theis(n: int = 300, steps: int = 60) -> Well:
    """Largest relative error of the drawdown at r = 1, for 1 / u from 4 to 40000.

    Transmissivity, storativity and rate 1; radius of the well 0.001; the outer boundary is beyond
    reach. `steps` per decade of time.
    """
    edges = geometric(1e-3, 1e4, n)
    well = 1 / (2 * np.pi * edges[0])  # du/dn into the well: rate over its circumference
    grid = ipd.Grid.from_edges(
        (edges,), ((ipd.Neumann(well), ipd.Dirichlet(0.0)),), coordinates="cylindrical"
    )
    decades = 7
    times = np.concatenate([[0.0], np.geomspace(1e-3, 1e4, decades * steps + 1)])
    states = advanced(Transport(grid, 1.0), np.zeros(n), times, stepper=ipd.SDIRK2)
    found = np.asarray(Probes.on(grid, np.asarray([[1.0]]))(states))[:, 0]
    late = times >= 1.0
    exact = exp1(1 / (4 * times[late])) / (4 * np.pi)
    return Well(n, float(np.abs(found[late] / exact - 1).max()))


class Total(NamedTuple):
    """Relative change of the total, and the least value, after many implicit steps."""

    grid: str
    scheme: str
    steps: int
    change: float
    least: float

    @property
    def passed(self) -> bool:
        return self.change <= 1e-12 and self.least >= -1e-12


CLOSED = {
    "stretched": ("cartesian", (0.0, 1.0)),
    "cylinder": ("cylindrical", (0.0, 1.0)),
    "annulus": ("cylindrical", (0.3, 1.0)),
    "sphere": ("spherical", (0.0, 1.0)),
}


def conserved(name: str, scheme: str, steps: int = 1000, n: int = 48) -> Total:
    """Transport of a peak between closed walls: what was there stays there, and stays positive."""
    coordinates, (low, high) = CLOSED[name]
    edges = tanh(low, high, n, 1.5, "upper")
    outer = ipd.Neumann()
    grid = ipd.Grid.from_edges((edges,), (outer,), coordinates)
    v = np.sin(np.pi * (edges - low) / (high - low))
    v[[0, -1]] = 0.0
    model = Transport(grid, 1e-3, (jnp.asarray(v),), scheme)
    r, V = grid.axis_centers(0), grid.volumes
    u0 = np.where(np.abs(r - 0.5) < 0.1, 1.0, 0.0)
    times = np.linspace(0.0, 2.0, steps + 1)
    states = advanced(model, u0, times, stepper=ipd.BackwardEuler)
    totals = states @ V
    return Total(
        name, scheme, steps, float(np.abs(totals / totals[0] - 1).max()), float(states.min())
    )


def iterations(kind: str, n: int) -> int:
    """Krylov iterations with a multigrid cycle, D jumping by 1000 across a wavy front."""
    walls = (ipd.Dirichlet(), (ipd.Dirichlet(), ipd.Neumann()))
    grid = {
        "cylinder, uniform": lambda: ipd.Grid((0.0, 0.0), (1.0, 1.0), (n, n), walls, "cylindrical"),
        "box, tanh 1": lambda: ipd.Grid.from_edges((tanh(0.0, 1.0, n, 1.0),) * 2, walls),
        "box, tanh 2": lambda: ipd.Grid.from_edges((tanh(0.0, 1.0, n, 2.0),) * 2, walls),
        "log r over 3 decades, z": lambda: ipd.Grid.from_edges(
            (geometric(0.1, 100.0, n), np.linspace(0.0, 10.0, n // 2 + 1)), walls, "cylindrical"
        ),
    }[kind]()
    x = [(c - low) / (high - low) for c, low, high in zip(grid.centers, grid.lower, grid.upper,
                                                          strict=True)]  # fmt: skip
    D = jnp.where(x[0] + 0.3 * jnp.sin(5 * x[1]) > 0.5, 1e-3, 1.0)

    @jax.jit
    def solve(D, b):
        A = ipd.Elliptic.of(D, 1e-6, grid)
        return krylov_solve(A, b, ipd.BiCGStab(max_steps=500), 1e-8, ipd.multigrid_cycle(A))[1]

    b = jnp.asarray(np.random.default_rng(0).normal(size=grid.shape))
    return int(solve(D, b))


KINDS = ("cylinder, uniform", "box, tanh 1", "box, tanh 2", "log r over 3 decades, z")


def row(problem: str, grid: str, theory: float, error: Callable[[int], float], cells=CELLS) -> Row:
    errors = tuple(error(n) for n in cells)
    order = -float(np.polyfit(np.log(cells[-3:]), np.log(errors[-3:]), 1)[0])
    return Row(problem, grid, tuple(cells), errors, order, theory)


def rows(cells: tuple[int, ...] = CELLS) -> list[Row]:
    """Every order; float64 must be enabled."""
    out = []
    for name, coordinates in (("cylinder", "cylindrical"), ("sphere", "spherical")):
        for axis in AXES:
            found = row(f"cooling of a {name}", axis, 2,
                        lambda n, c=coordinates, a=axis: cooling_error(c, a, n), cells)  # fmt: skip
            out.append(found)
        for axis in ("uniform", "log"):
            found = row(f"steady shell, {coordinates}", axis, 2,
                        lambda n, c=coordinates, a=axis: annulus_error(c, a, n), cells)  # fmt: skip
            out.append(found)
    for scheme, theory in (("central", 2), ("upwind", 1)):
        for axis in ("tanh", "geometric"):
            found = row(f"boundary layer, {scheme}", axis, theory,
                        lambda n, s=scheme, a=axis: layer_error(s, a, n),
                        [4 * n for n in cells] if scheme == "upwind" else cells)  # fmt: skip
            out.append(found)
    return out


def main() -> int:
    """Print the tables."""
    jax.config.update("jax_enable_x64", True)
    console = Console()
    table = Table("problem", "axis", "cells", "errors", "order", "theory", "")
    orders = rows()
    for one in orders:
        table.add_row(
            one.problem, one.grid, " ".join(map(str, one.cells)),
            " ".join(f"{e:.2e}" for e in one.errors), f"{one.order:.2f}", f"{one.theory:g}",
            "ok" if one.passed else "FAILED",
        )  # fmt: skip
    console.print(table)
    well = theis()
    console.print(f"Theis' well, {well.cells} cells: largest error {100 * well.worst:.3f} %")
    table = Table("grid", "scheme", "steps", "change of the total", "least value", "")
    totals = [conserved(name, s) for name in CLOSED for s in ("upwind", "van_leer")]
    for one in totals:
        table.add_row(
            one.grid, one.scheme, str(one.steps), f"{one.change:.1e}", f"{one.least:.1e}",
            "ok" if one.passed else "FAILED",
        )  # fmt: skip
    console.print(table)
    sizes = (32, 64, 128, 256)
    table = Table("multigrid", *map(str, sizes))
    for kind in KINDS:
        table.add_row(kind, *(str(iterations(kind, n)) for n in sizes))
    console.print(table)
    return 0 if all(one.passed for one in [*orders, well, *totals]) else 1


if __name__ == "__main__":
    sys.exit(main())
