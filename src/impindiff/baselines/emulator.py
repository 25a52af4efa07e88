"""A case whose model is a black box from one observation to the next."""

from collections.abc import Sequence
from typing import Any

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.baselines.conv_lstm import ConvLSTM
from impindiff.baselines.fno import FourierNeuralOperator
from impindiff.baselines.sequence import SequenceModel, SequenceNetwork, number_of_channels
from impindiff.baselines.trajectory import as_rollout
from impindiff.baselines.without_latent import WithoutLatent
from impindiff.cases import Data
from impindiff.cases.method_settings import ConvLSTMSettings, FnoSettings
from impindiff.errors import FailureCode, InputError, SolverError
from impindiff.implicit import Outcome
from impindiff.observations import AtTimes, Sensors, Trajectories
from impindiff.rollout import Rollout, depends_on_time
from impindiff.training import TrajectoryLoss


class EmulatorLoss(TrajectoryLoss):
    """`TrajectoryLoss` of a `SequenceModel`: the same misfit at the same observations.

    - `first`: the observed field of each sample at the initial time.
    - `conditions`: (samples, n), or None.
    - `observed`: whole fields, (times, samples, *cells), of which each is predicted from the one
      before it; None: all are predicted from `first`.
    - `as_state`: see `Case.as_state`.
    """

    first: Float[Array, "samples *cells"] = eqx.field(kw_only=True)
    conditions: Float[Array, "samples n"] | None = eqx.field(kw_only=True)
    observed: Float[Array, "times samples *cells"] | None = eqx.field(kw_only=True)
    as_state: Any = eqx.field(static=True, kw_only=True)

    def trajectory(self, model: Any, probe: Float[Array, "steps samples"] | None) -> Rollout:
        """See `TrajectoryLoss.trajectory`."""
        del probe
        model = model.with_conditions(self.conditions)
        if self.observed is None:
            fields = model(self.first, self.times)
        else:
            following = model.next_observations(self.observed)
            fields = jnp.concatenate([self.observed[:1], following])
        finite = jnp.all(jnp.isfinite(fields[1:]), axis=tuple(range(2, fields.ndim)))
        return as_rollout(self.as_state(fields), self.times, finite, Outcome.not_finite)


class Emulator(WithoutLatent):
    """To be mixed into a case: a black box, trained on the same observations, for its model."""

    def model(self, settings: Any, key: PRNGKeyArray) -> SequenceModel:
        """The network of `settings.method`, which steps from observation to observation.

        Position is among its inputs, for what is hidden depends on it; so is time where the case's
        own model depends on time, and what differs from sample to sample.
        """
        hybrid = super().model(settings, key)
        observed = self.observed_times(settings)
        if not observed:
            raise InputError(
                f"method.name: {settings.method.name} steps from one observation of the field to "
                f"the next, and {self.name} observes scattered points"
            )
        grid = hybrid.grid
        with_time = depends_on_time(hybrid, jnp.zeros(()))
        scales = tuple(self.conditions(settings).values())
        channels = number_of_channels(grid.periodic, with_time=with_time, conditions=len(scales))
        return SequenceModel(
            _network(settings.method, channels, grid.periodic, key),
            knots=(0.0, *observed),
            periodic=grid.periodic,
            cells=tuple(grid.cells),
            with_time=with_time,
            condition_scales=scales,
        )

    def loss(self, settings: Any, data: Data) -> TrajectoryLoss:
        """See `Case.loss`: the case's own, with the black box's trajectory."""
        of_case = super().loss(settings, data)
        teacher_forced = settings.method.fit_to == "next_observation"
        observe = of_case.observe
        instrument = observe.operator if isinstance(observe, AtTimes) else observe
        sees_all = isinstance(instrument, Sensors) and instrument.indices is None
        if teacher_forced and not sees_all:
            raise InputError(
                "method.fit_to: next_observation needs whole fields to start from, and these "
                "observations are not; choose trajectory"
            )
        if of_case.times[0] != 0:
            raise InputError(
                f"method.name: {settings.method.name} starts at t = 0, the data at "
                f"{of_case.times[0]:g}; shift their times"
            )
        fields = {name: getattr(of_case, name) for name in of_case.__dataclass_fields__}
        first = jnp.asarray(data.trajectories.field[data.training, 0])
        whole = None
        if teacher_forced:
            whole = jnp.concatenate([first[None], of_case.values.reshape(-1, *first.shape)])
        return EmulatorLoss(
            **{**fields, "prior": None, "penalty": None, "prepare": None},
            first=first,
            conditions=self._conditions(settings, data.trajectories, data.training),
            observed=whole,
            as_state=self.as_state,
        )

    def forecast(
        self,
        settings: Any,
        model: Any,
        trajectories: Trajectories,
        samples: Sequence[int],
        times: Float[np.ndarray, " times"],
    ) -> tuple[Float[np.ndarray, "time sample *space"], SolverError | None]:
        """See `Case.forecast`."""
        chosen = list(samples)
        first = jnp.asarray(trajectories.field[chosen, 0])
        conditions = self._conditions(settings, trajectories, chosen)
        steps = tuple(float(t) for t in times)
        found = np.asarray(eqx.filter_jit(model.with_conditions(conditions))(first, steps))
        finite = np.isfinite(found).all(axis=tuple(range(2, found.ndim)))
        if finite.all():
            return found, None
        index, sample = (int(i) for i in np.argwhere(~finite)[0])
        failure = SolverError(
            f"{settings.method.name}: the forecast is not finite from t = {times[index]:g} on, "
            f"sample {sample}",
            code=FailureCode.not_finite,
        )
        return found, failure

    def _conditions(
        self, settings: Any, trajectories: Trajectories, samples: Sequence[int]
    ) -> Float[Array, "samples n"] | None:
        names = list(self.conditions(settings))
        if not names:
            return None
        values = [trajectories.conditions[name][list(samples)] for name in names]
        return jnp.asarray(np.stack(values, axis=-1))


def _network(
    method: FnoSettings | ConvLSTMSettings,
    channels: int,
    periodic: tuple[bool, ...],
    key: PRNGKeyArray,
) -> SequenceNetwork:
    if isinstance(method, FnoSettings):
        return FourierNeuralOperator(
            channels,
            periodic,
            width=method.width,
            modes=method.modes,
            layers=method.layers,
            key=key,
        )
    return ConvLSTM(
        channels,
        periodic,
        hidden=method.hidden,
        kernel=method.kernel,
        layers=method.layers,
        key=key,
    )
