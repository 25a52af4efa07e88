"""Domains that are a part of the grid: cut cells and masks against exact solutions.

    python validation/domains.py

Manufactured solutions with a variable diffusivity in a disc and a disc with a hole, for each
condition; a logarithm between two circles, one of which has a flux; a square at 30 degrees; an L
(balance of fluxes, convergence of the flux at its corner's order 4/3); conservation and positivity
over 1000 implicit steps of a flow around a hole; gradients by a diffusivity, a film's coefficient
and the place of a hole; iterations with multigrid in two and three dimensions. The order is the
slope of a straight line through all refinements: of the mean error by volume, of the largest one
where the centre is inside, and of the largest one at all. Where it is outside, the solution is
continued analytically, and under a Dirichlet condition the value is that of the boundary: the error
is the slope times the depth of the centre, which is at most half a cell's diagonal, and how near
the deepest centre comes to that differs from grid to grid. Each error is therefore the worst over
several places of the grid, moved by parts of a cell.

Exits with 1 if these orders are less than 1.85, 0.85 and 0.85, a total is off by more than 1e-12 of
itself, a value is below -1e-12, a gradient differs by more than 1e-6 from central differences, or
iterations grow by more than half.
"""

import sys
from collections.abc import Callable
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.implicit.linear import krylov_solve

TOLERANCE = 0.15
CELLS = (32, 64, 128, 256)
# Parts of a cell by which the grid is moved against the domain.
PLACES = ((0.0, 0.0), (0.31, 0.12), (0.57, 0.78), (0.83, 0.44))
WALLS = (ipd.Neumann(), ipd.Neumann())


class Row(NamedTuple):
    """One line of the table: errors in the mean, the largest with a centre inside, and of all."""

    problem: str
    condition: str
    mean: tuple[float, ...]
    largest: tuple[float, ...]
    of_all: tuple[float, ...]
    cells: tuple[int, ...] = CELLS

    def orders(self) -> tuple[float, ...]:
        slopes = [np.polyfit(np.log(self.cells), np.log(e), 1)[0] for e in self[2:5]]
        return tuple(-float(slope) for slope in slopes)

    @property
    def passed(self) -> bool:
        mean, largest, of_all = self.orders()
        return mean >= 2 - TOLERANCE and min(largest, of_all) >= 1 - TOLERANCE


class Check(NamedTuple):
    """A number and the largest that is allowed."""

    name: str
    value: float
    limit: float

    @property
    def passed(self) -> bool:
        return self.value <= self.limit


def disc(x, y):
    """Signed distance, negative inside."""
    return np.hypot(x - 0.013, y - 0.021) - 0.83


def with_hole(x, y):
    """A disc less a smaller one, off its centre."""
    return np.maximum(disc(x, y), 0.3 - np.hypot(x - 0.25, y - 0.1))


def ring(x, y):
    """Between radius 0.3 and 0.8."""
    return np.abs(np.hypot(x, y) - 0.55) - 0.25


def round_body(x, y, z):
    """A box around a sphere."""
    return 0.4 - np.sqrt((x - 0.02) ** 2 + y**2 + z**2)


TILT = np.pi / 6


def along(x, y):
    """Coordinates along the sides of the tilted square."""
    return np.cos(TILT) * x + np.sin(TILT) * y, np.cos(TILT) * y - np.sin(TILT) * x


def tilted(x, y):
    """A square of side 1 at 30 degrees."""
    s, t = along(x, y)
    return np.maximum(np.abs(s), np.abs(t)) - 0.5


def upright(x, y):
    """The same along the axes."""
    return np.maximum(np.abs(x), np.abs(y)) - 0.5


def exact(x, y):
    """A smooth field without symmetry."""
    return jnp.sin(2 * x + 0.3) * jnp.cos(1.5 * y) + x * y


def diffusivity(x, y):
    """A variable D."""
    return 1 + 0.5 * x + 0.3 * y * y


def of_points(function: Callable, at) -> np.ndarray:
    """Values at points (2, ...) of a function of two numbers."""
    x, y = jnp.asarray(at)
    return np.asarray(jax.vmap(function)(x.ravel(), y.ravel())).reshape(x.shape)


def balance_of(u: Callable, D: Callable) -> Callable:
    """div(D grad u)."""

    def flux(axis):
        return lambda x, y: D(x, y) * jax.grad(u, axis)(x, y)

    return lambda x, y: jax.grad(flux(0), 0)(x, y) + jax.grad(flux(1), 1)(x, y)


def normal_slope(u: Callable, phi: Callable, at) -> np.ndarray:
    """du/dn at points of the boundary phi = 0."""
    x, y = at
    step = 1e-6
    n = [phi(x + step, y) - phi(x - step, y), phi(x, y + step) - phi(x, y - step)]
    slopes = [of_points(jax.grad(u, axis), at) for axis in (0, 1)]
    return (slopes[0] * n[0] + slopes[1] * n[1]) / (2 * step)


@jax.jit
def solved(A: ipd.Elliptic, b):
    """The solution of A u = b and the number of iterations."""
    inverse = ipd.multigrid_cycle(A)
    return krylov_solve(A, b, ipd.BiCGStab(max_steps=500), 1e-12, inverse)[:2]


def box(n: int, phi: Callable, embedded=None, place: tuple[float, float] = (0, 0)) -> ipd.Grid:
    """[-1, 1]^2 in n x n cells, moved by parts of a cell."""
    moved = [2 * part / n for part in place]
    lower, upper = ([end + m for m in moved] for end in (-1.0, 1.0))
    return ipd.Grid(lower, upper, (n, n), WALLS, domain=phi, embedded=embedded)


def errors(grid: ipd.Grid, D, source, r: float, truth) -> tuple[float, float, float]:
    """Error of r u - div(D grad u) = source, in the mean and the largest."""
    assert grid.domain is not None
    A = ipd.Elliptic.of(D, r, grid, averaging="arithmetic")
    given = source + ipd.diffusion(jnp.zeros(grid.shape), D, grid)
    found, _ = solved(A, jnp.where(jnp.asarray(grid.inside), given, 0.0))
    off = np.where(np.asarray(grid.inside), np.abs(np.asarray(found) - truth), 0.0)
    V = np.asarray(grid.volumes)
    defined = np.where(np.asarray(grid.domain.distance) > 0, off, 0.0)
    return float((off * V).sum() / V.sum()), float(defined.max()), float(off.max())


def manufactured(phi: Callable, condition: str, n: int, place) -> tuple[float, float, float]:
    at = box(n, phi, place=place).embedded_points
    value, slope = of_points(exact, at), normal_slope(exact, phi, at)
    wall = {
        "Dirichlet": ipd.Dirichlet(value),
        "Neumann": ipd.Neumann(slope),
        "Robin": ipd.Robin(2.0, 0.7, 2.0 * value + 0.7 * slope),
    }[condition]
    grid = box(n, phi, wall, place)
    x, y = grid.centers
    r = 1.0 if condition == "Neumann" else 0.0
    source = r * exact(x, y) - of_points(balance_of(exact, diffusivity), (x, y))
    return errors(grid, diffusivity(x, y), source, r, np.asarray(exact(x, y)))


def between_circles(condition: str, n: int, place) -> tuple[float, float, float]:
    """log(r / 0.8) / log(0.3 / 0.8): given values, or the flux at the inner circle."""
    at = box(n, ring, place=place).embedded_points
    inner = np.hypot(*at) < 0.55
    wall: ipd.Dirichlet | ipd.Robin = ipd.Dirichlet(np.where(inner, 1.0, 0.0))
    if condition == "flux inside":
        # du/dn, n pointing to the centre
        flux = -1 / (0.3 * np.log(0.3 / 0.8))
        wall = ipd.Robin(np.where(inner, 0.0, 1.0), np.where(inner, 1.0, 0.0),
                         np.where(inner, flux, 0.0))  # fmt: skip
    grid = box(n, ring, wall, place)
    radius = np.maximum(np.hypot(*np.asarray(grid.centers)), 0.1)
    truth = np.log(radius / 0.8) / np.log(0.3 / 0.8)
    return errors(grid, 1.0, 0.0, 0.0, truth)


def square(phi: Callable, condition: str, n: int, place) -> tuple[float, float, float]:
    """cos cos or sin sin along the square's sides."""
    wall = ipd.Neumann() if condition == "Neumann" else ipd.Dirichlet(0.0)
    grid = box(n, phi, wall, place)
    s, t = np.asarray(grid.centers) if phi is upright else along(*np.asarray(grid.centers))
    wave = np.sin if condition == "Neumann" else np.cos
    truth = wave(np.pi * s) * wave(np.pi * t)
    return errors(grid, 1.0, (1 + 2 * np.pi**2) * truth, 1.0, truth)


def through_l(n: int) -> tuple[float, float]:
    """Flux through an L from the end of one leg to that of the other: what enters and leaves."""
    inside = np.ones((n, n), bool)
    inside[n // 2 :, n // 2 :] = False
    ends = (ipd.Neumann(), ipd.Dirichlet(0.0)), (ipd.Neumann(), ipd.Dirichlet(1.0))
    grid = ipd.Grid((0.0, 0.0), (1.0, 1.0), (n, n), ends, domain=inside)
    A = ipd.Elliptic.of(1.0, 0.0, grid)
    u, _ = solved(A, ipd.diffusion(jnp.zeros(grid.shape), 1.0, grid))
    entering = 2 * jnp.sum((1.0 - u[:, -1])[: n // 2])
    return float(entering), float(2 * jnp.sum(u[-1, : n // 2]))


class Transport(ipd.HybridModel):
    """Advection and diffusion with given coefficients."""

    grid: ipd.Grid
    D: jax.Array | float
    velocity: tuple[jax.Array, ...]

    def latent(self, t):
        return self.D

    def tendency(self, t, u, latent):
        return ipd.advection_diffusion(u, self.velocity, latent, self.grid, t=t)


def around_hole(grid: ipd.Grid) -> tuple[jax.Array, jax.Array]:
    """Velocities on faces from a stream function that is 0 outside: no net flux anywhere."""
    x, y = np.meshgrid(grid.axis_edges(0), grid.axis_edges(1), indexing="ij")
    psi = np.where(with_hole(x, y) < 0, 4 * with_hole(x, y) ** 2 * np.sin(3 * x + y), 0.0)
    fluxes = np.diff(psi, axis=1) / grid.spacing[1], -np.diff(psi, axis=0) / grid.spacing[0]
    assert grid.domain is not None
    parts = [np.where(a > 0, a, np.inf) for a in grid.domain.faces]
    return jnp.asarray(fluxes[0] / parts[0]), jnp.asarray(fluxes[1] / parts[1])


def totals(n: int = 32, steps: int = 1000) -> list[Check]:
    """A spot carried around a hole: the total is kept, and nothing gets negative."""
    checks = []
    grid = box(n, with_hole)
    x, y = np.asarray(grid.centers)
    u0 = np.where((np.hypot(x + 0.4, y) < 0.2) & np.asarray(grid.inside), 1.0, 0.0)
    model = Transport(grid, 1e-4, around_hole(grid))
    solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid(), rtol=1e-12)
    times = np.linspace(0.0, 10.0, steps + 1)
    stepper = ipd.BackwardEuler(solver=solver)
    run = jax.jit(lambda u0: ipd.rollout(model, u0, times, stepper=stepper).u)
    states = np.asarray(run(jnp.asarray(u0)))
    kept = (states * np.asarray(grid.volumes)).sum((1, 2))
    checks.append(Check("total over 1000 steps", float(np.abs(kept / kept[0] - 1).max()), 1e-12))
    checks.append(Check("least value, upwind, negated", float(-states.min()), 1e-12))
    outside = ~np.asarray(grid.inside)
    changed = float(np.abs(states - u0)[:, outside].max())
    checks.append(Check("change of cells outside", changed, 0.0))
    return checks


class Film(ipd.HybridModel):
    """Cooling through the film of a hole whose place and coefficient are unknown."""

    D: jax.Array
    place: jax.Array
    film: jax.Array

    def latent(self, t):
        def phi(x, y):
            hole = 0.3 - jnp.hypot(x - self.place[0], y - self.place[1])
            return jnp.maximum(disc(x, y), hole)

        wall = ipd.Robin(self.film, 0.5, 1.0)
        return ipd.Grid((-1.0, -1.0), (1.0, 1.0), self.D.shape, WALLS, domain=phi, embedded=wall)

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.D, latent, t=t)


def gradients(n: int = 32, step: float = 1e-5) -> list[Check]:
    """Derivatives of a misfit against central differences, relative to the gradient's size."""
    x, y = box(n, with_hole).centers
    seen = jnp.where(jnp.hypot(x + 0.3, y + 0.3) < 0.2, 1.0, 0.0)
    solver = ipd.NewtonKrylov(preconditioner=ipd.Multigrid(), rtol=1e-13)
    stepper = ipd.CrankNicolson(solver=solver, adjoint=ipd.ImplicitAdjoint(rtol=1e-13))

    def misfit(parameters) -> jax.Array:
        D, place, film = parameters
        model = Film(D, place, film)
        times = np.linspace(0.0, 0.5, 6)
        u = ipd.rollout(model, jnp.zeros((n, n)), times, stepper=stepper).u
        return jnp.sum(seen * (u[-1] - 0.1) ** 2)

    at = (diffusivity(x, y) * 0.3, jnp.asarray([0.25, 0.1]), jnp.asarray(1.2))
    value = jax.jit(misfit)
    found = jax.jit(jax.grad(misfit))(at)
    bump = jnp.exp(-((x - 0.2) ** 2 + (y + 0.3) ** 2) / 0.1)
    none = jax.tree.map(jnp.zeros_like, at)
    directions = {
        "diffusivity": (bump, *none[1:]),
        "film's coefficient": (none[0], none[1], jnp.asarray(1.0)),
        "hole along x": (none[0], jnp.asarray([1.0, 0.0]), none[2]),
        "hole along y": (none[0], jnp.asarray([0.0, 1.0]), none[2]),
    }
    checks = []
    for name, way in directions.items():
        upper, lower = (jax.tree.map(lambda a, w, s=s: a + s * w, at, way) for s in (step, -step))
        differences = float((value(upper) - value(lower)) / (2 * step))
        ours = float(sum(jnp.sum(g * w) for g, w in zip(found, way, strict=True)))
        checks.append(Check(f"gradient, {name}", abs(ours / differences - 1), 1e-6))
    return checks


def iterations(ndim: int, condition: str, n: int) -> int:
    """Krylov iterations with a multigrid cycle, D jumping by 1000 across a wavy front."""
    wall = {"Dirichlet": ipd.Dirichlet(), "Neumann": ipd.Neumann()}[condition]
    if ndim == 2:
        grid = box(n, with_hole, wall)
    else:
        sides = (ipd.Dirichlet(), ipd.Neumann(), ipd.Neumann())
        grid = ipd.Grid((-1.0,) * 3, (1.0,) * 3, (n,) * 3, sides, domain=round_body, embedded=wall)
    x, y = grid.centers[:2]
    D = jnp.where(x + 0.3 * jnp.sin(5 * y) > 0, 1e-3, 1.0)

    @eqx.filter_jit
    def solve(grid, D, b):
        A = ipd.Elliptic.of(D, 1e-6, grid)
        return krylov_solve(A, b, ipd.BiCGStab(max_steps=500), 1e-8, ipd.multigrid_cycle(A))[1]

    noise = np.random.default_rng(0).normal(size=grid.shape)
    return int(solve(grid, D, jnp.asarray(np.where(grid.inside, noise, 0.0))))


def rows(cells: tuple[int, ...] = CELLS) -> list[Row]:
    """Every order; float64 must be enabled."""
    made = []

    def add(problem: str, condition: str, error: Callable) -> None:
        worst = [np.max([error(n, place) for place in PLACES], 0) for n in cells]
        mean, largest, of_all = (tuple(map(float, e)) for e in zip(*worst, strict=True))
        made.append(Row(problem, condition, mean, largest, of_all, tuple(cells)))

    for name, phi in (("disc", disc), ("disc with a hole", with_hole)):
        for condition in ("Dirichlet", "Neumann", "Robin"):
            add(name, condition, lambda n, at, c=condition, p=phi: manufactured(p, c, n, at))
    for condition in ("values", "flux inside"):
        add("between circles", condition, lambda n, at, c=condition: between_circles(c, n, at))
    for name, phi in (("square", upright), ("square at 30 degrees", tilted)):
        for condition in ("Dirichlet", "Neumann"):
            add(name, condition, lambda n, at, c=condition, p=phi: square(p, c, n, at))
    return made


def flux_checks(cells: tuple[int, ...] = (16, 32, 64, 128, 256)) -> list[Check]:
    """The L: what enters leaves; differences between grids shrink at least as fast as they can."""
    pairs = [through_l(n) for n in cells]
    entering = np.asarray([e for e, _ in pairs])
    off = max(abs(e / o - 1) for e, o in pairs)
    order = float(np.polyfit(np.log(cells[1:]), np.log(np.abs(np.diff(entering))), 1)[0])
    return [
        Check("L: entering less leaving", off, 1e-9),
        Check(f"L: order {-order:.2f} of the flux, below 4/3", 4 / 3 + order, TOLERANCE),
    ]


def growth(ndim: int, condition: str, sizes: tuple[int, ...]) -> Check:
    """Iterations on the last grid over those on the first."""
    counts = [iterations(ndim, condition, n) for n in sizes]
    name = f"multigrid, {ndim}-D, {condition}, {sizes[0]} to {sizes[-1]} cells: "
    return Check(name + " ".join(map(str, counts)), counts[-1] / counts[0], 1.5)


def main() -> int:
    """Print the tables."""
    jax.config.update("jax_enable_x64", True)
    console = Console(width=150)
    table = Table("domain", "condition", "mean error", "largest, centres inside",
                  "largest of all", "orders", "")  # fmt: skip
    orders = rows()
    for one in orders:
        shown = [" ".join(f"{e:.1e}" for e in errors) for errors in one[2:5]]
        orders_of = " ".join(f"{order:.2f}" for order in one.orders())
        passed = "ok" if one.passed else "FAILED"
        table.add_row(one.problem, one.condition, *shown, orders_of, passed)
    console.print(f"cells per side: {' '.join(map(str, CELLS))}")
    console.print(table)
    table = Table("check", "value", "at most", "")
    checks = [*flux_checks(), *totals(), *gradients()]
    for condition in ("Dirichlet", "Neumann"):
        checks.append(growth(2, condition, (64, 128, 256, 512)))
        checks.append(growth(3, condition, (24, 48, 96)))
    for one in checks:
        table.add_row(
            one.name, f"{one.value:.2g}", f"{one.limit:g}", "ok" if one.passed else "FAILED"
        )
    console.print(table)
    return 0 if all(one.passed for one in [*orders, *checks]) else 1


if __name__ == "__main__":
    sys.exit(main())
