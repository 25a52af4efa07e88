"""One-stage implicit steppers: each step is an implicit layer."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, Literal

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


class _Memory(eqx.Module):
    """What an implicit stepper carries: its method's own memory, and the last step taken."""

    method: PyTree[Any]
    last: tuple[State, Time] | None


class ImplicitStepper(AbstractStepper):
    """What implicit steppers share: the layer's solver, its gradient rule, its first guess.

    - `solver`: nonlinear solver, `NewtonKrylov()`, or any that `root` takes; its `rtol` refers to
      the residual of the previous state, that is to the size of the step's increment.
    - `gradient`: `ImplicitAdjoint()` (exact, nothing stored but the state), `JacobianFree(...)` or
      `Unrolled()`.
    - `first_guess`: "previous", the state the step starts from, or "extrapolated", linearly from
      the last two states; the latter is taken only where its residual is the smaller one.
    - `max_halvings`: a step whose solve fails is tried again in halves, quarters, ... of itself, at
      most halved so often; see `rollout`.
    """

    solver: Solver = eqx.field(default_factory=NewtonKrylov)
    gradient: AbstractGradient = eqx.field(default_factory=ImplicitAdjoint)
    first_guess: Literal["previous", "extrapolated"] = "previous"
    max_halvings: int = 3

    def start(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> _Memory:
        """See `AbstractStepper.start`."""
        method = self.start_method(model, t, u, latent)
        extrapolate = self.first_guess == "extrapolated"
        # an infinitely long step before the first: the extrapolation is then the state itself
        return _Memory(method, (u, jnp.full_like(t, jnp.inf)) if extrapolate else None)

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> tuple[State, _Memory, Status]:
        """See `AbstractStepper.step`."""
        guess, last = None, None
        if memory.last is not None:
            before, length = memory.last
            guess = axpy(dt / length, jax.tree.map(jnp.subtract, u, before), u)
            last = (u, dt)

        def solve_stage(stage: StageEquation) -> tuple[State, Status]:
            return root(
                stage_residual,
                u,
                stage,
                solver=self.solver,
                gradient=self.gradient,
                probe=probe,
                guess=guess,
            )

        z, method, status = self.advance(model, t, dt, u, memory.method, latents, solve_stage)
        return z, _Memory(method, last), status

    def start_method(
        self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]
    ) -> PyTree[Any]:
        """What the method needs to know of the initial time."""
        del model, t, u, latent

    @abc.abstractmethod
    def advance(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: PyTree[Any],
        latents: tuple[PyTree[Any], ...],
        solve_stage: Callable[[StageEquation], tuple[State, Status]],
    ) -> tuple[State, PyTree[Any], Status]:
        """One step of the method; `solve_stage` finds z with `stage_residual(z, stage) = 0`."""


class BackwardEuler(ImplicitStepper):
    """u_{n+1} = u_n + dt f(t_{n+1}, u_{n+1}).

    First order, L-stable: every decaying mode decays, however large the step.
    """

    order: ClassVar[int] = 1
    nodes: ClassVar[tuple[float, ...]] = (1.0,)

    def advance(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: None,
        latents: tuple[PyTree[Any], ...],
        solve_stage: Callable[[StageEquation], tuple[State, Status]],
    ) -> tuple[State, None, Status]:
        """See `ImplicitStepper.advance`."""
        del memory
        z, status = solve_stage(StageEquation(model, t + dt, dt, latents[0], known=u))
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

    def start_method(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> State:
        """The tendency at the initial time."""
        return model.tendency(t, u, latent)

    def advance(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: State,
        latents: tuple[PyTree[Any], ...],
        solve_stage: Callable[[StageEquation], tuple[State, Status]],
    ) -> tuple[State, State, Status]:
        """See `ImplicitStepper.advance`; `memory` is f(t_n, u_n)."""
        half = 0.5 * dt
        known = axpy(half, memory, u)
        z, status = solve_stage(StageEquation(model, t + dt, half, latents[0], known))
        tendency = jax.tree.map(
            lambda new, old: (new - old) / jnp.asarray(half, new.dtype), z, known
        )
        return z, tendency, status
