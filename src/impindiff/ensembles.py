"""A case as its configuration asks for it: with its method, and as an ensemble of models."""

import dataclasses
from collections.abc import Sequence
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from impindiff.baselines import with_method
from impindiff.cases import Case, Data
from impindiff.errors import SolverError
from impindiff.findings import Findings
from impindiff.observations import Trajectories
from impindiff.training import Ensemble, Fitted, TrajectoryLoss


def as_configured(case: Case, settings: Any) -> Case:
    """The case with the method of its settings, and with `training.ensemble` models if more than 1.

    Raises as `with_method`.
    """
    case = with_method(case, settings)
    if settings.training.ensemble == 1:
        return case
    parents, members = (EnsembleCase, type(case)), {"of_one": case}
    return type(f"EnsembleOf{type(case).__name__}", parents, members)()


class EnsembleCase(Case):
    """To be mixed into a case: its model is an `Ensemble`, from successive seeds.

    Forecast, latent fields and numbers are means over the members; of one member alone they are its
    own.

    - `of_one`: the case of one member.
    """

    of_one: ClassVar[Case]

    def model(self, settings: Any, key: PRNGKeyArray) -> Ensemble:
        """What the case's model would be for the seed of the settings and those after it."""
        del key
        seeds = range(settings.seed, settings.seed + settings.training.ensemble)
        keys = [jax.random.key(seed) for seed in seeds]
        return Ensemble.of([self.of_one.model(settings, key) for key in keys])

    def forecasts(
        self,
        settings: Any,
        model: Ensemble,
        trajectories: Trajectories,
        samples: Sequence[int],
        times: Float[np.ndarray, " times"],
    ) -> tuple[Float[np.ndarray, "member time sample *space"], SolverError | None]:
        """As `forecast`, of each member."""
        found, failures = [], []
        for i, member in enumerate(model.members):
            field, failure = self.of_one.forecast(settings, member, trajectories, samples, times)
            found.append(field)
            if failure is not None:
                failures.append(SolverError(f"member {i}: {failure}", code=failure.code))
        return np.stack(found), failures[0] if failures else None

    def forecast(
        self,
        settings: Any,
        model: Any,
        trajectories: Trajectories,
        samples: Sequence[int],
        times: Float[np.ndarray, " times"],
    ) -> tuple[Float[np.ndarray, "time sample *space"], SolverError | None]:
        """See `Case.forecast`."""
        if not isinstance(model, Ensemble):
            return self.of_one.forecast(settings, model, trajectories, samples, times)
        found, failure = self.forecasts(settings, model, trajectories, samples, times)
        return found.mean(axis=0), failure

    def latent_fields(
        self, model: Any, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """See `Case.latent_fields`."""
        if not isinstance(model, Ensemble):
            return self.of_one.latent_fields(model, times)
        each = [self.of_one.latent_fields(member, times) for member in model.members]
        return {name: np.mean([of[name] for of in each], axis=0) for name in each[0]}

    def identified(self, model: Any) -> dict[str, Float[Array, ""]]:
        """See `Case.identified`."""
        if not isinstance(model, Ensemble):
            return self.of_one.identified(model)
        each = [self.of_one.identified(member) for member in model.members]
        return {name: jnp.mean(jnp.stack([of[name] for of in each])) for name in each[0]}

    def findings(self, settings: Any, data: Data, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """See `Case.findings`: of the member with the smallest final loss."""
        member = int(np.argmin(fitted.member_losses or (0.0,)))
        one = dataclasses.replace(fitted, model=fitted.model.members[member])
        return self.of_one.findings(settings, data, one, loss)
