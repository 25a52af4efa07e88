"""The numbers of a run, metrics.json, or why it failed, failure.json."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field

from impindiff.errors import FailureCode
from impindiff.results.content import Content, Number, Pair
from impindiff.settings.configuration import merged


class Failure(Content):
    """Why a run failed: for programs, and for people."""

    code: FailureCode
    message: str


class Restarts(Content):
    """The loss of each start of training, and the index of the one that was continued."""

    losses: list[Number]
    chosen: int


class EnsembleLosses(Content):
    """The final loss of each member of an ensemble."""

    members: int
    final_losses: list[Number]


class Training(Content):
    """Costs and outcome of training, as in `training.Fitted`.

    - `parameters`, `observations`: how many numbers are trained, and how many values are fitted.
    - `restarts`, `ensemble`: None for one start, and for one model.
    """

    seconds: Number
    steps: int
    final_loss: Number
    compile_seconds: Number = None
    seconds_per_step: Number = None
    temporary_mb: Number = None
    parameters: int | None = None
    observations: int | None = None
    validation_loss: Number = None
    best_step: int | None = None
    stopped_early: bool = False
    restarts: Restarts | None = None
    ensemble: EnsembleLosses | None = None


class Solver(Content):
    """Solves over all of training: iterations a solve, largest relative residual, failures."""

    iterations_mean: Number
    linear_iterations_mean: Number
    max_residual: Number
    failed_solves: int


class Gradient(Content):
    """The largest relative residual of an adjoint solve."""

    max_residual: Number


class Memory(Content):
    """The largest resident memory of the process, in MB."""

    peak_rss_mb: Number


class ForecastErrors(Content):
    """Errors against the truth, relative, in percent; further numbers by names of their own.

    - `relative_l1_percent`: at the last time, by `train` and `test`.
    - `error_vs_time`: L1, means over the test samples, or over all where there are none.
    - `relative_l2_percent`: over all times, by quantity.
    """

    model_config = ConfigDict(extra="allow")

    relative_l1_percent: dict[str, Number]
    error_vs_time: list[Pair] = Field(min_length=1)
    relative_l2_percent: dict[str, Number] = Field(default_factory=dict)

    @property
    def others(self) -> dict[str, float]:
        """The further numbers."""
        return {k: v for k, v in (self.model_extra or {}).items() if isinstance(v, float | int)}

    @property
    def last_time(self) -> float:
        """The time at which `relative_l1_percent` holds."""
        return self.error_vs_time[-1][0]


class LatentErrors(Content):
    """Errors of the unknown fields and laws, relative, in percent, by name.

    - `error_vs_time`: L1, of fields that change in time.
    """

    relative_l1_percent: dict[str, Number] = Field(default_factory=dict)
    relative_l2_percent: dict[str, Number] = Field(default_factory=dict)
    error_vs_time: dict[str, list[Pair]] = Field(default_factory=dict)


class Misfit(Content):
    """Measured against predicted values of one quantity.

    - `rms`: root mean square of the difference; `relative_percent`: over that of the values;
      `in_standard_deviations`: of the differences over their standard deviations.
    - `values`: how many.
    """

    rms: Number
    relative_percent: Number
    in_standard_deviations: Number
    values: int


class Estimate(Content):
    """An unknown number: its value, and its standard error and true value where they are known."""

    value: Number
    standard_error: Number = None
    truth: Number = None

    @property
    def off_percent(self) -> Number:
        """The relative error of the value in percent; None where that is not known."""
        if self.value is None or not self.truth:
            return None
        return 100 * (self.value / self.truth - 1)


class RunMetrics(Content):
    """The whole file; what does not apply to a run is None or empty.

    - `problem`: its name; of a user-defined one, that of its file.
    - `summary`, `infers`: what is solved and what is unknown, in words.
    - `labels`: the problem's words for names in here and for its figures (see `Problem`).
    - `trained_until`: the last time of the observations, if it is one.
    - `forecast`, `latent`: where the truth is known.
    - `misfit`: to measurements, by set (`train`, `test`) and quantity.
    - `identified`: the unknown numbers.

    Further sections, by names of their own, are what a problem adds (see `Findings`).
    """

    model_config = ConfigDict(extra="allow")
    again: ClassVar[str] = "run the problem again"

    version: Literal[1] = 1
    problem: str = Field(validation_alias=AliasChoices("problem", "case"))
    summary: str = ""
    infers: str | None = None
    labels: dict[str, str] = Field(default_factory=dict)
    trained_until: Number = None
    forecast: ForecastErrors | None = None
    latent: LatentErrors | None = None
    misfit: dict[str, dict[str, Misfit]] = Field(default_factory=dict)
    identified: dict[str, Estimate] = Field(default_factory=dict)
    train: Training
    solver: Solver
    gradient: Gradient
    precision: str
    seed: int
    versions: dict[str, str] = Field(default_factory=dict)
    memory: Memory
    seconds_total: Number

    @property
    def others(self) -> dict[str, Any]:
        """The further sections."""
        return self.model_extra or {}

    def with_sections(self, more: Mapping[str, Any]) -> Self:
        """The same with what a problem adds, section by section."""
        return self.model_validate(merged(self.model_dump(), more))
