"""Order of every stepper in time, and whether adaptive steps meet their tolerance.

    python validation/steppers.py

1-D Burgers on 16 cells with a diffusivity k(t, x) and a forcing that depend on time; the forcing
makes a smooth u(t, x) solve the discretised equation exactly, so that the error (the largest) is
the stepper's alone.

1. Steps of equal length: each stepper; the embedded methods of KenCarp3 and KenCarp4, propagated in
   place of the method whose error they estimate; and both as IMEX pairs, with diffusion implicit,
   convection and forcing explicit.
2. Steps chosen by `AdaptiveStep` for a given tolerance: the error at the end divided by what it
   allows, error / (atol + rtol |u|), in the cell where that is largest. (`AdaptiveStep` itself
   controls the root mean square of each step.) Beside it the largest error divided by rtol alone.

The order is the slope of a straight line through the last 3 refinements. Float64. Exits with 1 if
an order is off by more than 0.1, or if that quotient is more than 10 at the tolerance 1e-6.
"""

import sys
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array
from orders import Row, row, table_of
from rich.console import Console
from rich.table import Table

import impindiff as ipd
from impindiff.steppers import AbstractStepper, Step

TOLERANCE = 0.1
TOLERANCES, JUDGED, FACTOR = (1e-4, 1e-6, 1e-8), 1e-6, 10
UNTIL = 1.0
PI2 = 2 * np.pi
GRID = ipd.Grid((0,), (1,), (16,))
TIGHT = ipd.NewtonKrylov(rtol=1e-12, atol=1e-14)
KEN_CARP = (ipd.KenCarp3(solver=TIGHT), ipd.KenCarp4(solver=TIGHT))
STEPPERS = (
    (ipd.BackwardEuler(solver=TIGHT), (80, 160, 320, 640)),
    (ipd.CrankNicolson(solver=TIGHT), (20, 40, 80, 160)),
    (ipd.BDF2(solver=TIGHT), (40, 80, 160, 320)),
    (ipd.SDIRK2(solver=TIGHT), (20, 40, 80, 160)),
    (KEN_CARP[0], (20, 40, 80, 160)),
    (KEN_CARP[1], (20, 40, 80, 160)),
    (ipd.ForwardEuler(), (80, 160, 320, 640)),
    (ipd.RK4(), (20, 40, 80, 160)),
)


def exact(t):
    (x,) = GRID.centers
    return 1 + 0.5 * jnp.sin(PI2 * (x - 0.6 * t)) * jnp.exp(-0.5 * t) + 0.2 * jnp.cos(3 * t)


class Coefficients(NamedTuple):
    diffusivity: Array
    forcing: Array | float


class Burgers(ipd.HybridModel):
    """du/dt + div(u^2/2) = div(k(t, x) grad u) + forcing(t, x), the forcing that of `exact`."""

    def latent(self, t):
        (x,) = GRID.centers
        k = 0.01 * (1.5 + jnp.sin(PI2 * x + 4 * t))
        value, rate = jax.jvp(exact, (t,), (jnp.ones_like(t),))
        unforced = self.parts(value, Coefficients(k, 0.0))
        return Coefficients(k, rate - sum(unforced))

    def parts(self, u, latent):
        """Diffusion, and the rest."""
        convected = ipd.convection(u, lambda u: 0.5 * u**2, GRID, "central")
        return ipd.diffusion(u, latent.diffusivity, GRID), convected + latent.forcing

    def tendency(self, t, u, latent):
        return sum(self.parts(u, latent))


class SplitBurgers(Burgers):
    """The same, for an IMEX pair: diffusion implicit, convection and forcing explicit."""

    def tendency(self, t, u, latent):
        return ipd.IMEX(*self.parts(u, latent))


def embedded(stepper: ipd.KenCarp3 | ipd.KenCarp4) -> AbstractStepper:
    """The method that estimates the stepper's error, propagated: u_{n+1} less the estimate."""

    class Embedded(AbstractStepper):
        order = stepper.embedded_order or 0
        nodes = stepper.nodes

        def start(self, model, t, u, latent):
            return stepper.start(model, t, u, latent)

        def step(self, model, t, dt, u, memory, latents, probe):
            step = stepper.step(model, t, dt, u, memory, latents, probe)
            u = jax.tree.map(jnp.subtract, step.u, step.error)
            # what the method would carry over is the tendency of its own state, not of this one
            return Step(u, self.start(model, t + dt, u, latents[-1]), step.status)

    return Embedded()


# 1. Steps of equal length


def error_of(result: ipd.Rollout) -> float:
    return float(jnp.abs(result.u[-1] - exact(UNTIL)).max())


def time_error(model: ipd.HybridModel, stepper: AbstractStepper, steps: int) -> float:
    return error_of(ipd.rollout(model, exact(0.0), [0.0, UNTIL], stepper=stepper, dt=UNTIL / steps))


def order_rows() -> list[Row]:
    def measured(model, stepper, name, sizes):
        error = partial(time_error, model, stepper)
        return row("1-D, k(t, x)", name, "steps", stepper.order, sizes, error, tolerance=TOLERANCE)

    out = [measured(Burgers(), s, type(s).__name__, sizes) for s, sizes in STEPPERS]
    for stepper in KEN_CARP:
        name = type(stepper).__name__
        out.append(measured(Burgers(), embedded(stepper), f"{name}, embedded", (80, 160, 320, 640)))
        out.append(measured(SplitBurgers(), stepper, f"{name}, IMEX pair", (40, 80, 160, 320)))
    return out


# 2. Adaptive steps


class Adapted(NamedTuple):
    """One line of the second table."""

    method: str
    tolerance: float
    largest: float
    quotient: float
    accepted: int
    rejected: int

    @property
    def passed(self) -> bool:
        return self.tolerance != JUDGED or self.quotient <= FACTOR


def adaptive_row(stepper: AbstractStepper, tolerance: float) -> Adapted:
    control = ipd.AdaptiveStep(rtol=tolerance, atol=tolerance, max_steps=4096)
    result = ipd.rollout(Burgers(), exact(0.0), [0.0, UNTIL], stepper=stepper, dt=control)
    wanted = exact(UNTIL)
    relative = (result.u[-1] - wanted) / (tolerance + tolerance * jnp.abs(wanted))
    return Adapted(
        type(stepper).__name__,
        tolerance,
        error_of(result),
        float(jnp.max(jnp.abs(relative))),
        accepted=len(result.step_times) - 1,
        rejected=int(jnp.asarray(result.rejected_steps)),
    )


def adaptive_table(rows: list[Adapted]) -> Table:
    table = Table(title="Adaptive steps, rtol = atol")
    for heading in (
        "method",
        "tolerance",
        "largest error",
        "over rtol",
        "over atol + rtol |u|",
        "accepted",
        "rejected",
        "",
    ):
        table.add_column(heading)
    for r in rows:
        judged = r.tolerance == JUDGED
        table.add_row(
            r.method,
            f"{r.tolerance:.0e}",
            f"{r.largest:.1e}",
            f"{r.largest / r.tolerance:.2g}",
            f"{r.quotient:.2g}",
            str(r.accepted),
            str(r.rejected),
            ("ok" if r.passed else "MISSED") if judged else "",
        )
    return table


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    console = Console(width=120)
    orders = order_rows()
    console.print(table_of(orders, "Burgers' equation: order of accuracy in time"))
    adapted = [adaptive_row(s, tolerance) for s in KEN_CARP for tolerance in TOLERANCES]
    console.print(adaptive_table(adapted))
    return 0 if all(r.passed for r in (*orders, *adapted)) else 1


if __name__ == "__main__":
    sys.exit(main())
