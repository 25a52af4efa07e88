"""One-stage implicit steppers: each step is an implicit layer."""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Float, PyTree

from impindiff.implicit import (
    AbstractGradient,
    AbstractRootSolver,
    ImplicitAdjoint,
    NewtonKrylov,
    Status,
    root,
)
from impindiff.implicit.pytree import axpy
from impindiff.steppers.model import HybridModel
from impindiff.steppers.stepper import AbstractStepper, State, Time


class StageEquation(eqx.Module):
    """What `residual(z, stage) = z - weight f(t, z, latent) - known` knows beside z.

    Preconditioners receive it as their `args`: `weight` is the product of the step and the
    method's coefficient, so that the Jacobian is I - weight df/dz.
    """

    model: HybridModel
    t: Time
    weight: Time
    latent: PyTree[Any]
    known: State


def stage_residual(z: State, stage: StageEquation) -> State:
    """F(z) = z - weight f(t, z, latent) - known, in the units of the state."""
    tendency = stage.model.tendency(stage.t, z, stage.latent)
    return axpy(-stage.weight, tendency, jax.tree.map(jnp.subtract, z, stage.known))


class ImplicitStepper(AbstractStepper):
    """What implicit steppers share: the layer's solver and its gradient rule.

    - `solver`: nonlinear solver; its `rtol` refers to the residual of the previous state, that is
      to the size of the step's increment.
    - `gradient`: `ImplicitAdjoint()` (exact, nothing stored but the state) or `Unrolled()`.
    """

    solver: AbstractRootSolver | optx.AbstractRootFinder = eqx.field(default_factory=NewtonKrylov)
    gradient: AbstractGradient = eqx.field(default_factory=ImplicitAdjoint)

    def solve_stage(
        self, stage: StageEquation, guess: State, probe: Float[Array, ""] | None
    ) -> tuple[State, Status]:
        """The stage value z with `stage_residual(z, stage) = 0`."""
        return root(
            stage_residual, guess, stage, solver=self.solver, gradient=self.gradient, probe=probe
        )


class BackwardEuler(ImplicitStepper):
    """u_{n+1} = u_n + dt f(t_{n+1}, u_{n+1}).

    First order, L-stable: every decaying mode decays, however large the step.
    """

    order: ClassVar[int] = 1
    nodes: ClassVar[tuple[float, ...]] = (1.0,)

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: None,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> tuple[State, None, Status]:
        """See `AbstractStepper.step`."""
        del memory
        stage = StageEquation(model, t + dt, dt, latents[0], known=u)
        z, status = self.solve_stage(stage, u, probe)
        return z, None, status


class CrankNicolson(ImplicitStepper):
    """u_{n+1} = u_n + dt/2 (f(t_n, u_n) + f(t_{n+1}, u_{n+1})).

    Second order, A-stable: no step is unstable, but very stiff modes are not damped, they
    alternate in sign.

    The tendency at the new time follows from the step's own equation, (z - known) / (dt/2), up to
    the solver's residual, and is carried to the next step: no step evaluates it explicitly, and
    the backward pass needs one state a step, not two.
    """

    order: ClassVar[int] = 2
    nodes: ClassVar[tuple[float, ...]] = (1.0,)

    def start(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> State:
        """The tendency at the initial time."""
        return model.tendency(t, u, latent)

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: State,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> tuple[State, State, Status]:
        """See `AbstractStepper.step`; `memory` is f(t_n, u_n)."""
        half = 0.5 * dt
        known = axpy(half, memory, u)
        stage = StageEquation(model, t + dt, half, latents[0], known)
        z, status = self.solve_stage(stage, u, probe)
        tendency = jax.tree.map(
            lambda new, old: (new - old) / jnp.asarray(half, new.dtype), z, known
        )
        return z, tendency, status
