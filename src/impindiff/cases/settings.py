"""The sections of a configuration that every case shares."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import Field, model_validator

from impindiff.cases.choices import WorksWith
from impindiff.cases.configuration import StrictModel
from impindiff.cases.method_settings import HybridSettings, Layers, MethodSettings
from impindiff.cases.step_settings import (
    ROLLED_OUT,
    GradientSettings,
    ImplicitAdjointSettings,
    ImplicitStepperSettings,
    NewtonKrylovSettings,
    SolverSettings,
    StepperSettings,
)
from impindiff.cases.training_settings import TrainingSettings

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
# JAX leaves out the bits above 32 of a seed in single precision; seeds that follow must fit too.
Seed = Annotated[int, Field(ge=0, le=2**31)]
OF_A_FILE, OF_COMPUTED_DATA = WorksWith("data.path", unless=None), WorksWith("data.path", (None,))
# a black box has no field
OF_A_FIELD = WorksWith("method.name", (*ROLLED_OUT, "diffrax"))
R = TypeVar("R", bound="RunSettings")


class DataSettings(StrictModel):
    """A file of one's own in place of the reference data."""

    path: Path | None = Field(
        default=None, description="NetCDF file; null: the case's reference data"
    )
    variable: Annotated[str | None, OF_A_FILE] = Field(
        default=None, description="name of the observed variable in the file; null: the case's own"
    )
    held_out: Annotated[tuple[int, ...], OF_A_FILE] = Field(
        default=(),
        description="samples of the file kept back from training, to judge the forecast by",
    )


class NoiseSettings(StrictModel):
    """What is random in the observations."""

    noise: NonNegative = Field(
        default=0.0, description="Gaussian noise, as a fraction of the field's standard deviation"
    )
    seed: Seed = Field(default=0, description="of the sensors' positions and the noise")


class ObservationSettings(NoiseSettings):
    """What training sees of the data."""

    times: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        description="times at which the field is observed"
    )
    sensors: PositiveInt | None = Field(
        default=None, description="number of random cells observed; null: all of them"
    )


class FieldSettings(StrictModel):
    """The neural field that stands for the unknown (see `ConditionalField`)."""

    width: PositiveInt = Field(default=64, description="neurons per sine layer")
    depth: Layers = Field(default=3, description="sine layers")
    omega_first: Positive = Field(
        default=10.0, description="frequency factor of the first sine layer"
    )
    omega: Positive = Field(default=30.0, description="frequency factor of the other sine layers")


class ForecastSettings(StrictModel):
    """What is forecast once trained."""

    until: Positive | None = Field(default=None, description="last time; null: that of the data")
    every: Positive = Field(
        default=0.01, description="time between stored states of reference data"
    )
    keep_failed: bool = Field(
        default=False,
        description="store a forecast in which a step fails as far as it went: no error",
    )


class RunSettings(StrictModel):
    """What the configuration of every run holds, of a case or of a problem of one's own."""

    seed: Seed = Field(default=0, description="of the network's initial weights")
    precision: Literal["float64", "float32"] = Field(
        default="float64", description="of all arithmetic"
    )
    solver: SolverSettings = NewtonKrylovSettings()
    gradient: GradientSettings = ImplicitAdjointSettings()
    stepper: StepperSettings = ImplicitStepperSettings()
    training: TrainingSettings

    def with_steps(self: R, steps: int) -> R:
        """The same with so many training steps, whatever seconds they take."""
        training = self.training.model_copy(update={"steps": steps, "seconds": None})
        return self.model_copy(update={"training": training})


class CaseSettings(RunSettings):
    """What every case's configuration holds."""

    data: DataSettings = DataSettings()
    method: MethodSettings = HybridSettings()
    observations: NoiseSettings
    forecast: ForecastSettings = ForecastSettings()

    @model_validator(mode="after")
    def _rolled_out(self) -> "CaseSettings":
        training = self.training
        for key, given in (("horizon", training.stages), ("shooting", training.shooting)):
            if given and self.method.name not in ROLLED_OUT:
                raise ValueError(
                    f"training.{key}: is for models that are rolled out step by step, and "
                    f"method.name is {self.method.name}; leave it out"
                )
        return self
