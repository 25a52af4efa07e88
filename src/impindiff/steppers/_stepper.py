"""Interface of time steppers."""

import abc
from typing import Any, ClassVar, NamedTuple

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit import Outcome, Status
from impindiff.implicit.pytree import all_finite, largest_leaf
from impindiff.steppers.model import HybridModel

Time = Float[Array, ""]
State = PyTree[Float[Array, "..."]]


class Step(NamedTuple):
    """Result of one step.

    - `u`: the state at its end.
    - `memory`: further data for the next step.
    - `status`: combined status of its solves.
    - `error`: an estimate of the step's error in u, from an embedded method of lower order; None if
      the stepper has none.
    """

    u: State
    memory: PyTree[Any]
    status: Status
    error: State | None = None


class AbstractStepper(eqx.Module):
    """Time stepper that advances one sample by one step.

    - `order`: of accuracy in time.
    - `nodes`: the fractions c of a step at whose times t + c dt coefficients (latent fields) are
      needed; `step` receives one latent per node.
    - `solves_per_step`: number of states that reverse mode stores per step: one per solve.
    - `embedded_order`: order of the embedded method that estimates the error; None if there is
      none.

    A stepper may carry a `memory` from step to step (a tendency to reuse, earlier states): `start`
    makes the first one, and `stay` passes it on between two equal times.
    """

    order: ClassVar[int]
    nodes: ClassVar[tuple[float, ...]]
    solves_per_step: ClassVar[int] = 1
    embedded_order: ClassVar[int | None] = None

    def start(self, model: HybridModel, t: Time, u: State, latent: PyTree[Any]) -> PyTree[Any]:
        """The initial memory; `latent` is that at the initial time."""
        del model, t, u, latent

    def stay(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: PyTree[Any],
        latents: tuple[PyTree[Any], ...],
    ) -> tuple[State, PyTree[Any]]:
        """(u, memory) after a step of length dt = 0: unchanged, but differentiable in dt."""
        step = self.without_length(model, u).step(model, t, dt, u, memory, latents, None)
        return step.u, step.memory

    def without_length(self, model: HybridModel, u: State) -> "AbstractStepper":
        """The stepper for steps of length 0, possibly with less work."""
        del model, u
        return self

    @abc.abstractmethod
    def step(
        self,
        model: HybridModel,
        t: Time,
        dt: Time,
        u: State,
        memory: PyTree[Any],
        latents: tuple[PyTree[Any], ...],
        probe: Float[Array, ""] | None,
    ) -> Step:
        """Advance from t to t + dt.

        `probe` goes to the step's implicit layers (see `ImplicitAdjoint`).
        """


def status_without_solve(u: State) -> Status:
    """The status of a step without solves, which fails only where u is not finite."""
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
