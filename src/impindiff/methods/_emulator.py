"""Neural emulators from one observation to the next, as a method."""

import math
from abc import abstractmethod
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree

from impindiff.errors import InputError
from impindiff.grid.geometry import typical_spacing
from impindiff.implicit import Outcome
from impindiff.methods._method import BlackBox, Simulate
from impindiff.methods._sequence import SequenceModel, SequenceNetwork, number_of_channels
from impindiff.methods._trajectory import as_rollout
from impindiff.observations.checks import same_places
from impindiff.problem import conditions_of
from impindiff.rollout import Rollout, depends_on_time


class Emulation(eqx.Module):
    """Advance initial fields by a `SequenceModel`, as a `Rollout`.

    - `observed`: whole fields, a pytree of (times, samples, *cells), each of which is predicted
      from the one before it; None: all are predicted from the initial one.
    """

    observed: PyTree[Float[Array, "times samples ..."]] | None = None

    def __call__(self, model: Any, u0: PyTree[Array], times: tuple[float, ...]) -> Rollout:
        """Predict all times (see `TrajectoryLoss.simulate`)."""
        if self.observed is None:
            fields = model(u0, times)
        else:
            following = model.next_observations(self.observed)
            fields = jax.tree.map(
                lambda seen, found: jnp.concatenate([seen[:1], found]), self.observed, following
            )
        finite = [
            jnp.all(jnp.isfinite(leaf[1:]), axis=tuple(range(2, leaf.ndim)))
            for leaf in jax.tree.leaves(fields)
        ]
        return as_rollout(fields, times, jnp.stack(finite).all(axis=0), Outcome.not_finite)


class Emulator(BlackBox):
    """A network that steps from observation to observation, trained on the same observations.

    Position is among its inputs, since the unknowns depend on it; so are sample-specific conditions
    and, where the problem's own model depends on time, time.
    """

    @abstractmethod
    def network(
        self, channels: int, fields: int, periodic: tuple[bool, ...], key: PRNGKeyArray
    ) -> SequenceNetwork:
        """A fresh network of `channels` inputs and `fields` outputs in each cell."""

    def model(self, key: PRNGKeyArray) -> SequenceModel:
        """A fresh sequence model.

        **Raises:** `InputError` on a grid whose cells differ in size or volume.
        """
        grid = self.example.grid
        if not grid.is_box:
            raise InputError(
                f"method.name: {self.settings.method.name} needs equal cells, and the grid is "
                f"{grid.kind}; compare with local_law, or take a uniform Cartesian grid"
            )
        periodic = grid.periodic
        knots = self.observations.times
        with_time = depends_on_time(self.example, jnp.asarray(knots[0]))
        given = conditions_of(self._training)
        # typical sizes; a condition that is zero everywhere has none
        scales = tuple(math.sqrt(np.mean(v**2)) or 1.0 for v in given.values())
        fields = len(self._names)
        channels = number_of_channels(
            periodic, fields=fields, with_time=with_time, conditions=len(scales)
        )
        return SequenceModel(
            self.network(channels, fields, periodic, key),
            knots=knots,
            periodic=periodic,
            cells=tuple(grid.cells),
            with_time=with_time,
            condition_scales=scales,
        )

    def prepared(
        self, model: SequenceModel, data: xr.Dataset, samples: int
    ) -> tuple[SequenceModel, PyTree[Array]]:
        """(the model with the samples' conditions, their initial states)."""
        given = list(conditions_of(data).values())
        if given:
            model = model.with_conditions(jnp.asarray(np.stack(given, axis=-1)))
        return model, self.observed_start(data, samples)

    def simulate(self) -> Simulate:
        """Free-running prediction from the initial state."""
        return Emulation()

    def simulate_to_train(self) -> Simulate:
        """Training by `method.fit_to`, one step ahead or along trajectories.

        **Raises:** `InputError` where whole fields are required and not all of them are observed.
        """
        fit_to = self.settings.method.fit_to
        whole = None if fit_to == "trajectory" else self._whole_fields()
        if whole is None and fit_to == "next_observation":
            raise InputError(
                "method.fit_to: next_observation needs whole fields to start from, and these "
                "observations are not; choose trajectory"
            )
        return Emulation(whole)

    def _whole_fields(self) -> PyTree[Float[Array, "times samples ..."]] | None:
        """The state at all observation times; None where it is only partly observed."""
        samples = len(self.data.training)
        first = self.observed_start(self._training, samples)
        leaves, structure = jax.tree.flatten(first)
        names = list(first) if isinstance(first, dict) else self._names
        found = [self._fields_of(name, samples) for name in sorted(names)]
        if len(found) != len(leaves) or any(fields is None for fields in found):
            return None
        # leaves of a dictionary are sorted by name
        whole = [
            jnp.concatenate([start[None], fields])
            for start, fields in zip(leaves, found, strict=True)
            if fields is not None
        ]
        return jax.tree.unflatten(structure, whole)

    def _fields_of(self, name: str, samples: int) -> Float[Array, "times samples ..."] | None:
        """The observed fields of a quantity at all times after the initial one, if complete."""
        found, grid = self.observations, self.example.grid
        times = len(found.times) - 1
        shape = (times, samples, *grid.cells)
        if found.table is None:
            return None
        table = found.table.rows(found.table.quantity == name)
        if len(table) != math.prod(shape):
            return None
        places = np.moveaxis(np.asarray(grid.centers), 0, -1).reshape(-1, grid.ndim)
        there = table.position.reshape(times * samples, *places.shape)
        when, of_sample = table.time.reshape(times, -1), table.sample.reshape(times, samples, -1)
        is_whole = (
            same_places(there, places, typical_spacing(grid)).all()
            and (of_sample == np.arange(samples)[:, None]).all()
            and (when == np.asarray(found.times[1:])[:, None]).all()
        )
        return jnp.asarray(table.value.reshape(shape)) if is_whole else None
