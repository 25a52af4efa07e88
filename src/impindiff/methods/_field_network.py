"""The field network without physics, as a method."""

from typing import Any

import jax
import xarray as xr
from jaxtyping import Array, PRNGKeyArray, PyTree

from impindiff.methods._local_law import local_law_like
from impindiff.methods._method import BlackBox
from impindiff.problem import start_of


class FieldNetwork(BlackBox):
    """A `LocalLaw` of the observed fields, with the problem's field network."""

    def model(self, key: PRNGKeyArray) -> Any:
        """A fresh law; coefficients depend on time where the problem's field does."""
        # the same key gives the law the weights of the problem's own field
        hybrid = self.problem.model(self.settings, key)
        state = self.observed_start(self._training, len(self.data.training))
        return local_law_like(
            hybrid,
            jax.tree.map(lambda leaf: leaf[0], state),
            self.settings.method.degree,
            timescale=self.settings.method.timescale,
            start=start_of(self._training, self.settings),
            until=self.observations.times[-1],
            key=key,
        )

    def prepared(self, model: Any, data: xr.Dataset, samples: int) -> tuple[Any, PyTree[Array]]:
        """(the model, the observed initial states)."""
        return model, self.observed_start(data, samples)
