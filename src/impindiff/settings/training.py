"""The section `training` of a configuration."""

import abc
from typing import Annotated, Any, Literal, NamedTuple, Self

import optax
from pydantic import Field, model_validator

from impindiff.settings.choices import WorksWith
from impindiff.settings.configuration import StrictModel
from impindiff.training import (
    EmpiricalBayes,
    FitOptions,
    LevenbergMarquardt,
    Optimizer,
    WithNumbers,
    adam,
    at_rates,
    lbfgs,
    muon,
)

_Positive = Annotated[float, Field(gt=0)]
_PositiveInt = Annotated[int, Field(ge=1)]
# models are made one after the other
_Models = Annotated[int, Field(ge=1, le=10_000)]
_NonNegative = Annotated[float, Field(ge=0)]
_Fraction = Annotated[float, Field(gt=0, lt=1)]
_NOT_TOGETHER = (
    ("restarts", "ensemble"),
    ("shooting", "ensemble"),
    ("shooting", "horizon"),
    # the measured pace is that of a step over all times, in a single training
    ("seconds", "horizon"),
    ("seconds", "restarts"),
)


class ShootingSettings(StrictModel):
    """Segments with free initial states (see `MultipleShooting`)."""

    segments: Annotated[int, Field(ge=2)] = Field(
        default=4, description="number of segments in the record"
    )
    weight: _Positive = Field(default=1.0, description="weight of the jumps between segments")


class _Training(StrictModel):
    """Training options shared by all optimisers."""

    # declared here to come first in YAML; each choice narrows the name
    optimizer: Any
    steps: _PositiveInt = Field(description="number of gradient steps")
    seconds: _Positive | None = Field(
        default=None,
        description="time limit of training, without compilation: steps are cut to the number that "
        "fits, as measured at the start; null: all steps",
    )
    log_every: _PositiveInt = Field(
        default=FitOptions.log_every, description="steps between lines of history.jsonl"
    )
    save_every: _PositiveInt = Field(
        default=FitOptions.save_every, description="steps between saved training states"
    )

    tensorboard: bool = Field(
        default=False, description="also write event files for TensorBoard into the run's folder"
    )
    validation: Annotated[float, Field(ge=0, lt=1)] = Field(
        default=0.0, description="fraction of the observations in the validation set"
    )
    validation_by: Annotated[
        Literal["value", "sample", "last"], WorksWith("training.validation", unless=0)
    ] = Field(
        default="value",
        description="the validation set consists of values, samples, or the last times",
    )
    patience: _PositiveInt | None = Field(
        default=None,
        description="end after so many steps without a smaller validation loss, or training loss "
        "without a validation set; null: never",
    )
    keep_best: bool | None = Field(
        default=None,
        description="end with the weights of the smallest validation loss (training loss without a "
        "validation set), not the last; null: if there is a validation set",
    )
    freeze: tuple[str, ...] = Field(
        default=(), description="paths of parts of the model that are not trained"
    )
    restarts: _Models = Field(
        default=1, description="starts from successive seeds; the best one continues"
    )
    restart_steps: Annotated[_PositiveInt, WorksWith("training.restarts", unless=1)] = Field(
        default=50, description="steps of each of several starts"
    )
    ensemble: _Models = Field(
        default=1, description="models from successive seeds trained at once, for the spread"
    )
    shooting: ShootingSettings | None = Field(
        default=None, description="cut long records of whole fields into segments; null: do not"
    )

    @property
    def stages(self) -> tuple[tuple[int, float], ...]:
        """Curriculum stages, for optimisers that support one."""
        return ()

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.restarts > 1 and self.restart_steps >= self.steps:
            raise ValueError(
                f"restart_steps of {self.restart_steps} must be fewer than all {self.steps}"
            )
        used = {
            "horizon": bool(self.stages),
            "restarts": self.restarts > 1,
            "ensemble": self.ensemble > 1,
            "shooting": self.shooting is not None,
            "seconds": self.seconds is not None,
        }
        for one, other in _NOT_TOGETHER:
            if used[one] and used[other]:
                raise ValueError(f"{one} and {other} do not go together; leave one of them out")
        return self


class _FirstOrder(_Training):
    """Options of first-order optimisers with a learning rate."""

    learning_rate: _Positive = Field(default=1e-3, description="learning rate at the start")
    schedule: Literal["cosine", "exponential", "constant"] = Field(
        default="cosine", description="cosine and exponential end at a hundredth of learning_rate"
    )
    warmup: Annotated[int, Field(ge=0)] = Field(
        default=0, description="steps of linear growth to the full learning rate"
    )
    clip: _Positive | None = Field(
        default=None, description="clip the gradient to this norm; null: no clipping"
    )
    rates: dict[str, _Positive] = Field(
        default={}, description="by path of a part of the model, a factor on the learning rate"
    )
    horizon: tuple[tuple[_PositiveInt, _Fraction], ...] = Field(
        default=(),
        description="a curriculum of [steps, fraction of the observed times], such as [[100, "
        "0.25], [100, 0.5]]; afterwards all times",
    )

    @property
    def stages(self) -> tuple[tuple[int, float], ...]:
        """Pairs (steps, fraction of the observed times); see `_Training.stages`."""
        return self.horizon

    @model_validator(mode="after")
    def _fits_the_steps(self) -> Self:
        first = sum(steps for steps, _ in self.horizon)
        if first and first >= self.steps:
            raise ValueError(f"horizon of {first} steps must be shorter than all {self.steps}")
        if self.warmup >= self.steps:
            raise ValueError(f"warmup of {self.warmup} steps must be shorter than all {self.steps}")
        return self

    @abc.abstractmethod
    def _optimizer(self, numbers: "_Numbers", warmup: int) -> optax.GradientTransformation:
        """The optimiser without the shared options."""

    def build(self) -> Optimizer:
        """Build the optimiser."""
        # a time limit may have cut the steps
        warmup = min(self.warmup, self.steps - 1)
        within = "model." if self.shooting is not None else ""
        rates = {within + path: factor for path, factor in self.rates.items()}

        def build(numbers: _Numbers) -> optax.GradientTransformation:
            optimizer = self._optimizer(numbers, warmup)
            if numbers.rates:
                optimizer = at_rates(optimizer, numbers.rates)
            if numbers.clip is not None:
                optimizer = optax.chain(optax.clip_by_global_norm(numbers.clip), optimizer)
            return optimizer

        numbers = _Numbers(self.learning_rate, self._weight_decay(), self.clip, rates)
        return WithNumbers(build, numbers)

    def _weight_decay(self) -> float | None:
        """The coefficient of decoupled weight decay; None without."""
        return None


class _Numbers(NamedTuple):
    """The numbers of a first-order optimiser; a run with others is the same program."""

    learning_rate: Any
    weight_decay: Any
    clip: Any
    rates: dict[str, Any]


class AdamSettings(_FirstOrder):
    """Training by Adam."""

    optimizer: Literal["adam"] = "adam"
    weight_decay: _NonNegative = Field(default=0.0, description="decoupled weight decay (AdamW)")

    def _optimizer(self, numbers: _Numbers, warmup: int) -> optax.GradientTransformation:
        return adam(self.schedule, numbers.learning_rate, self.steps, numbers.weight_decay, warmup)

    def _weight_decay(self) -> float | None:
        return self.weight_decay or None


class MuonSettings(_FirstOrder):
    """Training by Muon, for networks."""

    optimizer: Literal["muon"] = "muon"

    def _optimizer(self, numbers: _Numbers, warmup: int) -> optax.GradientTransformation:
        return muon(self.schedule, numbers.learning_rate, self.steps, warmup)


class LBFGSSettings(_Training):
    """Training by L-BFGS, a quasi-Newton method with line search."""

    optimizer: Literal["lbfgs"] = "lbfgs"
    log_every: _PositiveInt = Field(
        default=1, description="steps between lines of history.jsonl; these steps are few and long"
    )

    def build(self) -> Optimizer:
        """Build the optimiser."""
        return lbfgs()


class LevenbergMarquardtSettings(_Training):
    """Training by Levenberg-Marquardt, a second-order method for few parameters.

    It stops once converged, maybe before all steps.
    """

    optimizer: Literal["levenberg_marquardt"] = "levenberg_marquardt"
    log_every: _PositiveInt = Field(
        default=1, description="steps between lines of history.jsonl; these steps are few and long"
    )
    damping: _Positive = Field(
        default=1e-3, description="initial damping; larger values take shorter steps"
    )
    loss_tolerance: _NonNegative = Field(
        default=0.0, description="stop once the relative decrease of the loss is below this"
    )

    def build(self) -> Optimizer:
        """Build the optimiser."""
        return LevenbergMarquardt(self.damping, loss_tolerance=self.loss_tolerance)


class EmpiricalBayesSettings(_Training):
    """Training by Gauss-Newton steps, with a prior whose weights the data choose.

    For a problem with a prior, such as that of a field of kind modes. It stops once converged.
    """

    optimizer: Literal["empirical_bayes"] = "empirical_bayes"
    steps: _PositiveInt = Field(default=20, description="number of Gauss-Newton steps at most")
    log_every: _PositiveInt = Field(
        default=1, description="steps between lines of history.jsonl; these steps are few and long"
    )
    criterion: Literal["evidence", "cross_validation"] = Field(
        default="evidence",
        description="choose the prior by the probability of the data, or by their prediction from "
        "each other",
    )
    errors: Literal["estimated", "given"] = Field(
        default="estimated",
        description="size of the data's errors: estimated, or that of the standard deviations",
    )

    def build(self) -> Optimizer:
        """Build the optimiser."""
        return EmpiricalBayes(self.criterion, self.errors)


TrainingSettings = Annotated[
    AdamSettings
    | MuonSettings
    | LBFGSSettings
    | LevenbergMarquardtSettings
    | EmpiricalBayesSettings,
    Field(discriminator="optimizer"),
]
