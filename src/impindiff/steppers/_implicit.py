"""Common base of implicit steppers: the equation of a stage, and the layer that solves it."""

import abc
import dataclasses
from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit import (
    AbstractAdjoint,
    ImplicitAdjoint,
    NewtonKrylov,
    Solver,
    Status,
    root,
)
from impindiff.implicit.components import Components, size_of_terms
from impindiff.implicit.pytree import any_sample, axpy, tree_subtract
from impindiff.implicit.solver import AbstractRootSolver, Residual
from impindiff.steppers._stepper import AbstractStepper, State, Time, status_without_solve
from impindiff.steppers.mass import (
    has_algebraic,
    over_mass,
    rows,
    steady_rows,
    without_algebraic,
)
from impindiff.steppers.model import IMEX, HybridModel, total_tendency

# A step is short if it moves a component by less than this power of eps. In double precision the
# first, second and third derivatives of the quotient by a longer step have 9, 6 and 3 digits or
# more.
_FEW_DIGITS = 0.2


class StageEquation(eqx.Module):
    """Data of `stage_residual(z, stage)` other than z.

    Preconditioners receive it as their `args`: `weight` is the product of the step and the method's
    coefficient, so that the Jacobian is M - weight df/dz, its rows divided by the model's `scale`;
    those of algebraic components (mass 0) are -df/dz. With `imex`, f is the implicit part of an
    `IMEX` tendency; otherwise it is all of it. With a weight of 0 only the algebraic equations
    remain, which makes an initial state consistent. With `steady` all masses count as 0, so that
    `weight` and `known` do not matter: the equation of a steady state.
    """

    model: HybridModel
    t: Time
    weight: Time
    latent: PyTree[Any]
    known: State
    imex: bool = eqx.field(static=True, default=False)
    steady: bool = eqx.field(static=True, default=False)

    def tendency(self, z: State) -> State:
        """Evaluate f(t, z, latent)."""
        if not self.imex:
            return total_tendency(self.model, self.t, z, self.latent)
        found = self.model.tendency(self.t, z, self.latent)
        return found.implicit if isinstance(found, IMEX) else found


def stage_residual(z: State, stage: StageEquation) -> State:
    """Residual F(z) = M (z - known) - weight f(t, z, latent), and -f where the mass M is 0.

    Each row is divided by the model's `scale`; without one, and with M = 1, it is in the units of
    the state.
    """
    if stage.steady:
        return steady_rows(stage.model, stage.tendency(z))
    return rows(stage.model, tree_subtract(z, stage.known), stage.weight, stage.tendency(z))


def stage_rate(z: State, stage: StageEquation) -> State:
    """The rate M^{-1} f at the root from the equation itself: (z - known) / weight; 0 where M is.

    This is accurate for stiff tendencies, while f would multiply the solve's error by its
    stiffness. It needs no evaluation, and the backward pass only z. In a step so short that z
    hardly differs from `known`, the quotient has few digits, its derivatives by the step's length
    fewer, and none at length 0: there f(z) is used, component by component, unless it is stiff even
    in that step.
    """
    increments = jax.tree.map(jnp.subtract, z, stage.known)
    weight = jax.lax.stop_gradient(stage.weight)
    components = Components(z)
    size, moved = (
        components.sizes(jax.lax.stop_gradient(without_algebraic(stage.model, x)))
        for x in (z, increments)
    )
    few_digits = jnp.any(moved < jnp.asarray(components.eps, moved.dtype) ** _FEW_DIGITS * size)
    weight_or_1 = jnp.where(stage.weight == 0, 1.0, stage.weight)
    quotient = jax.tree.map(lambda x: x / jnp.asarray(weight_or_1, x.dtype), increments)

    # a checkpoint around the branch, not in it: the backward pass stores only z, which it has
    # already
    @eqx.filter_checkpoint
    def by_tendency(z: State, stage: StageEquation, asked: Array) -> tuple[State, Array]:
        def rates(z):
            return over_mass(stage.model, stage.tendency(z))

        def evaluate():
            found, jacobian = jax.linearize(rates, z)
            terms = size_of_terms(components.magnitudes(jacobian), size)
            return found, weight * terms <= size

        nothing = jax.tree.map(jnp.zeros_like, z), jnp.zeros(components.number, bool)
        return jax.lax.cond(asked, evaluate, lambda: nothing)

    unknown = dataclasses.replace(stage, known=None)
    found, accurate = by_tendency(z, unknown, any_sample(few_digits))
    return without_algebraic(stage.model, components.where(accurate, found, quotient))


class _Substitution(AbstractRootSolver):
    """Solver of a stage of weight 0: z = known.

    Derivatives are those of the root, by the adjoint rule. `Unrolled` has only the solver's: for
    it, z = known + weight M^{-1} f(z) is substituted into itself, and each iteration makes
    derivatives by the weight exact to one more order.
    """

    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 5

    def solve(
        self,
        residual: Residual,
        z0: State,
        args: StageEquation,
        *,
        guess: State | None = None,
        unrolled: bool = False,
    ) -> tuple[State, Status]:
        """Return `known`; see `AbstractRootSolver.solve`."""
        del residual, z0, guess
        if not unrolled:
            return args.known, status_without_solve(args.known)

        def once(z: State, _: None) -> tuple[State, None]:
            return axpy(args.weight, over_mass(args.model, args.tendency(z)), args.known), None

        z = jax.lax.scan(once, args.known, length=self.max_iterations)[0]
        return z, status_without_solve(z)


class ImplicitStepper(AbstractStepper):
    """Common base of implicit steppers: the layer's solver, its adjoint rule, its first guess.

    - `solver`: nonlinear solver, `NewtonKrylov()`, or any that `root` takes; its `rtol` refers to
      the residual of the previous state, that is to the size of the step's increment.
    - `adjoint`: `ImplicitAdjoint()` (exact, nothing stored but the state), `JacobianFree(...)` or
      `Unrolled()`.
    - `first_guess`: "previous", the state at the beginning of the step, or "extrapolated", linearly
      from the last two states or, in a method of several stages, by the parabola through the last
      three stages; the latter is used only where its residual is smaller.
    - `max_halvings`: a step whose solve fails is retried in halves, quarters, ... of itself, up to
      this number of halvings; see `rollout`.
    """

    solver: Solver = eqx.field(default_factory=NewtonKrylov)
    adjoint: AbstractAdjoint = eqx.field(default_factory=ImplicitAdjoint)
    first_guess: Literal["previous", "extrapolated"] = "previous"
    max_halvings: int = 3

    def without_length(self, model: HybridModel, u: State) -> "ImplicitStepper":
        """The stepper for steps of length 0; see `AbstractStepper.without_length`."""
        return (
            self if has_algebraic(model, u) else dataclasses.replace(self, solver=_Substitution())
        )

    def starts_inconsistent(self) -> bool:
        """True if a first step of length 0 makes an initial state consistent.

        It does not where the memory is made of a consistent one.
        """
        return False

    @abc.abstractmethod
    def first_stage(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: PyTree[Any],
        latents: tuple[PyTree[Any], ...],
    ) -> StageEquation:
        """The first equation that a step solves; arguments as for `step`."""

    def solve_stage(
        self,
        stage: StageEquation,
        u: State,
        guess: State | None,
        probe: Float[Array, ""] | None,
    ) -> tuple[State, Status]:
        """Solve `stage_residual(z, stage) = 0` for z; tolerances refer to the residual at u."""
        return root(
            stage_residual,
            u,
            stage,
            solver=self.solver,
            adjoint=self.adjoint,
            probe=probe,
            guess=guess,
        )
