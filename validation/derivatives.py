"""Every composition of JAX's derivatives through a rollout, against a dense reference.

    python validation/derivatives.py                # the whole table, as Markdown
    python validation/derivatives.py KenCarp3       # the rows of a stepper

Three cells of a reaction and diffusion with a wall value that changes in time, over three steps of
unequal length. The derivatives are with respect to a diffusivity (a leaf of the model), a rate (a
number that a function in the model closes over), the wall value (one that a function of the grid's
boundary closes over), a coefficient in the latent field, the initial state and an output time. Each
cell of the table is the worst relative error at two points, under `jax.jit` of `jax.vmap`, of the
derivative of that order: the gradient, the Hessian, or the gradient of v . H v.

The reference writes every method out with dense matrices, solves its stages by Newton's method with
`jnp.linalg.solve`, and is differentiated by JAX forwards. Float64. Exits with 1 if an error is above
1e-6; "refused" is an `InputError`.
"""

import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

import impindiff as ipd
from impindiff.steppers import tableaus
from impindiff.steppers.runge_kutta import DIRK

BOUND = 1e-6
POINTS = np.asarray([[0.11, 0.7, 0.4, 0.3, 0.9, 1.1], [0.06, 1.2, -0.3, -0.2, 1.3, 0.8]])
DIRECTION = np.asarray([0.3, -0.8, 0.5, 0.4, 0.6, -0.2])
START = np.asarray([0.8, 0.5, 0.3])
GRID_STEP = 1 / 3

Loss = Callable[[Float[Array, " 6"]], Float[Array, ""]]


class Reaction(ipd.HybridModel):
    """du/dt = div(D grad u) - (1 + q sin 3t) r(u), with a wall at b cos 2t on the left."""

    grid: ipd.Grid
    diffusivity: Array
    reaction: Callable[[Array], Array]
    modulation: Array
    split: bool = eqx.field(static=True, default=False)
    masses: Any = None

    def latent(self, t):
        return 1 + self.modulation * jnp.sin(3 * t)

    def tendency(self, t, u, latent):
        parts = ipd.diffusion(u, self.diffusivity, self.grid, t=t), -latent * self.reaction(u)
        return ipd.Split(*parts) if self.split else parts[0] + parts[1]

    def mass(self):
        return self.masses


class Row(NamedTuple):
    """One stepper, and what is done with it."""

    stepper: Any
    split: bool = False
    mass: Any = None


TIGHT: dict[str, Any] = {
    "solver": ipd.NewtonKrylov(rtol=1e-13, atol=1e-15),
    "gradient": ipd.ImplicitAdjoint(rtol=1e-12),
}
NO_MASS = np.asarray([1.0, 2.0, 0.0])
ROWS = {
    "BackwardEuler": Row(ipd.BackwardEuler(**TIGHT)),
    "CrankNicolson": Row(ipd.CrankNicolson(**TIGHT)),
    "CrankNicolson, extrapolated": Row(ipd.CrankNicolson(**TIGHT, first_guess="extrapolated")),
    "BDF2": Row(ipd.BDF2(**TIGHT)),
    "SDIRK2": Row(ipd.SDIRK2(**TIGHT)),
    "KenCarp3": Row(ipd.KenCarp3(**TIGHT)),
    "KenCarp4": Row(ipd.KenCarp4(**TIGHT)),
    "KenCarp3, IMEX": Row(ipd.KenCarp3(**TIGHT), split=True),
    "KenCarp4, IMEX": Row(ipd.KenCarp4(**TIGHT), split=True),
    "BackwardEuler, mass 0": Row(ipd.BackwardEuler(**TIGHT), mass=NO_MASS),
    "SDIRK2, mass 0": Row(ipd.SDIRK2(**TIGHT), mass=NO_MASS),
    "ForwardEuler": Row(ipd.ForwardEuler()),
    "RK4": Row(ipd.RK4()),
    "BackwardEuler, Unrolled": Row(
        ipd.BackwardEuler(
            solver=ipd.NewtonKrylov(rtol=1e-13, atol=1e-15, max_iterations=8),
            gradient=ipd.Unrolled(),
        )
    ),
}
SCHEDULES = {
    "StoreStates": ipd.StoreStates(),
    "Segments": ipd.Segments(2),
    "Binomial": ipd.Binomial(1),
    "ForBudget": ipd.ForBudget(100),
}


def loss(x: Float[Array, " 6"], row: Row, schedule: Any, **options: Any) -> Float[Array, ""]:
    """A number that depends on all states of the rollout."""
    diffusivity, rate, wall, modulation, scale, middle = x
    grid = ipd.Grid(
        (0.0,), (1.0,), (3,),
        boundary=((ipd.Dirichlet(lambda t: wall * jnp.cos(2 * t)), ipd.Neumann()),),
    )  # fmt: skip
    model = Reaction(grid, diffusivity, lambda u: rate * u**3, modulation, row.split, row.mass)
    result = ipd.rollout(
        model, scale * START, _times(middle), stepper=row.stepper, checkpointing=schedule,
        throw=False, **options,
    )  # fmt: skip
    return _measured(result.u)


def _times(middle: Float[Array, ""]) -> Float[Array, " 4"]:
    return jnp.stack([jnp.zeros_like(middle), 0.05 * middle, 0.12 + 0 * middle, 0.2 + 0 * middle])


def _measured(u: Float[Array, "4 3"]) -> Float[Array, ""]:
    return jnp.sum(jnp.cos(u[-1])) + jnp.sum(u[1] ** 2) + 0.5 * jnp.sum(u[2] ** 3)


# The reference


def reference(x: Float[Array, " 6"], row: Row) -> Float[Array, ""]:
    """`loss`, written out with dense matrices."""
    diffusivity, rate, wall, modulation, scale, middle = x
    stepper = row.stepper
    mass = np.ones(3) if row.mass is None else row.mass
    moves = mass > 0

    def implicit(t, u):
        g = wall * jnp.cos(2 * t)
        inflow = jnp.stack([u[1] - 3 * u[0] + 2 * g, u[0] - 2 * u[1] + u[2], u[1] - u[2]])
        return diffusivity * inflow / GRID_STEP**2

    def explicit(t, u):
        return -(1 + modulation * jnp.sin(3 * t)) * rate * u**3

    def total(t, u):
        return implicit(t, u) + explicit(t, u)

    def over_mass(f):
        return jnp.where(moves, f / np.where(moves, mass, 1.0), 0.0)

    def solved(f, t, weight, known, start):
        def residual(z):
            return jnp.where(moves, mass * (z - known) - weight * f(t, z), -f(t, z))

        def newton(_, z):
            return z - jnp.linalg.solve(jax.jacfwd(residual)(z), residual(z))

        return jax.lax.fori_loop(0, 10, newton, start)

    def tableau_step(tableau, t, dt, u):
        f = implicit if row.split else total
        of_explicit, of_implicit = [], []
        for i, c in enumerate(tableau.nodes):
            known = u
            for j in range(i):
                known = known + dt * tableau.below[i][j] * of_implicit[j]
                if row.split:
                    known = known + dt * tableau.explicit[i][j] * of_explicit[j]
            if i == 0 and tableau.explicit_first:
                z = u
                of_implicit.append(over_mass(f(t, u)))
            else:
                weight = dt * tableau.diagonal
                z = solved(f, t + c * dt, weight, known, u)
                of_implicit.append(jnp.where(moves, (z - known) / weight, 0.0))
            of_explicit.append(over_mass(explicit(t + c * dt, z)))
        if not row.split:
            return z
        rates = [a + b for a, b in zip(of_implicit, of_explicit, strict=True)]
        return u + dt * sum(b * k for b, k in zip(tableau.weights, rates, strict=True))

    u = scale * START
    times = _times(middle)
    if not moves.all():
        u = solved(total, times[0], 0.0, u, u)
    states, before, last = [u], u, jnp.inf
    for t, dt in zip(times[:-1], jnp.diff(times), strict=True):
        if isinstance(stepper, ipd.BackwardEuler):
            new = solved(total, t + dt, dt, u, u)
        elif isinstance(stepper, ipd.CrankNicolson):
            new = solved(total, t + dt, dt / 2, u + dt / 2 * over_mass(total(t, u)), u)
        elif isinstance(stepper, ipd.BDF2):
            w = dt / last
            known = u + w**2 / (1 + 2 * w) * (u - before)
            new = solved(total, t + dt, (1 + w) / (1 + 2 * w) * dt, known, u)
        elif isinstance(stepper, DIRK):
            new = tableau_step(stepper.tableau, t, dt, u)
        elif isinstance(stepper, ipd.ForwardEuler):
            new = u + dt * total(t, u)
        else:
            a = total(t, u)
            b = total(t + dt / 2, u + dt / 2 * a)
            c = total(t + dt / 2, u + dt / 2 * b)
            new = u + dt / 6 * (a + 2 * b + 2 * c + total(t + dt, u + dt * c))
        u, before, last = new, u, dt
        states.append(u)
    return _measured(jnp.stack(states))


# Compositions, by the order of the derivative


def _along(f: Callable[[Any], Any]) -> Callable[[Any], Any]:
    """The derivative in the direction, forwards."""
    return lambda x: jax.jvp(f, (x,), (jnp.asarray(DIRECTION),))[1]


def _dotted(f: Loss) -> Callable[[Any], Any]:
    """The derivative in the direction, backwards."""
    return lambda x: jnp.vdot(jax.grad(f)(x), jnp.asarray(DIRECTION))


COMPOSITIONS: dict[str, tuple[int, Callable[[Loss], Callable[[Any], Any]]]] = {
    "jvp": (1, jax.jacfwd),
    "grad": (1, jax.grad),
    "linearize": (1, lambda f: lambda x: jax.vmap(jax.linearize(f, x)[1])(jnp.eye(6))),
    "jacfwd(jacfwd)": (2, lambda f: jax.jacfwd(jax.jacfwd(f))),
    "jacfwd(jacrev)": (2, jax.hessian),
    "jacrev(jacfwd)": (2, lambda f: jax.jacrev(jax.jacfwd(f))),
    "jacrev(jacrev)": (2, lambda f: jax.jacrev(jax.jacrev(f))),
    "jvp(jvp(grad))": (3, lambda f: _along(_along(jax.grad(f)))),
    "grad(jvp(jvp))": (3, lambda f: jax.grad(_along(_along(f)))),
    "grad(jvp(grad))": (3, lambda f: jax.grad(_along(_dotted(f)))),
    "grad(grad(grad))": (3, lambda f: jax.grad(_dotted(_dotted(f)))),
}
_EXACT = {
    1: jax.jacfwd,
    2: lambda f: jax.jacfwd(jax.jacfwd(f)),
    3: lambda f: jax.jacfwd(_along(_along(f))),
}


def exact(name: str, order: int) -> np.ndarray:
    """The derivatives of a row's reference at both points."""
    found = _EXACT[order](lambda x: reference(x, ROWS[name]))
    return np.asarray(jax.jit(jax.vmap(found))(jnp.asarray(POINTS)))


def error(name: str, schedule: str, composition: str, right: np.ndarray | None = None) -> float:
    """The worst relative error of one cell of the table. Raises what the derivative raises."""
    order, derivative = COMPOSITIONS[composition]
    right = exact(name, order) if right is None else right
    of_loss = derivative(lambda x: loss(x, ROWS[name], SCHEDULES[schedule]))
    got = np.asarray(jax.jit(jax.vmap(of_loss))(jnp.asarray(POINTS)))
    apart = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(got, right, strict=True)]
    return float(np.max(apart))


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    rows = [name for name in ROWS if not sys.argv[1:] or name.split(",")[0] in sys.argv[1:]]
    start, failed = time.perf_counter(), 0
    print("| stepper | schedule |", " | ".join(COMPOSITIONS), "|")
    print("|---" * (2 + len(COMPOSITIONS)) + "|")
    for name in rows:
        right = {order: exact(name, order) for order in _EXACT}
        for schedule in SCHEDULES:
            cells = []
            for composition, (order, _) in COMPOSITIONS.items():
                try:
                    worst = error(name, schedule, composition, right[order])
                except ipd.InputError:
                    cells.append("refused")
                    continue
                failed += not worst <= BOUND
                cells.append(f"{worst:.0e}" if worst <= BOUND else f"**{worst:.0e}**")
            print(f"| {name} | {schedule} |", " | ".join(cells), "|", flush=True)
        jax.clear_caches()
    print(f"\n{failed} above {BOUND:g}; {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
