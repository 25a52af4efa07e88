"""Every composition of JAX's derivatives through a rollout, against the method written out.

    python validation/derivatives.py                      # the whole table, as Markdown: hours
    python validation/derivatives.py KenCarp3 Segments    # of a stepper, a schedule

du/dt = 2 D (b cos 2t - u) - (1 + q sin 3t) k u^2, over three steps of unequal length: two cells
with the same wall on either side ("walls": by the grid's operators), or the same as an ODE.
Derivatives are with respect to D, a leaf of the model; k, which a function in the model closes
over; b, which the function of the boundary value closes over; q, in the latent field; the initial
state; and an output time. An entry is the worst relative error at two points, under
`jax.jit` of `jax.vmap`, of the gradient, the Hessian, or the gradient of d . H d.

In the reference each stage is a quadratic equation, solved by its formula; JAX differentiates it
forwards. With mass 0 the reaction is (1 + q sin 3t) u w, where 0 = w - k u. Float64. Exits with 1
if an error is above 1e-6; "refused" is an `InputError`.
"""

import gc
import itertools
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
from impindiff.steppers._runge_kutta import DIRK

BOUND = 1e-6
POINTS = np.asarray([[0.5, 0.7, 0.4, 0.3, 0.9, 1.1], [0.3, 1.2, -0.3, -0.2, 1.3, 0.8]])
DIRECTION = np.asarray([0.3, -0.8, 0.5, 0.4, 0.6, -0.2])
MASS = 2.0

Loss = Callable[[Float[Array, " 6"]], Float[Array, ""]]


class Cell(ipd.HybridModel):
    """The model of this file; `wall(t)` is b cos 2t, `reaction(u)` is k u^2."""

    diffusivity: Array
    wall: Callable[[Array], Array]
    reaction: Callable[[Array], Array]
    modulation: Array
    split: bool = eqx.field(static=True, default=False)

    def latent(self, t):
        return 1 + self.modulation * jnp.sin(3 * t)

    def spread(self, t, u):
        return 2 * self.diffusivity * (self.wall(t) - u)

    def tendency(self, t, u, latent):
        parts = self.spread(t, u), -latent * self.reaction(u)
        return ipd.IMEX(*parts) if self.split else parts[0] + parts[1]


class CellWithWalls(Cell):
    """The same by the operators of a grid."""

    def spread(self, t, u):
        grid = ipd.Grid((0.0,), (2.0,), (2,), boundary=(ipd.Dirichlet(self.wall),))
        return ipd.diffusion(u, self.diffusivity, grid, t=t)


class CellWithConstraint(Cell):
    """The state is (u, w); `reaction(1)` is k."""

    def tendency(self, t, u, latent):
        u, w = u
        return self.spread(t, u) - latent * u * w, w - self.reaction(jnp.ones(())) * u

    def mass(self):
        return MASS, 0.0


class Row(NamedTuple):
    """One stepper, and what is done with it."""

    stepper: Any
    kind: type[Cell] = Cell
    split: bool = False


TIGHT: dict[str, Any] = {
    "solver": ipd.NewtonKrylov(rtol=1e-13, atol=1e-15),
    "adjoint": ipd.ImplicitAdjoint(rtol=1e-12),
}
ROWS = {
    "BackwardEuler": Row(ipd.BackwardEuler(**TIGHT)),
    "BackwardEuler, walls": Row(ipd.BackwardEuler(**TIGHT), CellWithWalls),
    "CrankNicolson": Row(ipd.CrankNicolson(**TIGHT)),
    "CrankNicolson, extrapolated": Row(ipd.CrankNicolson(**TIGHT, first_guess="extrapolated")),
    "BDF2": Row(ipd.BDF2(**TIGHT)),
    "SDIRK2": Row(ipd.SDIRK2(**TIGHT)),
    "KenCarp3": Row(ipd.KenCarp3(**TIGHT)),
    "KenCarp4": Row(ipd.KenCarp4(**TIGHT)),
    "KenCarp3, IMEX": Row(ipd.KenCarp3(**TIGHT), split=True),
    "KenCarp4, IMEX": Row(ipd.KenCarp4(**TIGHT), split=True),
    "BackwardEuler, mass 0": Row(ipd.BackwardEuler(**TIGHT), CellWithConstraint),
    "SDIRK2, mass 0": Row(ipd.SDIRK2(**TIGHT), CellWithConstraint),
    "ForwardEuler": Row(ipd.ForwardEuler()),
    "RK4": Row(ipd.RK4()),
    "BackwardEuler, Unrolled": Row(
        ipd.BackwardEuler(
            solver=ipd.NewtonKrylov(rtol=1e-13, atol=1e-15, max_iterations=8),
            adjoint=ipd.Unrolled(),
        )
    ),
}
SCHEDULES = {
    "StoreStates": ipd.StoreStates(),
    "Segments": ipd.Segments(2),
    "Binomial": ipd.Binomial(1),
    "ForBudget": ipd.ForBudget(64),  # bytes: one, two or four states, by what the method keeps
}


def loss(x: Float[Array, " 6"], row: Row, schedule: Any) -> Float[Array, ""]:
    """A number that depends on all states of the rollout."""
    diffusivity, rate, wall, modulation, start, middle = x
    model = row.kind(
        diffusivity,
        lambda t: wall * jnp.cos(2 * t),
        lambda u: rate * u**2,
        modulation,
        row.split,
    )
    constrained = row.kind is CellWithConstraint
    u0 = start * jnp.ones(2)
    u0 = (u0, jnp.ones(2)) if constrained else u0
    result = ipd.rollout(
        model, u0, _times(middle), stepper=row.stepper, checkpointing=schedule, throw=False
    )
    states = result.u[0] + result.u[1] if constrained else result.u
    return _measured(states[:, 0])


def _times(middle: Float[Array, ""]) -> Float[Array, " 4"]:
    return jnp.stack([0 * middle, 0.2 * middle, 0.5 + 0 * middle, 0.8 + 0 * middle])


def _measured(u: Float[Array, " 4"]) -> Float[Array, ""]:
    return jnp.cos(u[3]) + u[1] ** 2 + 0.5 * u[2] ** 3 + u[0] ** 2


def reference(x: Float[Array, " 6"], row: Row) -> Float[Array, ""]:
    """`loss`, each method written out."""
    diffusivity, rate, wall, modulation, u, middle = x
    constrained = row.kind is CellWithConstraint
    mass = MASS if constrained else 1.0

    def decay(t):
        return (1 + modulation * jnp.sin(3 * t)) * rate / mass

    def implicit(t, u):
        return 2 * diffusivity / mass * (wall * jnp.cos(2 * t) - u)

    def explicit(t, u):
        return -decay(t) * u**2

    def total(t, u):
        return implicit(t, u) + explicit(t, u)

    def solved(t, weight, known):
        """z = known + weight f(t, z)."""
        square = 0.0 if row.split else weight * decay(t)
        linear = 1 + 2 * weight * diffusivity / mass
        right = known + weight * implicit(t, 0.0)
        return 2 * right / (linear + jnp.sqrt(linear**2 + 4 * square * right))

    def tableau_step(tableau, t, dt, u):
        of_implicit, of_explicit, z = [], [], u
        for i, c in enumerate(tableau.nodes):
            known = u + dt * sum(a * k for a, k in zip(tableau.below[i], of_implicit, strict=True))
            if row.split:
                rows = zip(tableau.explicit[i], of_explicit, strict=True)
                known = known + dt * sum(a * k for a, k in rows)
            if i == 0 and tableau.explicit_first:
                z, rate = u, (implicit if row.split else total)(t, u)
            else:
                z = solved(t + c * dt, dt * tableau.diagonal, known)
                rate = (implicit if row.split else total)(t + c * dt, z)
            of_implicit.append(rate)
            of_explicit.append(explicit(t + c * dt, z))
        if not row.split:
            return z
        rates = [a + b for a, b in zip(of_implicit, of_explicit, strict=True)]
        return u + dt * sum(b * k for b, k in zip(tableau.weights, rates, strict=True))

    times = _times(middle)
    states, before, last = [u], u, jnp.inf
    for t, dt in zip(times[:-1], jnp.diff(times), strict=True):
        if isinstance(row.stepper, ipd.BackwardEuler):
            new = solved(t + dt, dt, u)
        elif isinstance(row.stepper, ipd.CrankNicolson):
            new = solved(t + dt, dt / 2, u + dt / 2 * total(t, u))
        elif isinstance(row.stepper, ipd.BDF2):
            w = dt / last
            known = u + w**2 / (1 + 2 * w) * (u - before)
            new = solved(t + dt, (1 + w) / (1 + 2 * w) * dt, known)
        elif isinstance(row.stepper, DIRK):
            new = tableau_step(row.stepper.tableau, t, dt, u)
        elif isinstance(row.stepper, ipd.ForwardEuler):
            new = u + dt * total(t, u)
        else:
            a = total(t, u)
            b = total(t + dt / 2, u + dt / 2 * a)
            c = total(t + dt / 2, u + dt / 2 * b)
            new = u + dt / 6 * (a + 2 * b + 2 * c + total(t + dt, u + dt * c))
        u, before, last = new, u, dt
        states.append(u)
    u = jnp.stack(states)
    return _measured(u + rate * u if constrained else u)


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
    "jacfwd(jacfwd)": (2, lambda f: jax.jacfwd(jax.jacfwd(f))),
    "jacfwd(jacrev)": (2, jax.hessian),
    "jacrev(jacfwd)": (2, lambda f: jax.jacrev(jax.jacfwd(f))),
    "jacrev(jacrev)": (2, lambda f: jax.jacrev(jax.jacrev(f))),
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
    return _at_both_points(found)


def _at_both_points(function: Callable[[Any], Any]) -> np.ndarray:
    # small programs that run once: what XLA makes of them is not worth its time
    quickly = {
        "xla_backend_optimization_level": 0,
        "xla_llvm_disable_expensive_passes": True,
        "xla_cpu_use_fusion_emitters": False,
    }
    run = jax.jit(jax.vmap(function), compiler_options=quickly)
    return np.asarray(run(jnp.asarray(POINTS)))


def error(name: str, schedule: str, composition: str, right: np.ndarray | None = None) -> float:
    """The worst relative error of one cell of the table. Raises what the derivative raises."""
    order, derivative = COMPOSITIONS[composition]
    right = exact(name, order) if right is None else right
    got = _at_both_points(derivative(lambda x: loss(x, ROWS[name], SCHEDULES[schedule])))
    apart = [np.linalg.norm(a - b) / np.linalg.norm(b) for a, b in zip(got, right, strict=True)]
    return float(np.max(apart))


def main() -> int:
    jax.config.update("jax_enable_x64", True)
    gc.set_threshold(200_000, 50, 100)  # traced programs are many small objects that live on
    asked = set(sys.argv[1:])
    schedules = [name for name in SCHEDULES if name in asked] or list(SCHEDULES)
    steppers = asked - set(SCHEDULES)
    rows = [name for name in ROWS if not steppers or name.split(",")[0] in steppers]
    start, failed = time.perf_counter(), 0
    print("| schedule | stepper |", " | ".join(COMPOSITIONS), "|")
    print("|---" * (2 + len(COMPOSITIONS)) + "|")
    for schedule, name in itertools.product(schedules, rows):
        right = {order: exact(name, order) for order in _EXACT}
        cells = []
        for composition, (order, _) in COMPOSITIONS.items():
            try:
                worst = error(name, schedule, composition, right[order])
            except ipd.InputError:
                if composition == "grad":  # which nothing refuses
                    raise
                cells.append("refused")
                continue
            failed += not worst <= BOUND
            cells.append(f"{worst:.0e}" if worst <= BOUND else f"**{worst:.0e}**")
        print(f"| {schedule} | {name} |", " | ".join(cells), "|", flush=True)
        jax.clear_caches()
    print(f"\n{failed} above {BOUND:g}; {time.perf_counter() - start:.0f} s", file=sys.stderr)
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
