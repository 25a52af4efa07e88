"""Order of accuracy of every operator and scheme in three dimensions against theory.

    python validation/operators_in_space.py

A smooth field on a box that is periodic along x, has Dirichlet sides across y and Neumann sides
across z, with values that vary along them. Mean absolute error of the operator; of diffusion with
all sides periodic, since beside a wall its truncation error does not vanish (its solution's orders
by kind of boundary are in `operators.py`, in two dimensions). The order is the slope of a straight
line through the last 3 refinements.

Exits with 1 if an order is off by more than 0.15.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from rich.console import Console
from rich.table import Table

from impindiff.grid import Dirichlet, Grid, Neumann, Periodic
from impindiff.operators import (
    advection,
    advection_diffusion,
    convection,
    diffusion,
    divergence,
    gradient,
)

TOLERANCE = 0.15
REFINEMENTS = (16, 32, 64, 128)
# off the period, so that the two sides across an axis differ
SIZE = (1.0, 0.85, 0.7)
PI2 = 2 * np.pi


class Row(NamedTuple):
    """One line of the table."""

    operator: str
    scheme: str
    errors: tuple[float, ...]
    order: float
    theory: float

    @property
    def passed(self) -> bool:
        return abs(self.order - self.theory) <= TOLERANCE


def field(x, y, z):
    return (
        jnp.exp(0.5 * jnp.sin(PI2 * x + 0.4))
        * (1 + 0.4 * jnp.cos(PI2 * y))
        * (1 + 0.3 * jnp.sin(PI2 * z + 0.2))
    )


def velocity(i: int, x, y, z):
    return (
        1.0 + 0.3 * jnp.sin(PI2 * x) * jnp.cos(PI2 * (y + z)),
        -0.7 + 0.2 * jnp.cos(PI2 * x) + 0.1 * jnp.sin(PI2 * z),
        0.5 + 0.2 * jnp.cos(PI2 * (y - z)),
    )[i]


def coefficient(x, y, z):
    return 0.05 * (1.5 + jnp.sin(PI2 * x + 1) * jnp.cos(PI2 * y) * jnp.cos(PI2 * z))


def half_square(u):
    return 0.5 * u * u


def slope(function: Callable, axis: int) -> Callable:
    return jax.grad(function, argnums=axis)


def everywhere(function: Callable, points: tuple[Array, ...]) -> Array:
    return jnp.vectorize(function)(*points)


def divergence_of(flux: Callable[[int], Callable], points: tuple[Array, ...]) -> Array:
    return sum((everywhere(slope(flux(i), i), points) for i in range(3)), start=jnp.zeros(()))


def grid_of(n: int, walls: bool) -> Grid:
    cells, lower = (n,) * 3, (0.0,) * 3
    if not walls:
        return Grid(lower, (1.0,) * 3, cells)
    centres = [(np.arange(n) + 0.5) * length / n for length in SIZE]

    def on_side(function: Callable, axis: int, end: float) -> Array:
        axes = [np.asarray([end]) if i == axis else c for i, c in enumerate(centres)]
        points = tuple(jnp.asarray(p) for p in np.meshgrid(*axes, indexing="ij"))
        return everywhere(function, points).squeeze(axis)

    outward = slope(field, 2)
    sides = (
        Periodic(),
        (Dirichlet(on_side(field, 1, 0.0)), Dirichlet(on_side(field, 1, SIZE[1]))),
        (Neumann(-on_side(outward, 2, 0.0)), Neumann(on_side(outward, 2, SIZE[2]))),
    )
    return Grid(lower, SIZE, cells, sides)


def gradient_error(scheme: str, grid: Grid, points: tuple[Array, ...]) -> Array:
    exact = jnp.stack([everywhere(slope(field, i), points) for i in range(3)])
    return gradient(everywhere(field, points), grid) - exact


def divergence_error(scheme: str, grid: Grid, points: tuple[Array, ...]) -> Array:
    def component(i: int) -> Callable:
        return lambda *p: (i + 1) * field(*p)

    v = jnp.stack([everywhere(component(i), points) for i in range(3)])
    return divergence(v, grid) - divergence_of(component, points)


def advection_error(scheme: str, grid: Grid, points: tuple[Array, ...]) -> Array:
    exact = divergence_of(lambda i: lambda *p: velocity(i, *p) * field(*p), points)
    v = jnp.stack([everywhere(lambda *p, i=i: velocity(i, *p), points) for i in range(3)])
    return advection(everywhere(field, points), v, grid, scheme=scheme) + exact


def convection_error(scheme: str, grid: Grid, points: tuple[Array, ...]) -> Array:
    exact = divergence_of(lambda i: lambda *p: half_square(field(*p)), points)
    return convection(everywhere(field, points), half_square, grid, scheme=scheme) + exact


def diffusion_error(averaging: str, grid: Grid, points: tuple[Array, ...]) -> Array:
    exact = divergence_of(lambda i: lambda *p: coefficient(*p) * slope(field, i)(*p), points)
    D = everywhere(coefficient, points)
    return diffusion(everywhere(field, points), D, grid, averaging=averaging) - exact


def both_error(scheme: str, grid: Grid, points: tuple[Array, ...]) -> Array:
    v = jnp.stack([everywhere(lambda *p, i=i: velocity(i, *p), points) for i in range(3)])
    carried = divergence_of(lambda i: lambda *p: velocity(i, *p) * field(*p), points)
    spread = divergence_of(lambda i: lambda *p: 0.1 * slope(field, i)(*p), points)
    found = advection_diffusion(everywhere(field, points), v, 0.1, grid, scheme)
    return found - (spread - carried)


CASES: tuple[tuple[str, str, float, bool, Callable], ...] = (
    ("gradient", "central", 2, True, gradient_error),
    ("divergence", "central", 2, False, divergence_error),
    ("advection", "upwind", 1, True, advection_error),
    ("advection", "central", 2, True, advection_error),
    ("advection", "van_leer", 2, True, advection_error),
    ("convection", "rusanov", 1, True, convection_error),
    ("convection", "central", 2, True, convection_error),
    ("convection", "van_leer", 2, True, convection_error),
    ("diffusion", "arithmetic", 2, False, diffusion_error),
    ("diffusion", "harmonic", 2, False, diffusion_error),
    ("advection_diffusion", "central", 2, False, both_error),
)


def rows(refinements: tuple[int, ...] = REFINEMENTS, leave_out: tuple[str, ...] = ()) -> list[Row]:
    """The orders, but of the schemes to leave out; float64 must be enabled."""
    out = []
    for operator, scheme, theory, walls, error in CASES:
        if scheme in leave_out:
            continue

        def measured(n: int, error=error, scheme=scheme, walls=walls) -> float:
            grid = grid_of(n, walls)
            program = jax.jit(lambda points: jnp.abs(error(scheme, grid, points)).mean())
            return float(program(tuple(jnp.asarray(grid.centers))))

        errors = tuple(map(measured, refinements))
        order = -float(np.polyfit(np.log(refinements[-3:]), np.log(errors[-3:]), 1)[0])
        out.append(Row(operator, scheme, errors, order, theory))
    return out


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    table = Table(title="Order of accuracy in three dimensions")
    for heading in ("operator", "scheme", "errors, halving h", "order", "theory", ""):
        table.add_column(heading)
    measured = rows()
    for r in measured:
        errors = " ".join(f"{e:.1e}" for e in r.errors)
        verdict = "ok" if r.passed else "OFF"
        table.add_row(r.operator, r.scheme, errors, f"{r.order:.2f}", f"{r.theory:g}", verdict)
    Console(width=110).print(table)
    return 0 if all(r.passed for r in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
