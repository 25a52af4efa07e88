"""The sections of a configuration that problems share."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Discriminator, Field, Tag, model_validator

from impindiff.settings.choices import WorksWith
from impindiff.settings.configuration import StrictModel, with_defaults
from impindiff.settings.methods import HybridSettings, Layers, MethodSettings
from impindiff.settings.steps import (
    ROLLED_OUT,
    AdjointSettings,
    ImplicitAdjointSettings,
    ImplicitStepperSettings,
    NewtonKrylovSettings,
    SolverSettings,
    StepperSettings,
    is_steady,
)
from impindiff.settings.training import AdamSettings, TrainingSettings

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
# single precision drops the bits of a seed above 32; successive seeds must fit too
Seed = Annotated[int, Field(ge=0, le=2**31)]
OF_A_FILE, OF_COMPUTED_DATA = WorksWith("data.path", unless=None), WorksWith("data.path", (None,))
# a black box has no field
OF_A_FIELD = WorksWith("method.name", (*ROLLED_OUT, "diffrax"))
R = TypeVar("R", bound="ProblemSettings")


_Index = Annotated[int, Field(ge=0)]
_VARIABLES: Any = Field(
    default={},
    description="by name in the file, the model's name, or the coordinate that it is: time, x, "
    "y, z, sample; empty: all, as they are",
)
_UNITS: Any = Field(
    default={},
    description="by name, the unit that the model expects; values in another are converted",
)
_SAMPLES: Any = Field(default=None, description="trajectories of the file to read; null: all")
_TIMES: Any = Field(default=None, description="first and last time to read; null: all")


class DataSettings(StrictModel):
    """The data, and the samples among them that form the test set."""

    path: Path | None = Field(
        default=None,
        description="file of measurements, relative to where the command is run; null: the data "
        "that the problem makes itself",
    )
    variables: dict[str, str] = _VARIABLES
    units: dict[str, str] = _UNITS
    samples: tuple[_Index, ...] | None = _SAMPLES
    times: tuple[float, float] | None = _TIMES
    test: tuple[int, ...] | None = Field(
        default=None,
        description="samples of the test set, never trained on; null: those that "
        "the data mark by a variable test, if any",
    )


class ComputedDataSettings(DataSettings):
    """The data of a problem that can compute its own."""

    variables: Annotated[dict[str, str], OF_A_FILE] = _VARIABLES
    units: Annotated[dict[str, str], OF_A_FILE] = _UNITS
    samples: Annotated[tuple[_Index, ...] | None, OF_A_FILE] = _SAMPLES
    times: Annotated[tuple[float, float] | None, OF_A_FILE] = _TIMES


# told apart by what is given, so that a message is about that one alone
_NumberOrByName = Annotated[
    Annotated[Positive, Tag("number")] | Annotated[dict[str, Positive], Tag("mapping")],
    Discriminator(lambda given: "mapping" if isinstance(given, Mapping) else "number"),
]


class NoiseSettings(StrictModel):
    """Random parts of the observations: noise and sensor positions."""

    noise: NonNegative = Field(
        default=0.0,
        description="Gaussian noise to add, as a fraction of the field's standard deviation",
    )
    seed: Seed = Field(default=0, description="seed of the sensors' positions and the noise")


class ObservationSettings(NoiseSettings):
    """The part of the data that training sees."""

    start: float | None = Field(
        default=None,
        description="time of the initial state; null: the first time of fields, 0 for points",
    )
    until: float | None = Field(
        default=None,
        description="values after this time are in the test set; null: none",
    )
    times: Annotated[tuple[Positive, ...], Field(min_length=1)] | None = Field(
        default=None, description="times at which fields are observed; null: all of the data"
    )
    sensors: PositiveInt | None = Field(
        default=None, description="number of random places that are observed; null: all of them"
    )
    standard_deviation: _NumberOrByName = Field(
        default={},
        description="the error where the file has none: a number, or one by quantity; default: "
        "the values' spread, so that all quantities weigh alike",
    )


class FieldSettings(StrictModel):
    """The neural field that represents the unknown (see `ConditionalField`)."""

    kind: Literal["network"] = "network"
    width: PositiveInt = Field(default=64, description="neurons per sine layer")
    depth: Layers = Field(default=3, description="sine layers")
    omega_first: Positive = Field(
        default=10.0, description="frequency factor of the first sine layer"
    )
    omega: Positive = Field(default=30.0, description="frequency factor of the other sine layers")


class ModalFieldSettings(StrictModel):
    """The unknown field as a sum of smooth functions with a prior (see `ModalField`)."""

    kind: Literal["modes"] = "modes"
    modes: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=100, description="functions of each component, those of the longest waves"
    )
    deviation: Positive = Field(
        default=1.0,
        description="a guess of the size of the field's variation, within a factor of ten, for "
        "training.optimizer=empirical_bayes; of a bounded field, before the bounds",
    )


AnyFieldSettings = Annotated[FieldSettings | ModalFieldSettings, Field(discriminator="kind")]


class ForecastSettings(StrictModel):
    """The forecast after training."""

    until: float | None = Field(default=None, description="last time; null: that of the data")
    every: Positive | None = Field(
        default=None,
        description="time between stored states; with data on a grid, of those after their last "
        "time; null: a fiftieth of the forecast",
    )
    keep_failed: bool = Field(
        default=False,
        description="if a step fails, store the forecast up to it instead of raising an error",
    )
    bands: bool = Field(
        default=True,
        description="standard deviations of the forecast and the latent fields, for a model with "
        "at most 200 parameters or a prior chosen by the data; they cost one derivative of the "
        "forecast for each parameter, at most 40",
    )


class ReferenceForecastSettings(ForecastSettings):
    """The forecast of a problem that computes reference data to the same time."""

    until: Positive | None = Field(default=None, description="last time; null: the problem's own")
    # frozen, so a narrower type is sound
    every: Positive = Field(  # pyright: ignore[reportIncompatibleVariableOverride]
        default=0.01, description="time between stored states, of the reference data too"
    )


class ProblemSettings(StrictModel):
    """Configuration of a problem; inherit from it to add keys."""

    problem: str | None = Field(
        default=None, description="name of the built-in problem, or the file that defines it"
    )
    seed: Seed = Field(default=0, description="seed of the network's initial weights")
    precision: Literal["float64", "float32"] = Field(
        default="float64", description="precision of all arithmetic"
    )
    data: DataSettings = DataSettings()
    method: MethodSettings = HybridSettings()
    observations: ObservationSettings = ObservationSettings()
    solver: SolverSettings = NewtonKrylovSettings()
    adjoint: AdjointSettings = ImplicitAdjointSettings()
    stepper: StepperSettings = ImplicitStepperSettings()
    training: TrainingSettings = AdamSettings(steps=500)
    forecast: ForecastSettings = ForecastSettings()
    truth: dict[str, float] = Field(
        default={}, description="true values of unknown numbers, where they are known"
    )

    @model_validator(mode="after")
    def _rolled_out(self) -> "ProblemSettings":
        training = self.training
        for key, given in (("horizon", training.stages), ("shooting", training.shooting)):
            if given and self.method.name not in ROLLED_OUT:
                raise ValueError(
                    f"training.{key}: is for models that are rolled out step by step, and "
                    f"method.name is {self.method.name}; leave it out"
                )
        return self

    @model_validator(mode="after")
    def _steady(self) -> "ProblemSettings":
        if not is_steady(self):
            return self
        if self.method.name not in ROLLED_OUT:
            raise ValueError(
                f"method.name: {self.method.name} advances a state in time, and stepper.name is "
                f"steady; choose {' or '.join(ROLLED_OUT)}, or another stepper"
            )
        training, seen = self.training, self.observations
        useless = {
            "training.horizon": training.stages,
            "training.shooting": training.shooting,
            "observations.start": getattr(seen, "start", None) is not None,
        }
        for key, given in useless.items():
            if given:
                raise ValueError(
                    f"{key}: does nothing with stepper.name=steady, which does not go through "
                    "time; leave it out, or choose another stepper"
                )
        return self

    @classmethod
    def with_defaults(cls: type[R], **given: Any) -> type[R]:
        """The same configuration with other defaults, for `Problem.settings`.

        ```python
        settings = ipd.ProblemSettings.with_defaults(
            stepper={"dt": 0.5}, training={"optimizer": "levenberg_marquardt", "steps": 20}
        )
        ```

        **Arguments:**

        - `given`: by section or key, values as in a configuration file; the other keys of a section
          keep their defaults.

        **Raises:** `InputError` with the key and the values allowed there.
        """
        return with_defaults(cls, given)

    def with_steps(self: R, steps: int) -> R:
        """A copy with this number of training steps and no time limit."""
        training = self.training.model_copy(update={"steps": steps, "seconds": None})
        return self.model_copy(update={"training": training})
