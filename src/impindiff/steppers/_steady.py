"""Steady states: the root of a model's tendency, by Newton's method or through pseudo-time."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.grid.geometry import relative_volumes
from impindiff.implicit import AbstractRootSolver, NewtonKrylov, Outcome, Solver, Status, root
from impindiff.implicit.components import Components, size_of_terms
from impindiff.implicit.pytree import tree_subtract, tree_where, without_tangents
from impindiff.implicit.rank import has_free_level
from impindiff.steppers._implicit import ImplicitStepper, StageEquation, stage_residual
from impindiff.steppers._stepper import State, Step, Time
from impindiff.steppers.mass import (
    all_algebraic,
    over_mass,
    rows_of_steady,
    scales,
    without_algebraic,
)
from impindiff.steppers.model import HybridModel
from impindiff.steppers.window import at

# a pseudo-time step is solved to this fraction of its residual, in at most so many iterations
_LOOSE = 0.01
_FEW_ITERATIONS = 8
# switched evolution relaxation: bounds of the factor between two steps
_LARGEST_FACTOR, _SMALLEST_FACTOR = 10.0, 0.1
# a step that fails is repeated with this fraction of its length
_SHORTENED = 0.25
# pseudo-time ends at this power of eps
_UNTIL = 0.375
# the first step, in the shortest time scale of the equations
_FIRST = 10.0


class PseudoTime(eqx.Module):
    r"""Pseudo-transient continuation: backward Euler steps that grow as the residual falls.

    From a poor first guess Newton's method may fail, or find another root than the one that the
    process tends to. M (u_{n+1} - u_n) / dt_n = f(u_{n+1}) follows the process instead, with the
    model's own masses (algebraic equations, of mass 0, hold in every step), and

    $$dt_{n+1} = dt_n \; r_n / r_{n+1}$$

    (switched evolution relaxation), r the size of the tendency: as it falls the steps become those
    of Newton's method. The factor is at most 10, at least `growth` as long as r does not grow. r is
    relative to the largest value so far of each component. A step that fails is repeated, a quarter
    as long.

    - `dt`: the first step, in the model's time; None: ten times the shortest time scale of the
      equations, by the size of their derivatives.
    - `until`: value of r below which Newton's method takes over; None: 1e-6, and 3e-3 in float32.
    - `max_steps`: steps in all, repeated ones included. Then Newton's method takes over as well,
      from where the residual is smaller, here or at the guess.
    - `growth`: see above.

    Cost: a nonlinear solve per step, to two digits. Nothing is stored for the gradient, which is
    that of the root.

    Source: Kelley and Keyes, "Convergence analysis of pseudo-transient continuation", SIAM J.
    Numer. Anal. 35 (1998); for algebraic equations Coffey, Kelley and Keyes, SIAM J. Sci. Comput.
    25 (2003).
    """

    dt: float | None = None
    until: float | None = None
    max_steps: int = 200
    growth: float = 1.5

    def __check_init__(self) -> None:
        for name, least in (("dt", 0.0), ("until", 0.0), ("growth", 1.0)):
            given = getattr(self, name)
            if isinstance(given, (int, float)) and not given > least:
                raise InputError(
                    f"PseudoTime: {name} is {given}; expected a number above {least:g}"
                )
        if self.max_steps < 1:
            raise InputError(f"PseudoTime: max_steps is {self.max_steps}; expected 1 or more")


class SteadySolution(NamedTuple):
    """A steady state, the status of its solve, and the number of pseudo-time steps before it."""

    u: State
    status: Status
    pseudo_steps: Int[Array, ""]


class SteadyState(ImplicitStepper):
    """The steady state at the end of each step: the root of f(t, z, latent) = 0.

    Not an integration in time: every component counts as algebraic, and the state at the beginning
    is a first guess. The length of a step does not matter. The solver's `rtol` refers to the
    residual of that guess. Gradients are those of the root, by one adjoint solve.

    - `solver`, `adjoint`: as for all implicit steppers.
    - `pseudo_time`: `PseudoTime()` leads from the guess to the root where Newton's method alone
      fails, or to the root that the process tends to; None: no.
    - `check_unique`: report a root that is not unique, because the equation leaves a level or a
      total undetermined, as failed (`Outcome.not_unique`). Other null spaces are not found; where
      they matter, the adjoint solve fails, and the gradient is NaN.

    Cost: the iterations, and for `check_unique` three products with the Jacobian per component.
    """

    order: ClassVar[int] = 1
    nodes: ClassVar[tuple[float, ...]] = (1.0,)
    max_halvings: int = 0
    pseudo_time: PseudoTime | None = None
    check_unique: bool = True

    def __check_init__(self) -> None:
        if self.first_guess != "previous" or self.max_halvings != 0:
            raise InputError(
                f"SteadyState: first_guess is {self.first_guess!r} and max_halvings "
                f"{self.max_halvings}; expected 'previous' and 0, since there are no steps in time"
            )

    def without_length(self, model: HybridModel, u: State) -> "SteadyState":
        """The stepper for steps of length 0: itself."""
        del model, u
        return self

    def first_stage(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: None,
        latents: tuple[PyTree[Any], ...],
    ) -> StageEquation:
        """The equation of the steady state at t + dt."""
        del memory
        one = jnp.ones_like(dt)
        return StageEquation(*at(model, t + dt), one, latents[0], u, steady=True)

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: None,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> Step:
        """Find the steady state at t + dt, from u as first guess."""
        found = self.solved(self.first_stage(model, t, dt, u, memory, latents), u, probe)
        return Step(found.u, None, found.status)

    def solved(
        self, stage: StageEquation, guess: State, probe: Float[Array, ""] | None
    ) -> SteadySolution:
        """Solve the equation of a steady state from a guess, through pseudo-time if set."""
        if self.pseudo_time is None:
            z, status = self.solve_stage(stage, guess, None, probe)
            steps = jnp.zeros_like(status.iterations)
        else:
            way = _followed(self.pseudo_time, self.solver, *without_tangents((stage, guess)))
            z, status = self.solve_stage(stage, guess, way.u, probe)
            steps = way.steps
            status = eqx.tree_at(
                lambda s: (s.iterations, s.linear_iterations),
                status,
                (
                    status.iterations + way.iterations,
                    status.linear_iterations + way.linear_iterations,
                ),
            )
        if self.check_unique:
            status = _with_uniqueness(status, *without_tangents((stage, z)))
        return SteadySolution(z, status, steps)


def _with_uniqueness(status: Status, stage: StageEquation, z: State) -> Status:
    """The status, failed where the equation leaves a level or a total undetermined.

    A linear solver that failed on such an equation has the same cause.
    """
    grid = getattr(stage.model, "grid", None)

    def weight(leaf: Array) -> Any:
        if not isinstance(grid, Grid) or leaf.shape != grid.cells:
            return 1.0
        volumes = relative_volumes(grid, leaf.dtype)
        return 1.0 if volumes is None else jnp.asarray(volumes)

    _, jacobian = jax.linearize(lambda z: stage_residual(z, stage), z)
    free = has_free_level(jacobian, z, jax.tree.map(weight, z))
    free &= status.outcome != Outcome.not_finite
    return eqx.tree_at(
        lambda s: (s.converged, s.outcome),
        status,
        (
            status.converged & ~free,
            Outcome.where(free, Outcome.not_unique, status.outcome),
        ),
    )


class _Way(eqx.Module):
    """The way through pseudo-time: the state, the next step, and the cost so far.

    - `largest`: sizes of the components' tendencies, the largest so far; `left`: r, see
      `PseudoTime`.
    """

    u: State
    dt: Float[Array, ""]
    largest: Float[Array, " components"]
    left: Float[Array, ""]
    steps: Int[Array, ""]
    iterations: Int[Array, ""]
    linear_iterations: Int[Array, ""]


def _followed(pseudo: PseudoTime, solver: Solver, stage: StageEquation, guess: State) -> _Way:
    """Follow pseudo-time from the guess until the tendency is small."""
    model = stage.model
    if all_algebraic(model, guess):
        raise InputError(
            f"PseudoTime: every component of {type(model).__name__} has mass 0, so there is no "
            "time to follow; leave pseudo_time out, or give a component a mass"
        )
    components = Components(guess)
    loose = _loosened(solver)
    # hoisted, as `root` does, so that no loop is differentiated by what functions inside close over
    steady = without_tangents(
        eqx.filter_closure_convert(lambda z, stage: stage_residual(z, stage), guess, stage)
    )

    def tendency(u: State) -> State:
        return without_algebraic(model, steady(u, stage))

    def residual(z: State, equation: StageEquation) -> State:
        moved = tree_subtract(z, equation.known)
        return rows_of_steady(model, moved, equation.weight, steady(z, stage))

    # round-off of a tendency that is 0 must not count
    _, jacobian = jax.linearize(tendency, guess)
    magnitudes = components.magnitudes(jacobian)
    part = float(max(components.eps)) ** 0.5

    def sizes(u: State) -> tuple[Float[Array, " components"], Float[Array, " components"]]:
        return components.sizes(tendency(u)), part * size_of_terms(magnitudes, components.sizes(u))

    until = float(max(components.eps)) ** _UNTIL if pseudo.until is None else pseudo.until

    def ratio(now: Float[Array, " components"], largest: Float[Array, " components"]) -> Array:
        return jnp.max(jnp.where(largest > 0, now / jnp.where(largest > 0, largest, 1.0), 0.0))

    def going(way: _Way) -> Bool[Array, ""]:
        usable = jnp.isfinite(way.left) & (way.dt > 0)
        return (way.left > until) & (way.steps < pseudo.max_steps) & usable

    def advance(way: _Way) -> _Way:
        equation = dataclasses.replace(stage, steady=False, weight=way.dt, known=way.u)
        u, status = root(residual, way.u, equation, solver=loose)
        now, terms = sizes(u)
        largest = jnp.maximum(jnp.maximum(way.largest, now), terms)
        left = ratio(now, largest)
        taken = status.converged & jnp.isfinite(left)
        factor = way.left / jnp.maximum(left, jnp.finfo(left.dtype).tiny)
        factor = jnp.where(factor >= 1, jnp.maximum(factor, pseudo.growth), factor)
        factor = jnp.clip(factor, _SMALLEST_FACTOR, _LARGEST_FACTOR)
        new = _Way(
            u=u,
            dt=jnp.minimum(way.dt * factor, jnp.finfo(way.dt.dtype).max / 1e6),
            largest=largest,
            left=left,
            steps=way.steps,
            iterations=way.iterations,
            linear_iterations=way.linear_iterations,
        )
        kept = eqx.tree_at(lambda w: w.dt, way, _SHORTENED * way.dt)
        chosen = tree_where(taken, new, kept)
        return eqx.tree_at(
            lambda w: (w.steps, w.iterations, w.linear_iterations),
            chosen,
            (
                way.steps + 1,
                way.iterations + status.iterations,
                way.linear_iterations + status.linear_iterations,
            ),
        )

    first, terms = sizes(guess)
    largest = jnp.maximum(first, terms)
    zero = jnp.zeros((), jnp.int32)
    dtype = stage.weight.dtype
    dt = _first_step(model, tendency, guess) if pseudo.dt is None else jnp.asarray(pseudo.dt, dtype)
    start = _Way(guess, dt.astype(dtype), largest, ratio(first, largest), zero, zero, zero)
    return jax.lax.while_loop(going, advance, start)


def _loosened(solver: Solver) -> Solver:
    """The solver for a pseudo-time step."""
    if not isinstance(solver, AbstractRootSolver):
        return solver
    changes: dict[str, Any] = {"rtol": _LOOSE}
    if isinstance(solver, NewtonKrylov):
        changes["max_iterations"] = min(solver.max_iterations, _FEW_ITERATIONS)
    return dataclasses.replace(solver, **changes)


def _first_step(
    model: HybridModel, tendency: Callable[[State], State], u: State
) -> Float[Array, ""]:
    """Ten times the shortest time scale 1 / |d(rate)/du| of a component."""
    components = Components(u)

    def rate(u: State) -> State:
        unscaled = jax.tree.map(lambda s, row: s * row, scales(model, u), tendency(u))
        return over_mass(model, unscaled)

    _, jacobian = jax.linearize(rate, u)
    fastest = jnp.max(jnp.diagonal(components.magnitudes(jacobian)))
    return _FIRST / jnp.where((fastest > 0) & jnp.isfinite(fastest), fastest, 1.0)
