"""What a comparison's results.json holds: several methods, several seeds each, on one case."""

import json
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from impindiff.cases.configuration_errors import first_problem
from impindiff.errors import InputError

RESULTS = "results.json"


class _Content(BaseModel):
    """Keys that the page does not show are passed over: who writes results may know more of them.

    Infinity and NaN are taken for values that are not there, which JSON has as null.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)


class Times(_Content):
    """When errors are judged, by the keys that errors have."""

    training_end: float
    twice_training: float | None = None
    horizon: float
    twice_horizon: float | None = None

    def known(self) -> dict[str, float]:
        """Those there are, in order of the keys."""
        return {name: time for name, time in self.model_dump().items() if time is not None}


class Numbers(_Content):
    """What is measured of a run, and of a method as mean and spread over its runs.

    - `error_percent`: relative error of the forecast, by the keys of `Times`.
    - `seconds_per_step`, `compile_seconds`, `training_seconds`: seconds.
    - `temporary_mb`, `peak_rss_mb`: memory of a training step, and of the process, in MB.
    - `steps`, `parameters`, `observations`, `final_loss`: of training.
    - `largest_step`: the largest stable time step, where that is what was asked.
    """

    error_percent: dict[str, float | None] = Field(default_factory=dict)
    seconds_per_step: float | None = None
    compile_seconds: float | None = None
    temporary_mb: float | None = None
    peak_rss_mb: float | None = None
    training_seconds: float | None = None
    steps: float | None = None
    parameters: float | None = None
    observations: float | None = None
    final_loss: float | None = None
    largest_step: float | None = None


class MethodRun(Numbers):
    """A method with one seed; `folder` is relative to that of the comparison."""

    seed: int
    folder: str
    status: Literal["ok", "blow-up", "failed"]
    message: str | None = None


class Method(_Content):
    """A method, its runs, and their mean and standard deviation (none with one seed)."""

    name: str
    title: str
    kind: str
    description: str = ""
    tuning: str = ""
    overrides: dict[str, Any] = Field(default_factory=dict)
    not_run: str | None = None
    failures: int = 0
    runs: list[MethodRun] = Field(default_factory=list)
    mean: Numbers | None = None
    spread: Numbers | None = None

    def error(self, time: str) -> float | None:
        """The mean error in percent at that time."""
        return None if self.mean is None else self.mean.error_percent.get(time)

    def count(self, status: str) -> int:
        """How many runs ended so."""
        return sum(run.status == status for run in self.runs)


class Comparison(_Content):
    """The whole file; `study_summary` is what the study of a quantity shows, if it is one."""

    case: str
    command: str
    study_summary: str | None = None
    budget_seconds: float | None = None
    seeds: list[int]
    times: Times
    machine: dict[str, Any] = Field(default_factory=dict)
    versions: dict[str, str] = Field(default_factory=dict)
    methods: list[Method] = Field(min_length=1)

    @property
    def has_errors(self) -> bool:
        """Whether forecasts were made, or tried: a study may measure something else."""
        return any(
            run.status != "ok" or any(e is not None for e in run.error_percent.values())
            for method in self.methods
            for run in method.runs
        )


def read_comparison(folder: Path) -> Comparison:
    """The results in `folder`.

    **Raises:** `InputError` if there are none, or for a file that is not of this form; it names the
    first key that is wrong.
    """
    path = folder / RESULTS
    if not path.is_file():
        raise InputError(f"{folder}: is not the folder of a comparison (no {RESULTS} in it)")
    try:
        content = json.loads(path.read_text(), parse_constant=lambda name: None)
    except ValueError as error:
        raise InputError(f"{path}: is not JSON ({error}); make the comparison again") from None
    if not isinstance(content, dict):
        raise InputError(
            f"{path}: must be a mapping of keys to values, not a {type(content).__name__}; make "
            f"the comparison again"
        )
    try:
        return Comparison.model_validate(content)
    except ValidationError as error:
        problem = first_problem(Comparison, content, error)
        raise InputError(f"{path}: {problem}; make the comparison again") from None
