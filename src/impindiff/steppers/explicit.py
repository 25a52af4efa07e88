"""Explicit steppers: the reference for small steps, the baseline for large ones."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit import Outcome, Status
from impindiff.implicit.pytree import all_finite, axpy, largest_leaf
from impindiff.steppers.mass import has_algebraic, rate
from impindiff.steppers.model import HybridModel
from impindiff.steppers.stepper import AbstractStepper, State, Step, Time


def _explicit_status(u: State) -> Status:
    """Nothing is solved, so nothing can fail but the numbers themselves."""
    finite = all_finite(u)
    zero = jnp.zeros((), jnp.int32)
    return Status(
        converged=finite,
        iterations=zero,
        linear_iterations=zero,
        residual=jnp.where(finite, 0.0, jnp.nan),
        worst_leaf=largest_leaf(u),
        outcome=Outcome.where(finite, Outcome.converged, Outcome.not_finite),
        halvings=zero,
    )


class ExplicitStepper(AbstractStepper):
    """What explicit steppers share: a formula, of which reverse mode stores only u_n."""

    @abc.abstractmethod
    def formula(self, rate: Callable[[float, State], State], dt: Time, u: State) -> State:
        """The new state; `rate(c, v)` is the rate of v at t + c dt."""

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
        """See `AbstractStepper.step`; `probe` is not used.

        Raises `InputError` for a model with algebraic components.
        """
        del memory, probe
        if has_algebraic(model, u):
            raise InputError(
                f"{type(self).__name__}: some component of {type(model).__name__} has mass 0, "
                "which takes an implicit stepper, such as SDIRK2"
            )

        @eqx.filter_checkpoint
        def advance(model, t, dt, u, latents):
            by_node = dict(zip(self.nodes, latents, strict=True))

            def rate_at(c, v):
                return rate(model, t + c * dt, v, by_node[c])

            return self.formula(rate_at, dt, u)

        z = advance(model, t, dt, u, latents)
        return Step(z, None, _explicit_status(z))


class ForwardEuler(ExplicitStepper):
    """u_{n+1} = u_n + dt f(t_n, u_n). First order; stable only for small steps."""

    order: ClassVar[int] = 1
    nodes: ClassVar[tuple[float, ...]] = (0.0,)

    def formula(self, rate: Callable[[float, State], State], dt: Time, u: State) -> State:
        """See the class."""
        return axpy(dt, rate(0.0, u), u)


class RK4(ExplicitStepper):
    """The classical Runge-Kutta method of order 4 (Kutta 1901); stable only for small steps."""

    order: ClassVar[int] = 4
    nodes: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)

    def formula(self, rate: Callable[[float, State], State], dt: Time, u: State) -> State:
        """k1..k4 at c = 0, 1/2, 1/2, 1, weighted 1, 2, 2, 1 (sixths)."""
        k1 = rate(0.0, u)
        k2 = rate(0.5, axpy(0.5 * dt, k1, u))
        k3 = rate(0.5, axpy(0.5 * dt, k2, u))
        k4 = rate(1.0, axpy(dt, k3, u))
        for weight, k in ((1, k1), (2, k2), (2, k3), (1, k4)):
            u = axpy(weight * dt / 6, k, u)
        return u
