"""Numbers of a run, metrics.json, and the reason of its failure, failure.json."""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, Self

from pydantic import AliasChoices, ConfigDict, Field

from impindiff.errors import FailureCode
from impindiff.results._content import Content, Number, Pair
from impindiff.settings.configuration import merged


class Failure(Content):
    """The reason of a run's failure, for programs and for people."""

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

    - `parameters`, `observations`: numbers of trained parameters and of fitted values.
    - `converged`: see `training.Fitted`; None for an optimiser without a criterion.
    - `prior`: what empirical_bayes chose, by name, and `errors`, the data's; None for others.
    - `restarts`, `ensemble`: None for a single start, and for a single model.
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
    converged: bool | None = None
    prior: Mapping[str, Number] | None = None
    restarts: Restarts | None = None
    ensemble: EnsembleLosses | None = None


class Solver(Content):
    """Solves over all of training: iterations a solve, largest relative residual, failures.

    - `automatic_preconditioner`: the choice and its reason, where the settings say "auto".
    """

    iterations_mean: Number
    linear_iterations_mean: Number
    max_residual: Number
    failed_solves: int
    automatic_preconditioner: str | None = None


class Gradient(Content):
    """The largest relative residual of an adjoint solve."""

    max_residual: Number


class Memory(Content):
    """Peak resident memory of the process, in MB."""

    peak_rss_mb: Number


class ForecastErrors(Content):
    """Relative errors against the truth in percent, and problem-specific numbers.

    - `relative_l1_percent`: at the last time, by `train` and `test`.
    - `error_vs_time`: L1, means over the test samples, or over all without a test set.
    - `relative_l2_percent`: over all times, by quantity.
    """

    model_config = ConfigDict(extra="allow")

    relative_l1_percent: dict[str, Number]
    error_vs_time: list[Pair] = Field(min_length=1)
    relative_l2_percent: dict[str, Number] = Field(default_factory=dict)

    @property
    def others(self) -> dict[str, float]:
        """The problem-specific numbers."""
        return {k: v for k, v in (self.model_extra or {}).items() if isinstance(v, float | int)}

    @property
    def last_time(self) -> float:
        """The time at which `relative_l1_percent` holds."""
        return self.error_vs_time[-1][0]


class LatentErrors(Content):
    """Errors of the unknown fields and laws, relative, in percent, by name.

    - `error_vs_time`: L1, of time-dependent fields.
    """

    relative_l1_percent: dict[str, Number] = Field(default_factory=dict)
    relative_l2_percent: dict[str, Number] = Field(default_factory=dict)
    error_vs_time: dict[str, list[Pair]] = Field(default_factory=dict)


class Misfit(Content):
    """Measured against predicted values of one quantity.

    - `rms`: root mean square of the difference; `relative_percent`: over that of the values;
      `in_standard_deviations`: of the differences over the stated standard deviations; None if
      none is stated.
    - `values`: their number.
    """

    rms: Number
    relative_percent: Number
    in_standard_deviations: Number
    values: int


class Estimate(Content):
    """An identified scalar: value, standard error and true value if known."""

    value: Number
    standard_error: Number = None
    truth: Number = None

    @property
    def off_percent(self) -> Number:
        """The relative error of the value in percent; None if unknown."""
        if self.value is None or not self.truth:
            return None
        return 100 * (self.value / self.truth - 1)


class Tested(Content):
    """A test of the residuals: see `inference.ResidualTest`."""

    statistic: Number
    probability: Number
    rejects: bool


class Checked(Content):
    """The check of the model by the residuals of the training set.

    - `explains`: False if a test rejects the model.
    - `verdict`: the same in words.
    - `tests`: by name; see `inference.check_residuals`.
    """

    explains: bool
    verdict: str
    tests: dict[str, Tested]


class RunMetrics(Content):
    """The whole file; parts that do not apply to a run are None or empty.

    - `problem`: its name; for a user-defined one, that of its file.
    - `summary`, `infers`: the problem and its unknowns, in words.
    - `labels`: the problem's names for results and figures (see `Problem`).
    - `trained_until`: the last observation time, if there is one.
    - `forecast`, `latent`: where the truth is known.
    - `misfit`: to measurements, by set (`train`, `test`) and quantity.
    - `identified`: the unknown scalars.
    - `warnings`: reasons to distrust these, one sentence each.
    - `notes`: further findings of the problem, one line each.
    - `model_check`: whether the model explains the training data; None for data without errors,
      and for too few.

    Further sections are problem-specific (see `Findings`).
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
    warnings: list[str] = Field(default_factory=list)
    notes: list[str] = Field(default_factory=list)
    model_check: Checked | None = None
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
        """The problem-specific sections."""
        return self.model_extra or {}

    def with_sections(self, more: Mapping[str, Any]) -> Self:
        """A copy with problem-specific content, section by section."""
        return self.model_validate(merged(self.model_dump(), more))
