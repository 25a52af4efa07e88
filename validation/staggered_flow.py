"""Velocity and pressure on the staggered arrangement, for `validation/flow.py`.

Taylor and Green's vortices carried by a wind (order in space, on uniform and stretched axes, and in
time, of velocity and pressure), divergence over many steps, odd-even modes of the pressure,
gradients against central differences, and iterations with and without pressure correction.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy.interpolate import CubicSpline

import impindiff as ipd
from impindiff import incompressible

Rows = list[tuple[str, float, float]]
STILL = ((ipd.Dirichlet(0.0),) * 2,) * 2
LID = (((ipd.Dirichlet(0.0),) * 2, (ipd.Dirichlet(0.0), ipd.Dirichlet(1.0))), STILL)
WIND = (1.0, 0.5)


class Flow(ipd.HybridModel):
    """Incompressible flow with velocity and pressure."""

    grid: ipd.Grid
    viscosity: Any
    boundary: tuple | None = None
    force: tuple | None = None

    def mass(self) -> Any:
        """See `incompressible.mass`."""
        return incompressible.mass(self.grid, self.boundary)

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        """See `incompressible.tendency`."""
        options = {"boundary": self.boundary, "force": self.force, "t": t}
        return incompressible.tendency(u, self.viscosity, self.grid, **options)


def solver(boundary: Any = None, rtol: float | None = None, **options: Any) -> ipd.NewtonKrylov:
    """Newton's method with pressure correction."""
    inverse = incompressible.PressureCorrection(boundary)
    return ipd.NewtonKrylov(rtol, preconditioner=inverse, **options)


def rest(grid: ipd.Grid) -> Any:
    """A fluid at rest."""
    zero = jnp.zeros(grid.cells)
    return {"velocity": (zero,) * grid.ndim, "pressure": zero}


def cavity(cells: int, strength: float = 0.0) -> ipd.Grid:
    """The unit square, with cells narrower towards the walls if `strength` is above 0."""
    if strength == 0:
        return ipd.Grid((0.0, 0.0), (1.0, 1.0), (cells, cells), STILL)
    return ipd.Grid.from_edges((ipd.grid.tanh(0.0, 1.0, cells, strength),) * 2, STILL)


def on_centre_lines(
    reynolds: int, grid: ipd.Grid, y: Any, x: Any
) -> tuple[np.ndarray, np.ndarray, str]:
    """(u at y on the vertical centre line, v at x on the horizontal one, a line on the solve)."""
    pseudo = ipd.PseudoTime() if reynolds > 100 else None
    method = solver(LID, 1e-7, linear_solver=ipd.BiCGStab(max_steps=1000))
    model = Flow(grid, 1 / reynolds, LID)
    found = ipd.steady(model, rest(grid), solver=method, pseudo_time=pseudo)
    middle = grid.cells[0] // 2 - 1  # the face at 1/2
    u, v = (np.asarray(part) for part in found.u["velocity"])
    at = np.concatenate([[0.0], grid.axis_centers(1), [1.0]])
    along = CubicSpline(at, np.concatenate([[0.0], u[middle], [1.0]]))(np.asarray(y))
    across = CubicSpline(at, np.concatenate([[0.0], v[:, middle], [0.0]]))(np.asarray(x))
    left = incompressible.divergence(found.u["velocity"], grid, boundary=LID)
    told = (
        f"{int(found.pseudo_steps)} pseudo-time steps, {int(found.status.iterations)} Newton and "
        f"{int(found.status.linear_iterations)} Krylov iterations, divergence "
        f"{float(jnp.abs(left).max()):.1e}"
    )
    return along, across, told


def vortices(grid: ipd.Grid, t: float, nu: float) -> Any:
    """Taylor and Green's vortices at the places of the unknowns."""

    def at(points: Any, which: int) -> Any:
        x, y, size = points[0] - WIND[0] * t, points[1] - WIND[1] * t, np.exp(-2 * nu * t)
        return (
            WIND[0] + size * jnp.sin(x) * jnp.cos(y),
            WIND[1] - size * jnp.cos(x) * jnp.sin(y),
            size**2 * (jnp.cos(2 * x) + jnp.cos(2 * y)) / 4,
        )[which]

    velocity = tuple(at(incompressible.face_points(grid, i), i) for i in (0, 1))
    return {"velocity": velocity, "pressure": at(grid.centers, 2)}


def periodic(cells: int, wavy: bool = False) -> ipd.Grid:
    """A periodic square, with widths of cells that vary by a factor of 2 if `wavy`."""
    part = np.arange(cells + 1) / cells
    part = part + 0.053 * np.sin(2 * np.pi * part) if wavy else part
    return ipd.Grid.from_edges((2 * np.pi * part,) * 2)


def start(grid: ipd.Grid) -> Any:
    """The vortices without divergence, and no guess of the pressure."""
    now = vortices(grid, 0.0, 0.05)
    velocity = incompressible.project(now["velocity"], grid)
    return {"velocity": velocity, "pressure": 0 * now["pressure"]}


def sizes(a: Any, b: Any) -> np.ndarray:
    """Largest differences of the velocity and of the pressure."""
    apart = [float(jnp.abs(x - y).max()) for x, y in zip(a["velocity"], b["velocity"], strict=True)]
    return np.array([max(apart), float(jnp.abs(a["pressure"] - b["pressure"]).max())])


def after(grid: ipd.Grid, stepper: Any, dt: float, nu: Any = 0.05) -> Any:
    """The vortices at t = 1."""
    found = ipd.rollout(Flow(grid, nu), start(grid), [0.0, 1.0], stepper=stepper, dt=dt)
    return jax.tree.map(lambda x: x[-1], found.u)


def check_order_in_space() -> Rows:
    """Errors of velocity and pressure on two grids, with steps to match."""
    rows = []
    for name, wavy in (("uniform", False), ("stretched", True)):
        errors = []
        for cells in (16, 32):
            grid = periodic(cells, wavy)
            found = after(grid, ipd.SDIRK2(solver=solver()), 1.6 / cells)
            errors.append(sizes(found, vortices(grid, 1.0, 0.05)))
        print(f"staggered vortices, {name}: errors {errors[0]}, {errors[1]}", flush=True)
        for part, ratio in zip(("velocity", "pressure"), errors[1] / errors[0], strict=True):
            rows.append((f"staggered, {name}, {part}: 4 over factor", float(4 * ratio), 1.25))
    return rows


def check_order_in_time() -> Rows:
    """Differences from steps half as long: their factor is 2 to the order."""
    rows = []
    for order, kind in ((1, ipd.BackwardEuler), (2, ipd.CrankNicolson), (2, ipd.BDF2)):
        stepper = kind(solver=solver(rtol=1e-10))
        ends = [after(periodic(16), stepper, 1 / n) for n in (10, 20, 40)]
        factors = sizes(ends[0], ends[1]) / sizes(ends[1], ends[2])
        print(f"staggered vortices, {kind.__name__}: factors of halving dt {factors}", flush=True)
        for part, factor in zip(("velocity", "pressure"), factors, strict=True):
            name = f"staggered, {kind.__name__}, {part}: {2**order} over factor"
            rows.append((name, float(2**order / factor), 1.25))
    return rows


def check_many_steps() -> Rows:
    """The largest divergence in 200 steps of a cavity; the odd-even mode of a smooth pressure."""
    grid = cavity(32, 1.2)
    stepper = ipd.CrankNicolson(solver=solver(LID))
    times = [0.0, 2.5, 5.0, 7.5, 10.0]
    found = ipd.rollout(Flow(grid, 0.01, LID), rest(grid), times, stepper=stepper, dt=0.05)
    left = incompressible.divergence(found.u["velocity"], grid, boundary=LID)
    # of the vortices: the pressure of a cavity has no bound at the corners of its lid
    smooth = after(periodic(32), ipd.BackwardEuler(solver=solver()), 0.1)
    p = np.asarray(smooth["pressure"])
    mode = abs(((-1.0) ** np.add.outer(*map(np.arange, p.shape)) * p).mean()) / p.std()
    narrowest = float(np.diff(grid.axis_edges(0)).min())
    return [
        (
            "staggered: divergence in 200 steps, times h",
            float(jnp.abs(left).max()) * narrowest,
            1e-8,
        ),
        ("staggered: odd-even mode of a smooth pressure", mode, 1e-6),
    ]


def check_gradients() -> Rows:
    """d(misfit) by viscosity and by a force, against central differences of fourth order."""
    rows = []
    grid = cavity(12, 1.2)
    shape = jnp.sin(np.pi * incompressible.face_points(grid, 0)[1])
    adjoint = ipd.ImplicitAdjoint(rtol=1e-11)
    for kind in (ipd.BackwardEuler, ipd.CrankNicolson, ipd.BDF2, ipd.SDIRK2):
        stepper = kind(solver=solver(LID, 1e-12), adjoint=adjoint)

        @jax.jit
        @jax.value_and_grad
        def misfit(at: Any, stepper: Any = stepper) -> Any:
            model = Flow(grid, at[0], LID, (at[1] * shape, 0.0))
            found = ipd.rollout(model, rest(grid), [0.0, 0.25], stepper=stepper, dt=0.05).u
            return jnp.sum(found["velocity"][0][-1] ** 2) + jnp.sum(found["pressure"][-1] ** 2)

        at = jnp.asarray([0.02, 0.3])
        _, gradient = misfit(at)
        off = 0.0
        for k in range(2):
            step = 1e-3 * at[k] * jnp.eye(2)[k]
            near, far = (misfit(at + n * step)[0] - misfit(at - n * step)[0] for n in (1, 2))
            expected = (8 * near - far) / (12 * step[k])
            off = max(off, abs(float(gradient[k] / expected - 1)))
        rows.append((f"staggered, {kind.__name__}: gradient, relative", off, 1e-6))
    return rows


def iterations(model: Flow, u: Any, dt: float | None, method: ipd.NewtonKrylov) -> float:
    """Krylov iterations per Newton iteration of a step, or of the steady state."""
    if dt is None:
        status = ipd.steady(model, u, solver=method, check_unique=False).status
    else:
        stepper = ipd.BackwardEuler(solver=method)
        status = ipd.rollout(model, u, [0.0, dt], stepper=stepper, dt=dt).stats
    return float(jnp.sum(status.linear_iterations) / jnp.sum(status.iterations))


def check_iterations() -> Rows:
    """Krylov iterations with pressure correction on 32^2, 64^2 and 128^2 cells, and without."""
    rows = []
    plain = ipd.NewtonKrylov(1e-7, linear_solver=ipd.BiCGStab(max_steps=20000))
    corrected = functools.partial(solver, LID, 1e-7)
    cases = {"a step of 0.01": 0.01, "a step of 1": 1.0, "steady": None}
    for name, dt in cases.items():
        counts = []
        for cells in (32, 64, 128):
            model = Flow(cavity(cells), 0.01, LID)
            counts.append(iterations(model, rest(model.grid), dt, corrected()))
        model = Flow(cavity(32), 0.01, LID)
        alone = iterations(model, rest(model.grid), dt, plain)
        print(
            f"staggered cavity, Re 100, {name}: {counts[0]:.1f}, {counts[1]:.1f} and "
            f"{counts[2]:.1f} Krylov iterations per Newton iteration on 32, 64 and 128 cells; "
            f"without pressure correction {alone:.0f} on 32",
            flush=True,
        )
        # on 16 times as many cells
        rows.append((f"staggered, {name}: iterations, 128 over 32", counts[2] / counts[0], 1.5))
    return rows


def check_all() -> Rows:
    """All rows but those of the cavity's tables."""
    rows = check_order_in_space() + check_order_in_time() + check_many_steps()
    return rows + check_gradients() + check_iterations()


if __name__ == "__main__":
    jax.config.update("jax_enable_x64", True)
    for row, value, bound in check_all():
        print(f"{row:58s} {value:10.2e}  allowed {bound:.2g}{'' if value <= bound else '  MISSED'}")
