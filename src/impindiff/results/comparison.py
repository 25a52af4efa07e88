"""Numbers of a comparison of methods: results.json."""

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from impindiff.results.content import Content, Number


class Times(Content):
    """Times to compare errors at, by key; None where the process has ended."""

    training_end: float
    twice_training: float | None = None
    horizon: float
    twice_horizon: float | None = None

    def known(self) -> dict[str, float]:
        """The times that are not None, in order of the keys."""
        return {name: time for name, time in self.model_dump().items() if time is not None}


class Numbers(Content):
    """Measurements of a run, or their mean or spread over a method's runs.

    - `error_percent`: relative L1 error of the forecast, by the keys of `Times`; at the horizon,
      the relative misfit to measurements, where no true field is known.
    - `step`: the time step; None if adaptive.
    - `largest_step`: the largest stable time step, where requested.
    - `seconds_per_step`, `compile_seconds`, `training_seconds`: seconds.
    - `temporary_mb`, `peak_rss_mb`: memory of a training step, and of the process, in MB.
    - `steps`, `parameters`, `observations`, `final_loss`: of training.
    """

    error_percent: dict[str, Number] = Field(default_factory=dict)
    step: Number = None
    largest_step: Number = None
    seconds_per_step: Number = None
    compile_seconds: Number = None
    temporary_mb: Number = None
    peak_rss_mb: Number = None
    training_seconds: Number = None
    steps: Number = None
    parameters: Number = None
    observations: Number = None
    final_loss: Number = None


class MethodRun(Numbers):
    """A method with one seed; `folder` is relative to that of the comparison."""

    seed: int
    folder: str
    status: Literal["ok", "blow-up", "failed"] = "ok"
    message: str | None = None


class MethodResults(Content):
    """A method, at a point of a study if it is one, with its runs.

    - `name`: of the row; `method`: of the method; `x`: the point of the study.
    - `not_run`: the reason why there are no runs.
    - `temporal_error_percent`: the error of its time step with the true coefficients.
    - `failures`: number of runs that did not end "ok".
    - `mean`, `spread`: over runs; the standard deviation is None for fewer than two.
    """

    name: str
    title: str
    method: str
    x: float | None = None
    kind: str
    description: str = ""
    tuning: str = ""
    overrides: dict[str, Any] = Field(default_factory=dict)
    not_run: str | None = None
    temporal_error_percent: Number = None
    failures: int = 0
    runs: list[MethodRun] = Field(default_factory=list)
    mean: Numbers = Numbers()
    spread: Numbers = Numbers()

    def error(self, time: str) -> float | None:
        """The mean error in percent at that time."""
        return self.mean.error_percent.get(time)

    def count(self, status: str) -> int:
        """Number of runs with this status."""
        return sum(run.status == status for run in self.runs)


class ComparisonResults(Content):
    """The whole file; `study_summary` describes the quantity studied, if any."""

    again: ClassVar[str] = "make the comparison again"

    version: Literal[1] = 1
    problem: str = Field(validation_alias=AliasChoices("problem", "case"))
    command: str
    study: str | None = None
    study_summary: str | None = None
    quick: bool = False
    budget_seconds: float | None = None
    seeds: list[int]
    times: Times
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    methods: list[MethodResults] = Field(min_length=1)

    @property
    def has_errors(self) -> bool:
        """True if forecasts were attempted; a study may measure something else."""
        return any(
            run.status != "ok" or any(e is not None for e in run.error_percent.values())
            for method in self.methods
            for run in method.runs
        )
