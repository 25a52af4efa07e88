"""Methods: the model trained on a problem's data, and the integrator of its state."""

import abc
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError
from impindiff.preconditioners import AutomaticChoice, asks_for_choice
from impindiff.problem import Data, Observations, Problem, start_of
from impindiff.problem.observations import initial_fields
from impindiff.rollout import Rollout, declared_jumps, rollout, with_automatic_choice
from impindiff.steppers import AbstractStepper

Simulate = Callable[[Any, PyTree[Array], tuple[float, ...]], Rollout]


class Method(abc.ABC):
    """A way to model a problem.

    - `is_hybrid`: True if it trains the problem's own model, whose unknowns can be reported.
    - `problem`, `settings`, `data`: the problem that it is applied to, its settings and its data.
    """

    is_hybrid: ClassVar[bool] = False

    def __init__(self, problem: Problem, settings: Any, data: Data):
        self.problem, self.settings, self.data = problem, settings, data

    @abc.abstractmethod
    def model(self, key: PRNGKeyArray) -> Any:
        """A fresh model to train."""

    @abc.abstractmethod
    def prepared(self, model: Any, data: xr.Dataset, samples: int) -> tuple[Any, PyTree[Array]]:
        """(the model with values of these samples, their initial states)."""

    def simulate(self) -> Simulate | None:
        """The integrator of a prepared model; None: `rollout` with the settings' stepper."""
        return None

    def simulate_to_train(self) -> Simulate | None:
        """The integrator used in the training loss."""
        return self.simulate()

    def trajectory(
        self,
        model: Any,
        data: xr.Dataset,
        samples: int,
        times: Float[np.ndarray, " time"],
    ) -> Rollout:
        """The rollout of these samples at `times`, of which the first is the initial one."""
        prepared, u0 = self.prepared(model, data, samples)
        simulate = self.simulate()
        if simulate is not None:
            return eqx.filter_jit(simulate)(prepared, u0, tuple(times.tolist()))
        dt = self.problem.step(self.settings)
        return rollout(prepared, u0, times, stepper=self.stepper, dt=dt, throw=False)

    @property
    def stepper(self) -> AbstractStepper:
        """The problem's stepper; a preconditioner "auto" is chosen once, for training's start."""
        return self._stepper[0]

    @property
    def automatic_choice(self) -> AutomaticChoice | None:
        """The preconditioner that "auto" stands for; None if it is not asked for."""
        return self._stepper[1]

    @cached_property
    def _stepper(self) -> tuple[AbstractStepper, AutomaticChoice | None]:
        problem, settings = self.problem, self.settings
        stepper = problem.stepper(settings)
        if self.simulate() is not None or not asks_for_choice(stepper):
            return stepper, None
        model = self.model(jax.random.key(settings.seed))
        prepared, u0 = self.prepared(model, self._training, len(self.data.training))
        return with_automatic_choice(
            stepper,
            prepared,
            u0,
            np.asarray(self.observations.times),
            problem.step(settings),
            jump_times=declared_jumps(prepared),
        )

    @cached_property
    def example(self) -> Any:
        """A fresh instance of the problem's own model, for shapes, grid and time dependence."""
        return self.problem.model(self.settings, jax.random.key(self.settings.seed))

    @cached_property
    def _training(self) -> xr.Dataset:
        return self.data.of(self.data.training)

    @cached_property
    def observations(self) -> Observations:
        """The training observations."""
        return self.problem.observations(self.settings, self.example, self._training)


class Hybrid(Method):
    """The problem's own model, advanced by the settings' stepper."""

    is_hybrid = True

    def model(self, key: PRNGKeyArray) -> Any:
        """A fresh model of the problem."""
        return self.problem.model(self.settings, key)

    def prepared(self, model: Any, data: xr.Dataset, samples: int) -> tuple[Any, PyTree[Array]]:
        """(the model with values of these samples, their initial states)."""
        own = self.problem.for_samples(self.settings, model, data)
        return own, self.problem.start(self.settings, model, data, samples)


class BlackBox(Method):
    """A method without physics, whose state is the observed quantities."""

    @cached_property
    def _names(self) -> list[str]:
        """The observed quantities."""
        table = self.observations.table
        if table is not None:
            return list(table.quantities)
        state = self.problem.start(
            self.settings, self.example, self._training, len(self.data.training)
        )
        return list(self.problem.quantities(jax.tree.map(lambda leaf: leaf[None], state)))

    def observed_start(self, data: xr.Dataset, samples: int) -> PyTree[Array]:
        """The observed components of the initial state, in the structure of the problem's state.

        Taken from the data, where they are fields; else from the problem's initial state.

        **Raises:** `InputError` for a measured quantity that is not a component of the state.
        """
        state = self.problem.start(self.settings, self.example, data, samples)
        if isinstance(state, Mapping):
            missing = [name for name in self._names if name not in state]
            if missing:
                raise InputError(
                    f"method.name: {self.settings.method.name} advances what is measured, and "
                    f"'{missing[0]}' is no component of the state but worked out of it; choose "
                    f"another method"
                )
            state = {name: state[name] for name in self._names}
        if self.data.scattered:
            return state
        grid, start = self.example.grid, start_of(data, self.settings)
        fields = initial_fields(data, grid, self._names, start)
        if isinstance(state, Mapping):
            return {name: jnp.asarray(fields[name]) for name in self._names}
        leaves, structure = jax.tree.flatten(state)
        if len(leaves) != len(fields):
            return state
        return jax.tree.unflatten(structure, [jnp.asarray(fields[n]) for n in self._names])
