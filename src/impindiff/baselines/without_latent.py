"""What a case tells when its model has nothing of what the case looks for."""

from typing import Any

import numpy as np
from jaxtyping import Array, Float

from impindiff.cases import Case, Data
from impindiff.findings import Findings
from impindiff.training import Fitted, TrajectoryLoss


class WithoutLatent(Case):
    """To be mixed into a case: no latent fields, no numbers, no findings."""

    def latent_fields(
        self, model: Any, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """None."""
        del model, times
        return {}

    def identified(self, model: Any) -> dict[str, Float[Array, ""]]:
        """None."""
        del model
        return {}

    def truths(self, settings: Any) -> dict[str, float]:
        """None."""
        del settings
        return {}

    def findings(self, settings: Any, data: Data, fitted: Fitted, loss: TrajectoryLoss) -> Findings:
        """None."""
        del settings, data, fitted, loss
        return Findings()
