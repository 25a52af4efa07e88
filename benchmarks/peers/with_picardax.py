"""Burgers' equation of a velocity, upwind, by Crank-Nicolson: picardax with its own discretisation.

u_t + (u . grad) u = nu lap(u) on the unit square, nu = 0.01, 20 steps of 0.02, whose residuals fall
by 1e-8; adjoint solves to 1e-8. Both have the right-hand side of picardax, to round-off. Its
solvers are the fastest of Newton's method with GMRES or BiCGStab at 64 x 64, with two inner
tolerances. The gradient is that of the sum of u^2 at the end by the initial state; the error is
that of the end, against a tolerance of 1e-12.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from common import OURS, Rows, loss_of, relative, script, timed

import impindiff as ipd

NU, DT, STEPS, TOLERANCE = 0.01, 0.02, 20, 1e-8
# relative residual of the linear solves inside Newton's method
INNER = (1e-2, 1e-3)


class Burgers(ipd.HybridModel):
    """The discretisation of picardax; the state is one array, (2, cells, cells)."""

    grid: ipd.Grid

    def tendency(self, t: Any, u: Any, latent: Any) -> Any:
        total = jnp.zeros_like(u)
        for i, h in enumerate(self.grid.spacing):
            below, above = jnp.roll(u, 1, i + 1), jnp.roll(u, -1, i + 1)
            speed = u[i : i + 1]
            up = jnp.maximum(0.5 * (speed + below[i : i + 1]), 0.0)
            down = jnp.minimum(0.5 * (speed + above[i : i + 1]), 0.0)
            total += NU * (above - 2 * u + below) / h**2
            total -= (up * (u - below) + down * (above - u)) / h
        return total


def initial(n: int) -> jax.Array:
    x, y = 2 * jnp.pi * ipd.Grid((0.0, 0.0), (1.0, 1.0), (n, n)).centers
    return jnp.stack([jnp.sin(x) * jnp.cos(y) + 0.3, 0.5 * jnp.cos(x + y)])


def picardax_end(rhs: Any, inner: float) -> Callable[[jax.Array], jax.Array]:
    import picardax  # pyright: ignore[reportMissingImports]

    linear = picardax.BiCGStab(tol=inner, maxiter=1000, throw=False)
    adjoint = picardax.BiCGStab(tol=TOLERANCE, maxiter=1000, throw=False)
    solver = picardax.Newton(
        linear_solver=linear, tol=TOLERANCE, throw=False, adjoint_linear_solver=adjoint
    )
    residuum = picardax.ThetaResiduum(rhs=rhs, theta=0.5, dt=DT)
    step = picardax.Stepper(residuum=residuum, solver=solver)
    return lambda u: jax.lax.scan(lambda u, _: (step(u), None), u, length=STEPS)[0]


def our_end(
    model: ipd.HybridModel, rtol: float = TOLERANCE, tuned: bool = False
) -> Callable[[jax.Array], jax.Array]:
    solver = ipd.NewtonKrylov(rtol=rtol, krylov_precision="float32" if tuned else None)
    stepper = ipd.CrankNicolson(
        solver=solver,
        adjoint=ipd.ImplicitAdjoint(rtol=TOLERANCE),
        first_guess="extrapolated" if tuned else "previous",
    )

    def end(u: jax.Array) -> jax.Array:
        times = [0.0, STEPS * DT]
        found = ipd.rollout(model, u, times, dt=DT, stepper=stepper, batch_ndim=0, throw=False)
        return found.u[-1]

    return end


def measure(quick: bool) -> Rows:
    import picardax  # pyright: ignore[reportMissingImports]

    rows = []
    for n in (64,) if quick else (64, 128):
        derivatives = picardax.periodic.CollocatedDerivatives(2, n, 1.0)
        rhs = picardax.periodic.rhs.Burgers(
            derivatives=derivatives, diffusivity=NU, convection_scale=1.0
        )
        model = Burgers(ipd.Grid((0.0, 0.0), (1.0, 1.0), (n, n)))
        u0 = initial(n)
        ours, theirs = model.tendency(0.0, u0, None), rhs.linearized_operator(u0, u0)
        assert relative(ours, theirs) < 1e-13, "the two right-hand sides differ"
        ends = {
            f"picardax, Newton, BiCGStab to {inner:g}": picardax_end(rhs, inner) for inner in INNER
        } | {
            f"{OURS}, defaults": our_end(model),
            f"{OURS}, Krylov in float32, extrapolated": our_end(model, tuned=True),
        }
        truth = jax.jit(our_end(model, rtol=1e-12))(u0)
        rows += timed(
            f"{n} x {n} cells",
            {name: loss_of(end) for name, end in ends.items()},
            (u0,),
            lambda found, truth=truth: relative(found[0][1], truth),
        )
    return rows


if __name__ == "__main__":
    script("picardax", measure)
