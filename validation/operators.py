"""Order of accuracy of every operator, scheme and kind of boundary against theory.

    python validation/operators.py

A smooth field on a two-dimensional box whose first axis has the boundary kind at hand, with values
that vary along the sides and in time, and whose second axis is periodic. Gradient, divergence,
advection and convection: mean absolute error of the operator. Diffusion: mean absolute error of the
solution of u - div(D grad u) = f, since the operator's truncation error beside a wall does not
vanish and is not what a user sees. The order is the slope of a straight line through the last 3
refinements.

Exits with 1 if an order is off by more than 0.15.
"""

import sys
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.sparse.linalg import cg
from rich.console import Console
from rich.table import Table

from impindiff.grid import Boundary, Dirichlet, Grid, Neumann, Periodic, Robin
from impindiff.operators import advection, convection, diffusion, divergence, gradient

TOLERANCE = 0.15
TIME = 0.7
KINDS = ("periodic", "dirichlet", "neumann", "robin")
REFINEMENTS = (64, 128, 256, 512)
SOLVED_REFINEMENTS = (16, 32, 64, 128)
PI2 = 2 * np.pi


class Row(NamedTuple):
    """One line of the table."""

    operator: str
    scheme: str
    boundary: str
    cells: tuple[int, ...]
    errors: tuple[float, ...]
    order: float
    theory: float

    @property
    def passed(self) -> bool:
        return abs(self.order - self.theory) <= TOLERANCE


def field(x, y, t=TIME):
    return jnp.exp(0.5 * jnp.sin(PI2 * x + 0.4)) * (1 + 0.4 * jnp.cos(PI2 * y + t))


def velocity(x, y):
    return (
        1.0 + 0.3 * jnp.sin(PI2 * x) * jnp.cos(PI2 * y),
        -0.7 + 0.2 * jnp.cos(PI2 * x) + 0.1 * jnp.sin(PI2 * y),
    )


def coefficient(x, y):
    return 0.05 * (1.5 + jnp.sin(PI2 * x + 1) * jnp.cos(PI2 * y))


def convex(u):
    return 0.5 * u**2


def sonic(u):
    """Both ways: the field passes 1, where the speed changes its sign."""
    return u**3 / 3 - u


def derivative(function: Callable, axis: int) -> Callable:
    return jax.grad(lambda *point: function(*point).sum(), argnums=axis)


def side(kind: str, function: Callable, grid_y: np.ndarray, x: float, outward: int) -> Boundary:
    """The condition of the given kind that `function` satisfies on the side at x."""
    at = jnp.full(grid_y.shape, x)

    def value(t):
        return jax.vmap(lambda x, y: function(x, y, t))(at, grid_y)

    def slope(t):
        return outward * jax.vmap(lambda x, y: derivative(function, 0)(x, y, t))(at, grid_y)

    a = 1.0 + 0.5 * np.cos(PI2 * grid_y)
    match kind:
        case "periodic":
            return Periodic()
        case "dirichlet":
            return Dirichlet(value)
        case "neumann":
            return Neumann(slope)
        case _:
            return Robin(a=a, b=0.3, value=lambda t: a * value(t) + 0.3 * slope(t))


def grid_for(kind: str, n: int, function: Callable = field) -> Grid:
    # Off the period, so that the two sides differ, wherever the boundary lets it be.
    right = 1.0 if kind == "periodic" else 0.85
    plain = Grid((0.0, 0.0), (right, 1.0), (n, n))
    y = plain.axis_centers(1)
    sides = (side(kind, function, y, 0.0, -1), side(kind, function, y, right, 1))
    return Grid((0.0, 0.0), (right, 1.0), (n, n), (sides, Periodic()))


def everywhere(function: Callable, points: jax.Array):
    return jax.vmap(jax.vmap(function))(*points)


def compiled(error: Callable[..., jax.Array]) -> Callable[..., float]:
    """`error(*options, grid, points)`, mean over the grid's cells, as a function of (*options,
    kind of boundary, number of cells).

    One program a grid: a hundred small ones take longer to compile than the arithmetic takes.
    """

    def measured(*options_kind_n) -> float:
        *options, kind, n = options_kind_n
        grid = grid_for(kind, n)
        program = jax.jit(lambda points: jnp.abs(error(*options, grid, points)).mean())
        return float(program(grid.centers))

    return measured


@compiled
def gradient_error(grid: Grid, points: jax.Array) -> jax.Array:
    exact = jnp.stack([everywhere(derivative(field, i), points) for i in (0, 1)])
    return gradient(everywhere(field, points), grid, t=TIME) - exact


@compiled
def divergence_error(grid: Grid, points: jax.Array) -> jax.Array:
    def second(x, y):
        return jnp.cos(PI2 * (x + y))

    exact = everywhere(derivative(field, 0), points) + everywhere(derivative(second, 1), points)
    v = jnp.stack([everywhere(field, points), everywhere(second, points)])
    return divergence(v, grid, t=TIME) - exact


@compiled
def advection_error(scheme: str, grid: Grid, points: jax.Array) -> jax.Array:
    parts = [lambda x, y, i=i: velocity(x, y)[i] * field(x, y) for i in (0, 1)]
    exact = -sum(everywhere(derivative(parts[i], i), points) for i in (0, 1))
    v = everywhere(velocity, points)
    return advection(everywhere(field, points), v, grid, scheme=scheme, t=TIME) - exact


@compiled
def convection_error(scheme: str, grid: Grid, points: jax.Array) -> jax.Array:
    fluxes = (convex, sonic)
    parts = [lambda x, y, f=f: f(field(x, y)) for f in fluxes]
    exact = -sum(everywhere(derivative(parts[i], i), points) for i in (0, 1))
    return convection(everywhere(field, points), fluxes, grid, scheme=scheme, t=TIME) - exact


@compiled
def diffusion_error(averaging: str, grid: Grid, points: jax.Array) -> jax.Array:
    exact = everywhere(field, points)
    flux = [lambda x, y, i=i: coefficient(x, y) * derivative(field, i)(x, y) for i in (0, 1)]
    source = exact - sum(everywhere(derivative(flux[i], i), points) for i in (0, 1))
    D = everywhere(coefficient, points)

    def residual(u):
        return u - diffusion(u, D, grid, averaging=averaging, t=TIME) - source

    constant, linear = jax.linearize(residual, jnp.zeros_like(source))
    return cg(linear, -constant, tol=1e-10)[0] - exact


def row(
    operator: str, scheme: str, kind: str, theory: float, error: Callable, cells: tuple[int, ...]
) -> Row:
    errors = tuple(error(kind, n) for n in cells)
    order = -float(np.polyfit(np.log(cells[-3:]), np.log(errors[-3:]), 1)[0])
    return Row(operator, scheme, kind, cells, errors, order, theory)


def rows(kinds: tuple[str, ...] = KINDS) -> list[Row]:
    """Every order, for these kinds of boundary; float64 must be enabled."""
    out = []
    for kind in kinds:
        out.append(row("gradient", "central", kind, 2, gradient_error, REFINEMENTS))
        out.append(row("divergence", "central", kind, 2, divergence_error, REFINEMENTS))
        for scheme, theory in (("upwind", 1), ("central", 2), ("van_leer", 2)):
            error = partial(advection_error, scheme)
            out.append(row("advection", scheme, kind, theory, error, REFINEMENTS))
        for scheme, theory in (("rusanov", 1), ("central", 2), ("van_leer", 2)):
            error = partial(convection_error, scheme)
            out.append(row("convection", scheme, kind, theory, error, REFINEMENTS))
        for averaging in ("arithmetic", "harmonic"):
            error = partial(diffusion_error, averaging)
            # A harmonic face takes the adjacent cell's D on a wall: D is variable here.
            at_wall = averaging == "harmonic" and kind in ("neumann", "robin")
            theory = 1 if at_wall else 2
            out.append(row("diffusion", averaging, kind, theory, error, SOLVED_REFINEMENTS))
    return sorted(out, key=lambda r: (r.operator, r.scheme))


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    table = Table(title="Order of accuracy")
    for heading in ("operator", "scheme", "boundary", "errors, halving h", "order", "theory", ""):
        table.add_column(heading)
    measured = rows()
    for r in measured:
        errors = " ".join(f"{e:.1e}" for e in r.errors)
        verdict = "ok" if r.passed else "OFF"
        table.add_row(
            r.operator, r.scheme, r.boundary, errors, f"{r.order:.2f}", f"{r.theory:g}", verdict
        )
    Console(width=110).print(table)
    return 0 if all(r.passed for r in measured) else 1


if __name__ == "__main__":
    sys.exit(main())
