"""Numbers of a comparison of methods: results.json."""

from typing import Any, ClassVar, Literal

from pydantic import AliasChoices, Field

from impindiff.results._content import Content, Number

RunStatus = Literal["ok", "not converged", "blow-up", "failed"]
_FATES: dict[RunStatus, str] = {
    "not converged": "did not converge",
    "blow-up": "blew up",
    "failed": "failed",
}
_SETS = {"train": "training", "test": "test"}
_METRICS = {
    "relative_l1_percent": "relative L1 error",
    "relative_percent": "relative rms misfit to the measurements",
}


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

    - `error_percent`: the error that `ComparisonResults.metric` names, by the keys of `Times`; of
      a misfit to measurements, at the horizon only.
    - `step`: the time step; None if adaptive.
    - `largest_step`: the largest stable time step, where requested.
    - `seconds_per_step`, `compile_seconds`, `training_seconds`: seconds.
    - `temporary_mb`, `peak_rss_mb`: memory of a training step, and of the process, in MB.
    - `steps`, `parameters`, `observations`, `final_loss`: of training.
    - `failed_solves`: the number of solves that failed in training.
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
    failed_solves: Number = None


class MethodRun(Numbers):
    """A method with one seed; `folder` is relative to that of the comparison.

    - `status`: "not converged" for a run with an error, of which training ended, though not by
      patience, before the optimiser's own criterion was met: cut short, or given up.
    """

    seed: int
    folder: str
    status: RunStatus = "ok"
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

    def count(self, status: RunStatus) -> int:
        """Number of runs with this status."""
        return sum(run.status == status for run in self.runs)

    def outcome(self) -> str:
        """Number of runs, and the fate of those that did not end "ok"."""
        total = len(self.runs)
        parts = [
            f"{self.count(status)} of {total} {words}"
            for status, words in _FATES.items()
            if self.count(status)
        ]
        return ", ".join(parts) if parts else f"{total} of {total}"


class ComparisonResults(Content):
    """The whole file.

    - `study_summary`: one line on the study, if it is one.
    - `metric`, `judged_on`: the errors' name in metrics.json, and the set that they are of.
    """

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
    metric: Literal["relative_l1_percent", "relative_percent"] = "relative_l1_percent"
    judged_on: Literal["train", "test"] = "test"
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    methods: list[MethodResults] = Field(min_length=1)

    @property
    def metric_name(self) -> str:
        """The metric in words."""
        return _METRICS[self.metric]

    @property
    def error_label(self) -> str:
        """The metric and its set in words, for captions and axes."""
        return f"{self.metric_name} of the {_SETS[self.judged_on]} set (%)"

    @property
    def has_errors(self) -> bool:
        """True if forecasts were attempted; a study may measure something else."""
        return any(
            run.status != "ok" or any(e is not None for e in run.error_percent.values())
            for method in self.methods
            for run in method.runs
        )
