"""Explicit steppers: a reference for small steps, a baseline for large ones."""

import abc
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import equinox as eqx
import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float, PyTree

from impindiff.implicit.pytree import axpy
from impindiff.steppers._stepper import AbstractStepper, State, Step, Time, status_without_solve
from impindiff.steppers.mass import lost_where_algebraic, rate, require_masses
from impindiff.steppers.model import HybridModel

Rate: TypeAlias = Callable[[int | Array, State], State]


class ExplicitStepper(AbstractStepper):
    """Common base of explicit steppers: a formula, for which reverse mode stores only u_n."""

    @abc.abstractmethod
    def formula(self, rate: Rate, dt: Time, u: State) -> State:
        """The new state; `rate(i, v)` is the rate of v at the time of node i, t + c_i dt."""

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
        """Advance one step by the formula; `probe` is not used.

        **Raises:** `InputError` for a model with algebraic components; if masses are traced, these
        components become NaN.
        """
        del memory, probe
        require_masses(model, u, explicit=type(self).__name__)

        @eqx.filter_checkpoint
        def advance(model, t, dt, u, latents):
            nodes = jnp.asarray(self.nodes, jnp.result_type(dt))

            def rate_at(node, v):
                latent = jax.tree.map(lambda *x: _taken(x, node), *latents)
                return rate(model, t + nodes[node] * dt, v, latent)

            return self.formula(rate_at, dt, u)

        z = lost_where_algebraic(model, advance(model, t, dt, u, latents))
        return Step(z, None, status_without_solve(z))


class ForwardEuler(ExplicitStepper):
    """Forward Euler, u_{n+1} = u_n + dt f(t_n, u_n). First order; stable only for small steps."""

    order: ClassVar[int] = 1
    nodes: ClassVar[tuple[float, ...]] = (0.0,)

    def formula(self, rate: Rate, dt: Time, u: State) -> State:
        """Evaluate the formula above."""
        return axpy(dt, rate(0, u), u)


class RK4(ExplicitStepper):
    """The classical Runge-Kutta method of order 4 (Kutta 1901); stable only for small steps."""

    order: ClassVar[int] = 4
    nodes: ClassVar[tuple[float, ...]] = (0.0, 0.5, 1.0)

    def formula(self, rate: Rate, dt: Time, u: State) -> State:
        """Stages k1..k4 at c = 0, 1/2, 1/2, 1, weighted 1, 2, 2, 1 (sixths).

        A loop when traced, since XLA would fuse chained stencils into one kernel that computes each
        point of the first many times over.
        """

        def stage(
            carry: tuple[State, State], coefficients: tuple[Array, Array, Array]
        ) -> tuple[tuple[State, State], None]:
            (v, reached), (node, weight, next_) = carry, coefficients
            k = rate(node, v)
            return (axpy(next_ * dt, k, u), axpy(weight * dt / 6, k, reached)), None

        dtype = jnp.result_type(dt)
        weights, nexts = jnp.array([1, 2, 2, 1], dtype), jnp.array([0.5, 0.5, 1, 0], dtype)
        return lax.scan(stage, (u, u), (jnp.array([0, 1, 1, 2]), weights, nexts))[0][1]


def _taken(of_nodes: tuple[Any, ...], node: int | Array) -> Any:
    """The entry of a node, possibly traced; a single entry for all is not copied."""
    if all(x is of_nodes[0] for x in of_nodes):
        return of_nodes[0]
    return jnp.stack(of_nodes)[node]
