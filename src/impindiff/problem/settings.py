"""The configuration of a problem of one's own."""

from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from impindiff.cases.configuration import StrictModel
from impindiff.cases.settings import Positive, RunSettings
from impindiff.cases.training_settings import AdamSettings, TrainingSettings


class MeasurementSettings(StrictModel):
    """Where the measurements are, and what of them is looked at."""

    path: Path | None = Field(
        default=None, description="file of measurements, relative to where the command is run"
    )
    variables: dict[str, str] = Field(
        default={},
        description="by name in the file, the model's name, or the coordinate that it is: time, x, "
        "y, z, sample; empty: all, as they are",
    )
    units: dict[str, str] = Field(
        default={}, description="by name, the unit that the model expects; the file must agree"
    )
    samples: tuple[Annotated[int, Field(ge=0)], ...] | None = Field(
        default=None, description="trajectories of the file to read; null: all"
    )
    times: tuple[float, float] | None = Field(
        default=None, description="first and last time to read; null: all"
    )


class PointSettings(StrictModel):
    """What training sees of the measurements."""

    start: float | None = Field(
        default=None,
        description="time of the initial state; null: the first time of fields, 0 for points",
    )
    until: float | None = Field(
        default=None, description="later values are held back, to judge the forecast by; null: none"
    )
    standard_deviation: dict[str, Positive] = Field(
        default={},
        description="by quantity, the error of values whose file gives none; without, the spread "
        "of the quantity's values, so that all weigh alike",
    )


class OutlookSettings(StrictModel):
    """What is forecast once trained."""

    until: float | None = Field(default=None, description="last time; null: that of the data")
    every: Positive | None = Field(
        default=None, description="time between stored states; null: a fiftieth of the forecast"
    )


class ProblemSettings(RunSettings):
    """What the configuration of a problem holds; inherit from it to add keys of your own."""

    problem: Path | None = Field(default=None, description="the file that defines it")
    data: MeasurementSettings = MeasurementSettings()
    observations: PointSettings = PointSettings()
    training: TrainingSettings = AdamSettings(steps=500)
    forecast: OutlookSettings = OutlookSettings()
    truth: dict[str, float] = Field(
        default={}, description="true values of unknown numbers, where they are known"
    )

    @model_validator(mode="after")
    def _one_model(self) -> "ProblemSettings":
        if self.training.ensemble > 1:
            raise ValueError(
                "training.ensemble: is of the worked cases; run the problem with several seeds"
            )
        return self
