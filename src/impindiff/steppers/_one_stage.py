"""Implicit steppers of one stage, with one solve per step."""

import abc
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit.pytree import axpy
from impindiff.steppers._implicit import ImplicitStepper, StageEquation, stage_rate
from impindiff.steppers._stepper import State, Step, Time
from impindiff.steppers.mass import rate
from impindiff.steppers.model import HybridModel
from impindiff.steppers.window import at


class _Memory(eqx.Module):
    """Memory between steps: the method's own, and the last step if a guess needs it."""

    method: PyTree[Any]
    last: tuple[State, Time] | None


class OneStageStepper(ImplicitStepper):
    """Common base of one-stage steppers: u_{n+1} is the root of one `StageEquation`."""

    nodes: ClassVar[tuple[float, ...]] = (1.0,)

    def start(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> _Memory:
        """The initial memory."""
        method = self.start_method(model, t, u, latent)
        extrapolate = self.first_guess == "extrapolated"
        return _Memory(method, _before_first(t, u) if extrapolate else None)

    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> Step:
        """Advance one step by one solve."""
        guess, last = None, None
        if memory.last is not None:
            before, length = memory.last
            guess = axpy(dt / length, jax.tree.map(jnp.subtract, u, before), u)
            last = (u, dt)
        stage = self.first_stage(model, t, dt, u, memory, latents)
        z, status = self.solve_stage(stage, u, guess, probe)
        return Step(z, _Memory(self.remember(stage, dt, u, z), last), status)

    def first_stage(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
    ) -> StageEquation:
        """The equation of the step."""
        weight, known = self.equation(dt, u, memory.method)
        return StageEquation(*at(model, t + dt), weight, latents[0], known)

    def stay(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: _Memory,
        latents: tuple[PyTree[Any], ...],
    ) -> tuple[State, _Memory]:
        """Pass the memory over a step of length 0."""
        z, after = super().stay(model, t, dt, u, memory, latents)
        last = None if memory.last is None else (memory.last[0], memory.last[1] + dt)
        return z, _Memory(self.stay_method(dt, memory.method, after.method), last)

    def start_method(
        self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]
    ) -> PyTree[Any]:
        """Initial memory of the method."""
        del model, t, u, latent

    def stay_method(self, dt: Time, before: PyTree[Any], after: PyTree[Any]) -> PyTree[Any]:
        """Memory of the method after a step of length dt = 0.

        - `before`, `after`: memory before the step, and the result of `remember`.
        """
        del dt, before
        return after

    @abc.abstractmethod
    def equation(self, dt: Time, u: State, memory: PyTree[Any]) -> tuple[Time, State]:
        """(weight, known) of the step's equation M (z - known) - weight f(t + dt, z) = 0."""

    def remember(self, stage: StageEquation, dt: Time, u: State, z: State) -> PyTree[Any]:
        """Memory of the method after the step from u to z."""
        del stage, dt, u, z


def _before_first(t: Time, u: State) -> tuple[State, Time]:
    """An infinitely long last step, so that extrapolation gives the state itself."""
    return u, jnp.full_like(t, jnp.inf)


class BackwardEuler(OneStageStepper):
    """Backward Euler, u_{n+1} = u_n + dt f(t_{n+1}, u_{n+1}).

    First order, L-stable: every decaying mode decays, however large the step.
    """

    order: ClassVar[int] = 1

    def starts_inconsistent(self) -> bool:
        """True without a guess from the last step, which would have length 0."""
        return self.first_guess == "previous"

    def equation(self, dt: Time, u: State, memory: None) -> tuple[Time, State]:
        """(weight, known) of the step's equation."""
        del memory
        return dt, u


class CrankNicolson(OneStageStepper):
    """Trapezoidal rule u_{n+1} = u_n + dt/2 (f(t_n, u_n) + f(t_{n+1}, u_{n+1})).

    Second order, A-stable: no step is unstable, but very stiff modes are not damped and alternate
    in sign.

    The rate at the new time follows from the step's own equation (`stage_rate`) and is carried to
    the next step: no step evaluates it explicitly, and the backward pass needs one state per step,
    not two.
    """

    order: ClassVar[int] = 2

    def start_method(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> State:
        """The rate at the initial time."""
        return rate(model, t, u, latent)

    def equation(self, dt: Time, u: State, memory: State) -> tuple[Time, State]:
        """(weight, known) of the step's equation; `memory` is the rate at t_n."""
        half = 0.5 * dt
        return half, axpy(half, memory, u)

    def remember(self, stage: StageEquation, dt: Time, u: State, z: State) -> State:
        """The rate at the new time."""
        del dt, u
        return stage_rate(z, stage)


class BDF2(OneStageStepper):
    r"""The backward differentiation formula of two steps, for steps of any length.

    With w = dt_n / dt_{n-1}:

    $$u_{n+1} = u_n + \frac{w^2}{1 + 2 w} (u_n - u_{n-1}) + \frac{1 + w}{1 + 2 w}\, dt_n\,
    f(t_{n+1}, u_{n+1})$$

    Second order, L-stable for equal steps, with one solve per step; zero-stable while no step is
    more than 1 + sqrt(2) times the one before. The first step is backward Euler's (w = 0), which
    does not lower the order.

    Source: Hairer, Norsett and Wanner, "Solving Ordinary Differential Equations I", section III.5.
    """

    order: ClassVar[int] = 2

    def start_method(
        self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]
    ) -> tuple[State, Time]:
        """The initial memory: no previous step."""
        del model, latent
        return _before_first(t, u)

    def stay_method(
        self, dt: Time, before: tuple[State, Time], after: tuple[State, Time]
    ) -> tuple[State, Time]:
        """The memory with the last step lengthened by dt."""
        del after
        return before[0], before[1] + dt

    def equation(self, dt: Time, u: State, memory: tuple[State, Time]) -> tuple[Time, State]:
        """(weight, known) of the step's equation; `memory` is u_{n-1} and dt_{n-1}."""
        before, length = memory
        w = dt / length
        known = axpy(w**2 / (1 + 2 * w), jax.tree.map(jnp.subtract, u, before), u)
        return (1 + w) / (1 + 2 * w) * dt, known

    def remember(self, stage: StageEquation, dt: Time, u: State, z: State) -> tuple[State, Time]:
        """The last state and step length."""
        del stage, z
        return u, dt
