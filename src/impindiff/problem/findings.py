"""Problem-specific results reported after training: scalar metrics and data for figures."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import xarray as xr
from jax.typing import ArrayLike
from jaxtyping import Float

from impindiff.errors import InputError
from impindiff.inference import Identifiability, laplace
from impindiff.training import Ensemble, Fitted, TrajectoryLoss


@dataclass(frozen=True)
class ClosureCurve:
    """A closure as a function of its argument.

    - `name`: label of the value axis, with a unit if it has one.
    - `argument_label`: label of the argument's axis.
    - `x`: the argument, increasing; `learned`, `truth`, `prior`, `standard_error`: values there,
      (N,).
    - `visited`: the smallest and largest argument in the training data.
    - `relative_l2_percent`: the error, stated in the title.
    """

    name: str
    argument_label: str
    x: Float[np.ndarray, "..."]
    learned: Float[np.ndarray, "..."]
    truth: Float[np.ndarray, "..."] | None = None
    prior: Float[np.ndarray, "..."] | None = None
    visited: tuple[float, float] | None = None
    relative_l2_percent: float | None = None
    standard_error: Float[np.ndarray, "..."] | None = None

    def __post_init__(self):
        """Refuse curves of different lengths and an empty range."""
        for curve in ("learned", "truth", "prior", "standard_error"):
            values = getattr(self, curve)
            if values is not None and values.shape != self.x.shape:
                raise InputError(
                    f"closure '{self.name}': {curve} has shape {values.shape}, its argument "
                    f"{self.x.shape}; give one value for each argument"
                )
        if self.visited is not None and not self.visited[0] < self.visited[1]:
            raise InputError(
                f"closure '{self.name}': the visited range is {self.visited}; expected its lower "
                f"end before the upper"
            )


def closure_curves(
    laws: Callable[[Any], Mapping[str, Any]],
    x: Float[ArrayLike, " N"],
    argument_label: str,
    fitted: Fitted,
    loss: TrajectoryLoss | None = None,
    truths: Mapping[str, Any] | None = None,
) -> list[ClosureCurve]:
    """Curves of learned laws and their standard errors, for `Findings`.

        u = np.linspace(0.0, 1.0, 50)
        laws = lambda model: {"D (m2/s)": model.diffusivity(u)}
        return ipd.problem.Findings(closures=closure_curves(laws, u, "saturation", fitted, loss))

    **Arguments:**

    - `laws`: from a model to the values of each law at x, by label of the value axis.
    - `x`, `argument_label`: the argument, increasing, and the label of its axis.
    - `fitted`, `loss`: those that `findings` receives. Standard errors are those of `laplace`, or
      over the members of an ensemble; without `loss` there are none.
    - `truths`: the true laws at x, by the same labels, where they are known.

    **Raises:** `InputError` for values of another shape than x.

    Costs a Jacobian of the training residuals, if `loss` is given.
    """
    x, truths = np.asarray(x), truths or {}
    errors: Mapping[str, Any] = {}
    if isinstance(fitted.model, Ensemble):
        each = [laws(member) for member in fitted.model.members]
        found = {name: np.mean([of[name] for of in each], axis=0) for name in each[0]}
        errors = {name: np.std([of[name] for of in each], axis=0, ddof=1) for name in found}
    else:
        found = laws(fitted.model)
        if loss is not None:
            errors = laplace(fitted.model, loss).standard_deviation(laws)
    return [
        ClosureCurve(
            name,
            argument_label,
            x,
            np.asarray(values),
            truth=np.asarray(truths[name]) if name in truths else None,
            standard_error=np.asarray(errors[name]) if name in errors else None,
        )
        for name, values in found.items()
    ]


@dataclass(frozen=True)
class Series:
    """Readings of one instrument over time.

    - `label`: legend entry of this instrument in its panel.
    - `times`, `predicted`, and `truth` if known: (T,) each.
    - `measured_times`, `measured`: (M,) each, both or none.
    - `standard_deviation`: of the instrument, half the length of the error bars; a number, or (M,).
    - `predicted_deviation`: standard deviation of the prediction, (T,), drawn as a band of two.
    """

    label: str
    times: Float[np.ndarray, "..."]
    predicted: Float[np.ndarray, "..."]
    truth: Float[np.ndarray, "..."] | None = None
    measured_times: Float[np.ndarray, "..."] | None = None
    measured: Float[np.ndarray, "..."] | None = None
    standard_deviation: float | Float[np.ndarray, "..."] | None = None
    predicted_deviation: Float[np.ndarray, "..."] | None = None

    def __post_init__(self):
        """Refuse values without times."""
        none = np.empty(0)
        measured = none if self.measured is None else self.measured
        pairs = {
            "predicted": (self.predicted, self.times),
            "truth": (self.times if self.truth is None else self.truth, self.times),
            "predicted_deviation": (
                self.times if self.predicted_deviation is None else self.predicted_deviation,
                self.times,
            ),
            "measured": (measured, none if self.measured_times is None else self.measured_times),
        }
        for name, (values, times) in pairs.items():
            if values.shape != times.shape:
                raise InputError(
                    f"series '{self.label}': {name} has shape {values.shape}, its times "
                    f"{times.shape}; give one value for each time"
                )


@dataclass(frozen=True)
class Sweep:
    """A scalar of each sample against the condition that differs between samples.

    - `name`: name of the figure.
    - `x`, `predicted`, `truth`: one value per sample, in any order.
    - `x_label`, `y_label`: with units or scaling.
    - `trained_x`: conditions of the training samples.
    - `log_x`: a logarithmic axis for x.
    """

    name: str
    x: Float[np.ndarray, " samples"]
    predicted: Float[np.ndarray, " samples"]
    truth: Float[np.ndarray, " samples"]
    x_label: str
    y_label: str
    trained_x: tuple[float, ...] = ()
    log_x: bool = True


@dataclass(frozen=True)
class Findings:
    """Results of a trained model to report and to plot.

    - `metrics`: merged into those of the run, section by section.
    - `closures`: learned laws.
    - `series`: panels of instrument readings over time, by the label of the value.
    - `trained_until`, `time_label`: the last training time, and the label of the time axis.
    - `sweeps`: scalars against conditions.
    - `snapshots`: by figure name, fields over time and the truth (see `report.snapshots_figure`),
      with contours at the given `levels` of fields.
    - `identifiability`: parameters that the data, and a prior if there is one, can determine.
    - `lines`: sentences for the user.
    """

    metrics: Mapping[str, Any] = field(default_factory=dict)
    closures: Sequence[ClosureCurve] = ()
    series: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    trained_until: float | None = None
    time_label: str = "time"
    sweeps: Sequence[Sweep] = ()
    snapshots: Mapping[str, tuple[xr.Dataset, xr.Dataset | None]] = field(default_factory=dict)
    levels: Mapping[str, float] = field(default_factory=dict)
    identifiability: Identifiability | None = None
    lines: Sequence[str] = ()
