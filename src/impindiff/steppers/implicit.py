"""What implicit steppers share: the equation of a stage, and the layer that solves it."""

from typing import Any, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit import (
    AbstractGradient,
    ImplicitAdjoint,
    NewtonKrylov,
    Solver,
    Status,
    root,
)
from impindiff.implicit.pytree import tree_subtract
from impindiff.steppers.mass import rows, without_algebraic
from impindiff.steppers.model import HybridModel, Split, total_tendency
from impindiff.steppers.stepper import AbstractStepper, State, Time


class StageEquation(eqx.Module):
    """What `stage_residual(z, stage)` knows beside z.

    Preconditioners receive it as their `args`: `weight` is the product of the step and the
    method's coefficient, so that the Jacobian is M - weight df/dz, its rows divided by the model's
    `scale`; those of algebraic components (mass 0) are -df/dz. With `imex`, f is the implicit part
    of a `Split` tendency; otherwise it is all of it. A weight of 0 leaves the algebraic equations
    alone: what makes an initial state consistent.
    """

    model: HybridModel
    t: Time
    weight: Time
    latent: PyTree[Any]
    known: State
    imex: bool = eqx.field(static=True, default=False)

    def tendency(self, z: State) -> State:
        """f(t, z, latent)."""
        if not self.imex:
            return total_tendency(self.model, self.t, z, self.latent)
        found = self.model.tendency(self.t, z, self.latent)
        return found.implicit if isinstance(found, Split) else found


def stage_residual(z: State, stage: StageEquation) -> State:
    """F(z) = M (z - known) - weight f(t, z, latent), and -f where the mass M is 0.

    Each row is divided by the model's `scale`; without one, and with M = 1, it is in the units of
    the state.
    """
    return rows(stage.model, tree_subtract(z, stage.known), stage.weight, stage.tendency(z))


def stage_rate(z: State, stage: StageEquation) -> State:
    """M^{-1} f at the root, from the equation itself: (z - known) / weight; 0 where M is.

    Nothing is evaluated, and the backward pass needs nothing but z.
    """
    rates = jax.tree.map(
        lambda new, old: (new - old) / jnp.asarray(stage.weight, new.dtype), z, stage.known
    )
    return without_algebraic(stage.model, rates)


class ImplicitStepper(AbstractStepper):
    """What implicit steppers share: the layer's solver, its gradient rule, its first guess.

    - `solver`: nonlinear solver, `NewtonKrylov()`, or any that `root` takes; its `rtol` refers to
      the residual of the previous state, that is to the size of the step's increment.
    - `gradient`: `ImplicitAdjoint()` (exact, nothing stored but the state), `JacobianFree(...)` or
      `Unrolled()`.
    - `first_guess`: "previous", the state the step starts from, or "extrapolated", linearly from
      the last two states or, in a method of several stages, along the last stage's tendency; the
      latter is taken only where its residual is the smaller one.
    - `max_halvings`: a step whose solve fails is tried again in halves, quarters, ... of itself, at
      most halved so often; see `rollout`.
    """

    solver: Solver = eqx.field(default_factory=NewtonKrylov)
    gradient: AbstractGradient = eqx.field(default_factory=ImplicitAdjoint)
    first_guess: Literal["previous", "extrapolated"] = "previous"
    max_halvings: int = 3

    def solve_stage(
        self,
        stage: StageEquation,
        u: State,
        guess: State | None,
        probe: Float[Array, ""] | None,
    ) -> tuple[State, Status]:
        """z with `stage_residual(z, stage) = 0`; tolerances refer to the residual at u."""
        return root(
            stage_residual,
            u,
            stage,
            solver=self.solver,
            gradient=self.gradient,
            probe=probe,
            guess=guess,
        )
