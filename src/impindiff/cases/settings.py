"""The sections of a configuration that every case shares."""

from pathlib import Path
from typing import Annotated, Literal, TypeVar

import lineax as lx
from pydantic import Field, model_validator

from impindiff.cases.configuration import StrictModel
from impindiff.cases.method_settings import HybridSettings, Layers, MethodSettings
from impindiff.cases.training_settings import TrainingSettings
from impindiff.implicit import (
    Anderson,
    BiCGStab,
    ImplicitAdjoint,
    JacobianFree,
    NewtonKrylov,
    Picard,
    Unrolled,
)
from impindiff.preconditioners import FastDiagonalization, Jacobi, Multigrid
from impindiff.rollout import (
    AbstractCheckpointing,
    AdaptiveStep,
    Binomial,
    ForBudget,
    Segments,
    StoreStates,
)
from impindiff.steppers import (
    BDF2,
    RK4,
    SDIRK2,
    AbstractStepper,
    BackwardEuler,
    CrankNicolson,
    ForwardEuler,
    ImplicitStepper,
    KenCarp3,
    KenCarp4,
)

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
# JAX leaves out the bits above 32 of a seed in single precision; seeds that follow must fit too.
Seed = Annotated[int, Field(ge=0, le=2**31)]
# Made one after the other: many more would take for ever.
R = TypeVar("R", bound="RunSettings")

_PRECONDITIONERS = {
    "none": None,
    "jacobi": Jacobi(),
    "fast_diagonalization": FastDiagonalization(),
    "multigrid": Multigrid(),
}


class DataSettings(StrictModel):
    """A file of one's own in place of the reference data."""

    path: Path | None = Field(
        default=None, description="NetCDF file; null: the case's reference data"
    )
    variable: str | None = Field(
        default=None, description="name of the observed variable in the file; null: the case's own"
    )
    held_out: tuple[int, ...] = Field(
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


class SolverSettings(StrictModel):
    """The solver inside each implicit step (see `NewtonKrylov`, `Picard`, `Anderson`)."""

    name: Literal["newton_krylov", "picard", "anderson"] = Field(
        default="newton_krylov", description="nonlinear solver"
    )
    rtol: Positive = Field(
        default=1e-8, description="relative to the residual of the previous state"
    )
    atol: Positive | None = Field(
        default=None, description="absolute; null: the round-off of the equation"
    )
    max_iterations: PositiveInt = Field(
        default=20, description="of the nonlinear solver; picard and anderson need many more"
    )
    line_search: bool = Field(
        default=True, description="newton_krylov shortens steps that do not reduce the residual"
    )
    krylov: Literal["bicgstab", "gmres"] = Field(default="bicgstab", description="linear solver")
    max_krylov_iterations: PositiveInt = Field(default=200, description="per linear solve")
    preconditioner: Literal["none", "jacobi", "fast_diagonalization", "multigrid"] = Field(
        default="none",
        description="of each linear solve and its adjoint; multigrid is exact in one dimension",
    )

    def build(self) -> NewtonKrylov | Picard | Anderson:
        """The solver."""
        if self.name == "picard":
            return Picard(rtol=self.rtol, atol=self.atol, max_iterations=self.max_iterations)
        if self.name == "anderson":
            return Anderson(rtol=self.rtol, atol=self.atol, max_iterations=self.max_iterations)
        steps = self.max_krylov_iterations
        linear_solver = (
            BiCGStab(max_steps=steps)
            if self.krylov == "bicgstab"
            else lx.GMRES(rtol=1e-6, atol=1e-6, max_steps=steps)
        )
        return NewtonKrylov(
            self.rtol,
            self.atol,
            self.max_iterations,
            linear_solver,
            _PRECONDITIONERS[self.preconditioner],
            line_search=self.line_search,
        )


class GradientSettings(StrictModel):
    """How an implicit step is differentiated, and what a rollout stores for it."""

    name: Literal["implicit_adjoint", "jacobian_free", "unrolled"] = Field(
        default="implicit_adjoint",
        description="exact adjoint; the biased truncated series; or the naive baseline, whose "
        "memory grows with solver.max_iterations times solver.max_krylov_iterations",
    )
    rtol: Positive | None = Field(
        default=None, description="relative residual of the adjoint solve; null: by precision"
    )
    max_iterations: PositiveInt = Field(default=200, description="per adjoint solve")
    terms: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="of jacobian_free's series, beyond the first"
    )
    checkpointing: Literal["store_states", "segments", "binomial", "for_budget"] = Field(
        default="store_states", description="what is stored of a rollout; the rest is run again"
    )
    slots: PositiveInt = Field(default=20, description="states that binomial stores")
    budget: str = Field(default="1GB", description="bytes that for_budget may store")

    def build_checkpointing(self) -> AbstractCheckpointing:
        """The checkpoint schedule."""
        if self.checkpointing == "segments":
            return Segments()
        if self.checkpointing == "binomial":
            return Binomial(self.slots)
        if self.checkpointing == "for_budget":
            return ForBudget(self.budget)
        return StoreStates()

    def build(self) -> ImplicitAdjoint | JacobianFree | Unrolled:
        """The gradient rule."""
        if self.name == "jacobian_free":
            return JacobianFree(self.terms)
        if self.name == "unrolled":
            return Unrolled()
        return ImplicitAdjoint(self.rtol, self.max_iterations)


class AdaptiveSettings(StrictModel):
    """Steps as long as their estimated error allows (see `AdaptiveStep`)."""

    rtol: Positive = Field(default=1e-4, description="error of a step, relative")
    atol: Positive | None = Field(
        default=None,
        description="error of a step, in the unit of the state; null: from rtol and its size",
    )
    max_step: Positive | None = Field(
        default=None, description="longest step, so that no short pulse is stepped over; null: any"
    )
    max_steps: PositiveInt = Field(
        default=256, description="accepted steps at most, and rejected ones"
    )


_IMPLICIT: dict[str, type[ImplicitStepper]] = {
    "crank_nicolson": CrankNicolson,
    "backward_euler": BackwardEuler,
    "bdf2": BDF2,
    "sdirk2": SDIRK2,
    "kencarp3": KenCarp3,
    "kencarp4": KenCarp4,
}
_EXPLICIT: dict[str, type[AbstractStepper]] = {"rk4": RK4, "forward_euler": ForwardEuler}


class StepperSettings(StrictModel):
    """How time is advanced."""

    name: Literal[
        "crank_nicolson",
        "backward_euler",
        "bdf2",
        "sdirk2",
        "kencarp3",
        "kencarp4",
        "rk4",
        "forward_euler",
    ] = Field(default="crank_nicolson", description="time stepper")
    dt: Positive = Field(default=0.01, description="largest step, in the unit of time")
    adaptive: AdaptiveSettings | None = Field(
        default=None, description="choose steps by their error in place of dt; kencarp3, kencarp4"
    )
    first_guess: Literal["previous", "extrapolated"] = Field(
        default="previous", description="where an implicit step's iteration starts"
    )
    max_halvings: Annotated[int, Field(ge=0, le=30)] = Field(
        default=3, description="how often an implicit step whose solve fails is halved"
    )

    @model_validator(mode="after")
    def _has_estimate(self) -> "StepperSettings":
        if self.adaptive is not None and self.name not in ("kencarp3", "kencarp4"):
            raise ValueError(
                f"adaptive steps need kencarp3 or kencarp4, {self.name} has no error estimate"
            )
        return self

    def build(self, solver: SolverSettings, gradient: GradientSettings) -> AbstractStepper:
        """The stepper with its solver and gradient rule (explicit ones have neither)."""
        if self.name in _EXPLICIT:
            return _EXPLICIT[self.name]()
        return _IMPLICIT[self.name](
            solver=solver.build(),
            gradient=gradient.build(),
            first_guess=self.first_guess,
            max_halvings=self.max_halvings,
        )

    def build_step(self) -> float | AdaptiveStep:
        """What `rollout` takes as its `dt`."""
        if self.adaptive is None:
            return self.dt
        chosen = self.adaptive
        return AdaptiveStep(
            chosen.rtol, chosen.atol, max_steps=chosen.max_steps, max_step=chosen.max_step
        )

    def describe(self) -> str:
        """For the provenance of what was computed."""
        if self.adaptive is None:
            return f"{self.name}, dt = {self.dt:g}"
        return f"{self.name}, adaptive steps, rtol = {self.adaptive.rtol:g}"


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
    solver: SolverSettings = SolverSettings()
    gradient: GradientSettings = GradientSettings()
    stepper: StepperSettings = StepperSettings()
    training: TrainingSettings

    def with_steps(self: R, steps: int) -> R:
        """The same with so many training steps, whatever seconds they take."""
        training = self.training.model_copy(update={"steps": steps, "seconds": None})
        return self.model_copy(update={"training": training})

    @model_validator(mode="after")
    def _differentiable(self: R) -> R:
        forward_mode = self.training.optimizer == "levenberg_marquardt"
        if forward_mode and self.gradient.checkpointing in ("binomial", "for_budget"):
            raise ValueError(
                "gradient.checkpointing: levenberg_marquardt differentiates forwards, which stores "
                "nothing; leave it at store_states"
            )
        return self


class CaseSettings(RunSettings):
    """What every case's configuration holds."""

    data: DataSettings = DataSettings()
    method: MethodSettings = HybridSettings()
    observations: NoiseSettings
    forecast: ForecastSettings = ForecastSettings()

    @model_validator(mode="after")
    def _rolled_out(self) -> "CaseSettings":
        for key in ("horizon", "shooting"):
            if getattr(self.training, key) and self.method.name not in ("hybrid", "local_law"):
                raise ValueError(
                    f"training.{key}: is for models that are rolled out step by step, and "
                    f"method.name is {self.method.name}; leave it out"
                )
        return self
