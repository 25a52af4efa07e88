"""Chemical vapor infiltration against what is known of it without solving it.

    python validation/vapor_infiltration.py

1. Order in space, porosity frozen: the gas in a slab, its surface held at c = 1 or behind a film
   (Robin), and in a square with c = 1 on all sides, against the exact solutions.
2. Order in time where gas is everywhere (phi2 = 0): eps = eps0^((1 + tau)^2), to tau = 1.2.
3. The same within 1e-6; and the pores at the surface close at tau = sqrt(ln eps_p / ln eps0) - 1,
   whatever phi2 is. For phi2 = 1 the surface is a face: the fibres' radius there is extrapolated
   from the two cells before it.
4. Gas in equals solid deposited, in every step until the pores have closed.
5. A hot core densifies from the inside, a part that is as hot everywhere from the outside, which
   traps pores.
6. Trapped porosity by grid and by step; and the same in three dimensions.

Orders are the slope of a straight line through the last 3 refinements. Float64. Exits with 1 if an
order is off by more than 0.1, or a number is out of its bound.
"""

import itertools
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from orders import Row, row, table_of
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.problems.vapor_infiltration import (
    RANDOM_3D,
    Heat,
    InfiltrationPreconditioner,
    Mixture,
    OverlappingFibres,
    Percolation,
    VaporInfiltration,
    concentration,
    imbalance,
)
from impindiff.problems.vapor_infiltration.settings import GAS_CONSTANT
from impindiff.steppers import ImplicitStepper

TOLERANCE = 0.1
EPS0, (EPS_P, _) = 0.6, RANDOM_3D
CLOSING = float(np.sqrt(np.log(EPS_P) / np.log(EPS0)) - 1)  # 1.5405
CORE, SURFACE, ENERGY = 1473.0, 1273.0, 155e3  # K, K, J/mol
GAMMA = ENERGY / (GAS_CONSTANT * SURFACE)
HOT = CORE / SURFACE
STEPPERS = (ipd.BackwardEuler, ipd.SDIRK2, ipd.KenCarp3, ipd.CrankNicolson)


class Check(NamedTuple):
    """One line of the table of numbers."""

    what: str
    how: str
    found: str
    bound: str
    passed: bool


def at_most(what: str, how: str, found: float, bound: float) -> Check:
    return Check(what, how, f"{found:.2e}", f"{bound:.0e}", found <= bound)


def part(
    cells: tuple[int, ...], phi2: Any, lower: float = 0.0, **options: Any
) -> VaporInfiltration:
    n = len(cells)
    grid = ipd.Grid((lower,) * n, (1.0,) * n, cells, boundary=(ipd.Neumann(),) * n)
    return VaporInfiltration(
        grid, OverlappingFibres(), Percolation(*RANDOM_3D), phi2, EPS0, **options
    )


def stepper_of(kind: type[ImplicitStepper], grid: ipd.Grid, rtol: float = 1e-9) -> ImplicitStepper:
    round_off = np.finfo(float).eps * sum(h**-2 for h in grid.spacing)
    return kind(
        solver=ipd.NewtonKrylov(
            rtol,
            max(1e-13, round_off),
            line_search=False,
            preconditioner=InfiltrationPreconditioner(),
        )
    )


def densify(
    model: VaporInfiltration,
    times: Any,
    kind: type[ImplicitStepper] = ipd.SDIRK2,
    *,
    dt: float | None = None,
    rtol: float = 1e-9,
    samples: int | None = None,
):
    start = model.initial_state(samples)
    stepper = stepper_of(kind, model.grid, rtol)
    batch_ndim = 0 if samples is None else 1
    return ipd.rollout(model, start, times, stepper=stepper, dt=dt, batch_ndim=batch_ndim).u


def steps(end: float, count: int) -> np.ndarray:
    return np.linspace(0.0, end, count + 1)


# 1. In space


def frozen_gas(model: VaporInfiltration) -> np.ndarray:
    """c in the preform, before anything is deposited: what makes the initial state consistent."""
    u = densify(model, [0.0, 0.01], ipd.BackwardEuler)
    return np.asarray(concentration(u)[0])


def frozen_moduli(model: VaporInfiltration) -> tuple[float, float]:
    """(Phi, d) of the preform: Phi^2 = phi2 s / d."""
    eps, latent = jnp.asarray(EPS0), model.latent(jnp.zeros(()))
    d = float(model.diffusivity(eps, latent))
    return float(np.sqrt(latent.phi2 * model.pores.surface(eps, eps) / d)), d


def slab_error(biot: float | None, cells: int) -> float:
    model = part((cells,), 4.0, biot=biot)
    Phi, d = frozen_moduli(model)
    film = 0.0 if biot is None else Phi * d / biot
    exact = np.cosh(Phi * model.grid.axis_centers(0)) / (np.cosh(Phi) + film * np.sinh(Phi))
    return float(np.abs(frozen_gas(model) - exact).max())


def square_exact(Phi: float, x: np.ndarray, terms: int = 2000) -> np.ndarray:
    m = 2 * np.arange(terms) + 1
    signed = (-1.0) ** ((m - 1) // 2) / m * np.cos(np.pi / 2 * np.outer(x, m))
    below = Phi**2 + np.pi**2 / 4 * (m[:, None] ** 2 + m**2)
    return 1 - 16 * Phi**2 / np.pi**2 * signed @ (1 / below) @ signed.T


def square_error(cells: int) -> float:
    all_sides = ((True, True), (True, True))
    model = part((cells, cells), 4.0, lower=-1.0, open_sides=all_sides)
    Phi, _ = frozen_moduli(model)
    exact = square_exact(Phi, np.asarray(model.grid.axis_centers(0)))
    return float(np.abs(frozen_gas(model) - exact).max())


# 2. In time


def growth_error(kind: type[ImplicitStepper], count: int, end: float = 1.2) -> float:
    u = densify(part((4,), 0.0), [0.0, end], kind, dt=end / count, rtol=1e-12)
    return float(jnp.abs(u["porosity"][-1] - EPS0 ** ((1 + end) ** 2)).max())


def order_rows() -> list[Row]:
    measured = partial(row, tolerance=TOLERANCE)
    sizes = (16, 32, 64, 128)
    films = (("slab, c = 1", None), ("slab, Bi = 2", 2.0))
    out = [
        measured(name, "gas", "cells", 2, sizes, partial(slab_error, biot)) for name, biot in films
    ]
    out.append(measured("square, c = 1", "gas", "cells", 2, sizes, square_error))
    for kind in (*STEPPERS, ipd.KenCarp4):
        of = partial(growth_error, kind)
        name, order = kind.__name__, kind.order
        sizes = (80, 160, 320, 640) if order == 1 else (20, 40, 80, 160)
        out.append(measured("phi2 = 0", name, "steps", order, sizes, of))
    return out


# 3. Growth and closure where gas is


def crossing(times: np.ndarray, values: np.ndarray, level: float) -> float:
    """When values first pass the level, linearly between two times; NaN if they never do."""
    above = values > level
    passed = np.flatnonzero(above[1:] != above[0])
    if not len(passed):
        return float("nan")
    i = passed[0]
    slope = (values[i + 1] - values[i]) / (times[i + 1] - times[i])
    return float(times[i] + (level - values[i]) / slope)


def growth_checks(dt: float = 0.01) -> Iterator[Check]:
    for kind, count in ((ipd.SDIRK2, 960), (ipd.KenCarp3, 160), (ipd.KenCarp4, 40)):
        how = f"{kind.__name__}, {count} steps"
        yield at_most("phi2 = 0: eps at tau = 1.2", how, growth_error(kind, count), 1e-6)
    times = np.arange(0.0, 1.6, dt)
    model = part((4,), 0.0)
    eps = np.asarray(densify(model, times)["porosity"])[:, 0]
    late = crossing(times, eps, EPS_P + model.stop_width) - CLOSING
    yield at_most("phi2 = 0: closing time", f"dt = {dt}", abs(late), dt)
    for phi2 in (1.0, 5.0):
        model = part((256,), phi2)
        eps = densify(model, times)["porosity"]
        radius = np.asarray(model.pores.radius(eps, jnp.asarray(EPS0)))
        surface = 1.5 * radius[:, -1] - 0.5 * radius[:, -2]
        late = crossing(times, surface, 1 + CLOSING) - CLOSING
        yield at_most(f"phi2 = {phi2:g}: closing time", f"256 cells, dt = {dt}", abs(late), dt)


# 4. Balance


def balance_checks() -> Iterator[Check]:
    times = steps(CLOSING, 77)
    phi2 = (0.3, 1.0, 5.0)
    physics = (
        ("quasi-steady", {}),
        ("Bi = 2", {"biot": 2.0}),
        ("storage 1e-3", {"storage": 1e-3}),
        ("heat", {"gamma": GAMMA, "heat": heat()}),
    )
    # in two dimensions a program takes long to compile: one stepper stands for the others
    for cells, kinds in (((64,), STEPPERS), ((32, 32), (ipd.SDIRK2,))):
        for name, options in physics:
            for kind in kinds:
                coefficients = ipd.PerSample(jnp.asarray(phi2))
                model = part(cells, coefficients, track_inflow=True, **options)
                u = densify(model, times, kind, samples=len(phi2))
                worst = float(imbalance(model, u).max())
                size = " x ".join(map(str, cells))
                yield at_most(f"balance, {name}", f"{size}, {kind.__name__}", worst, 1e-8)


# 5. From within, from outside


def heat(core: float = HOT, surface: float = 1.0) -> Heat:
    return Heat(Mixture(), heater=core, surroundings=surface)


def gradient_checks(cells: int = 64, count: int = 160) -> Iterator[Check]:
    """Each until the pores of its surface close; kappa is 1 at 1273 K."""
    for phi2 in (0.1, 0.3):
        how = f"phi2 = {phi2:g}, {cells} cells"
        left = {}
        for surface in (1.0, HOT):
            model = part((cells,), phi2, gamma=GAMMA, heat=heat(surface=surface))
            end = CLOSING / np.exp(GAMMA * (1 - 1 / surface))
            eps = np.asarray(densify(model, steps(end, count))["porosity"])
            left[surface] = eps[-1].mean()
            # cells more than half filled: as seen from the core, first they are, then they are not
            filled = eps < 0.5 * (EPS0 + EPS_P)
            inwards = np.diff(filled.astype(int), axis=1)
            wrong_way = (inwards > 0 if surface == 1 else inwards < 0).any()
            what = "hot core, from inside" if surface == 1 else "hot everywhere, from outside"
            counts = filled.sum(1)
            moved = int(counts[-1] - counts[0])
            found = f"{moved} cells" + (", NOT in order" if wrong_way else "")
            passed = bool(not wrong_way and moved > 0 and (np.diff(counts) >= 0).all())
            yield Check(f"filled, {what}", how, found, "in order", passed)
        found = f"{left[1.0]:.4f} of {left[HOT]:.4f}"
        passed = left[1.0] < 0.5 * left[HOT]
        yield Check("pores trapped with a hot core", how, found, "half of hot", passed)


# 6. Trapped porosity


PHI2 = (0.25, 1.0, 4.0)


def trapped(cells: tuple[int, ...], count: int) -> np.ndarray:
    """Mean and core porosity when the surface closes, for each of `PHI2`."""
    model = part(cells, ipd.PerSample(jnp.asarray(PHI2)))
    u = densify(model, [0.0, CLOSING], dt=CLOSING / count, samples=len(PHI2))
    eps = np.asarray(u["porosity"][-1]).reshape(len(PHI2), -1)
    return np.stack([eps.mean(-1), eps[:, 0]], -1).ravel()


class Trapped(NamedTuple):
    """Trapped porosity of one refinement, and its largest distance from the one before."""

    refined: str
    values: np.ndarray
    moved: float | None


def refinements(name: str, sizes: tuple[int, ...], of: Any) -> list[Trapped]:
    values = [of(n) for n in sizes]
    moved = [None, *(float(np.abs(b - a).max()) for a, b in itertools.pairwise(values))]
    return [Trapped(f"{n} {name}", v, m) for n, v, m in zip(sizes, values, moved, strict=True)]


def trapped_rows() -> tuple[list[list[Trapped]], list[Check]]:
    tables = [
        refinements("cells", (16, 32, 64, 128), lambda n: trapped((n,), 77)),
        refinements("steps", (19, 38, 77, 154), lambda n: trapped((64,), n)),
    ]
    checks = []
    for rows in tables:
        changes = [r.moved for r in rows if r.moved is not None]
        falling = all(b < 0.6 * a for a, b in itertools.pairwise(changes))
        last = changes[-1]
        what = f"trapped porosity, {rows[0].refined} to {rows[-1].refined}"
        checks.append(
            Check(what, "last change, falling", f"{last:.1e}", "1e-03", falling and last < 1e-3)
        )
    return tables, checks


def three_dimensional_checks(cells: int = 16) -> Iterator[Check]:
    """Gas reaches a cube from three sides: it traps less than a slab, and no axis is special."""
    model = part((cells,) * 3, 1.0, track_inflow=True)
    u = densify(model, steps(CLOSING, 77))
    eps = np.asarray(u["porosity"][-1])
    how = f"{cells}^3, 77 steps"
    yield at_most("3-D: balance", how, float(imbalance(model, u).max()), 1e-8)
    swapped = max(np.abs(eps - eps.transpose(order)).max() for order in ((1, 0, 2), (2, 1, 0)))
    yield at_most("3-D: axes exchanged", how, float(swapped), 1e-8)
    mean = float(eps.mean())
    slab = float(
        densify(part((cells,), 1.0), [0.0, CLOSING], dt=CLOSING / 77)["porosity"][-1].mean()
    )
    yield Check("3-D: trapped", how, f"{mean:.4f}, slab {slab:.4f}", "less than slab", mean < slab)


def checks_table(checks: list[Check]) -> Table:
    table = Table(title="Vapor infiltration: numbers")
    for heading in ("what", "how", "found", "bound", ""):
        table.add_column(heading)
    for c in checks:
        table.add_row(c.what, c.how, c.found, c.bound, "ok" if c.passed else "MISSED")
    return table


def trapped_table(tables: list[list[Trapped]]) -> Table:
    table = Table(title="Trapped porosity, mean and in the core, when the surface closes")
    table.add_column("refined")
    for phi2 in PHI2:
        table.add_column(f"phi2 = {phi2:g}")
    table.add_column("change")
    for rows in tables:
        for r in rows:
            pairs = (f"{mean:.4f} {core:.4f}" for mean, core in r.values.reshape(-1, 2))
            table.add_row(r.refined, *pairs, "" if r.moved is None else f"{r.moved:.1e}")
        table.add_section()
    return table


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    console = Console(width=120)
    orders = order_rows()
    console.print(table_of(orders, "Vapor infiltration: order of accuracy"))
    tables, checks = trapped_rows()
    console.print(trapped_table(tables))
    for more in (growth_checks, gradient_checks, three_dimensional_checks, balance_checks):
        checks.extend(more())
    console.print(checks_table(checks))
    return 0 if all(r.passed for r in (*orders, *checks)) else 1


if __name__ == "__main__":
    sys.exit(main())
