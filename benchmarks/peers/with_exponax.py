"""Smooth periodic Burgers' equation, a sine wave that steepens: exponax by Fourier modes.

u_t + div(u^2/2, ...) = nu lap(u) on the unit interval or square, nu = 0.02, 64 points an axis, 100
steps to t = 0.5. The gradient is that of the sum of u^2 at the end by the initial state; the error
is that of the end, against exponax on three times as many points with eight times as many steps.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from common import OURS, Rows, loss_of, relative, script, timed

import impindiff as ipd

POINTS, STEPS, END, NU = 64, 100, 0.5, 0.02


class Upwind(ipd.HybridModel):
    """Finite volumes of first order."""

    grid: ipd.Grid

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        carried = ipd.convection(u, lambda u: 0.5 * u**2, self.grid)
        return carried + ipd.diffusion(u, NU, self.grid)


class Spectral(ipd.HybridModel):
    grid: ipd.Grid

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        return ipd.IMEX(
            implicit=NU * ipd.spectral.laplacian(u, self.grid),
            explicit=ipd.spectral.convection(u, lambda u: 0.5 * u**2, self.grid),
        )


def initial(axes: int, points: int) -> jax.Array:
    x = ipd.Grid((0.0,) * axes, (1.0,) * axes, (points,) * axes).centers
    return 0.3 + jnp.mean(jnp.sin(2 * jnp.pi * x), 0)


def exponax_end(axes: int, points: int, steps: int, order: int) -> Callable[[jax.Array], jax.Array]:
    import exponax  # pyright: ignore[reportMissingImports]

    advance = exponax.stepper.Burgers(
        axes,
        1.0,
        points,
        END / steps,
        diffusivity=NU,
        single_channel=True,
        conservative=True,
        order=order,
    )
    return lambda u: exponax.repeat(advance, steps)(u[None])[0]


def our_end(model: ipd.HybridModel, stepper: Any) -> Callable[[jax.Array], jax.Array]:
    def end(u: jax.Array) -> jax.Array:
        times, dt = [0.0, END], END / STEPS
        return ipd.rollout(model, u, times, dt=dt, stepper=stepper, throw=False).u[-1]

    return end


def measure(quick: bool) -> Rows:
    rows = []
    for axes in (1,) if quick else (1, 2):
        grid = ipd.Grid((0.0,) * axes, (1.0,) * axes, (POINTS,) * axes)
        solver = ipd.NewtonKrylov(preconditioner=ipd.spectral.FourierInverse())
        ends = {
            "exponax, order 2 (its default)": exponax_end(axes, POINTS, STEPS, 2),
            "exponax, order 4": exponax_end(axes, POINTS, STEPS, 4),
            f"{OURS}, spectral, ETDRK4": our_end(Spectral(grid), ipd.spectral.ETDRK4()),
            f"{OURS}, spectral, KenCarp4": our_end(Spectral(grid), ipd.KenCarp4(solver=solver)),
            f"{OURS}, upwind, CrankNicolson": our_end(Upwind(grid), ipd.CrankNicolson()),
        }
        fine = jax.jit(exponax_end(axes, 3 * POINTS, 8 * STEPS, 4))(initial(axes, 3 * POINTS))
        # the middle one of three cells has the same centre
        truth = fine[(slice(1, None, 3),) * axes]
        rows += timed(
            f"{' x '.join([str(POINTS)] * axes)} points",
            {name: loss_of(end) for name, end in ends.items()},
            (initial(axes, POINTS),),
            lambda found, truth=truth: relative(found[0][1], truth),
        )
    return rows


if __name__ == "__main__":
    script("exponax", measure)
