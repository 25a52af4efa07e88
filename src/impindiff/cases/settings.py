"""The sections of a configuration that every case shares."""

from pathlib import Path
from typing import Annotated, Literal

import lineax as lx
from pydantic import Field

from impindiff.cases.configuration import StrictModel
from impindiff.implicit import BiCGStab, ImplicitAdjoint, NewtonKrylov, Unrolled
from impindiff.steppers import RK4, AbstractStepper, BackwardEuler, CrankNicolson, ForwardEuler

Positive = Annotated[float, Field(gt=0)]
PositiveInt = Annotated[int, Field(ge=1)]
NonNegative = Annotated[float, Field(ge=0)]
Seed = Annotated[int, Field(ge=0)]


class DataSettings(StrictModel):
    """A file of one's own in place of the reference data."""

    path: Path | None = Field(
        default=None, description="NetCDF file; null: the case's reference data"
    )
    variable: str = Field(default="phi", description="name of the observed variable in the file")
    held_out: tuple[int, ...] = Field(
        default=(),
        description="samples of the file kept back from training, to judge the forecast by",
    )


class ObservationSettings(StrictModel):
    """What training sees of the data."""

    times: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        description="times at which the field is observed"
    )
    sensors: PositiveInt | None = Field(
        default=None, description="number of random cells observed; null: all of them"
    )
    noise: NonNegative = Field(
        default=0.0, description="Gaussian noise, as a fraction of the field's standard deviation"
    )
    seed: Seed = Field(default=0, description="of the sensors' positions and the noise")


class FieldSettings(StrictModel):
    """The neural field that stands for the unknown (see `ConditionalField`)."""

    width: PositiveInt = Field(default=64, description="neurons per sine layer")
    depth: PositiveInt = Field(default=3, description="sine layers")
    omega_first: Positive = Field(
        default=10.0, description="frequency factor of the first sine layer"
    )
    omega: Positive = Field(default=30.0, description="frequency factor of the other sine layers")


class SolverSettings(StrictModel):
    """The solver inside each implicit step (see `NewtonKrylov`)."""

    rtol: Positive = Field(
        default=1e-8, description="relative to the residual of the previous state"
    )
    atol: Positive | None = Field(default=None, description="absolute; null: by precision")
    max_iterations: PositiveInt = Field(default=20, description="of Newton's method")
    krylov: Literal["bicgstab", "gmres"] = Field(default="bicgstab", description="linear solver")
    max_krylov_iterations: PositiveInt = Field(default=200, description="per linear solve")

    def build(self) -> NewtonKrylov:
        """The solver."""
        steps = self.max_krylov_iterations
        linear_solver = (
            BiCGStab(max_steps=steps)
            if self.krylov == "bicgstab"
            else lx.GMRES(rtol=1e-6, atol=1e-6, max_steps=steps)
        )
        return NewtonKrylov(self.rtol, self.atol, self.max_iterations, linear_solver)


class GradientSettings(StrictModel):
    """How an implicit step is differentiated."""

    name: Literal["implicit_adjoint", "unrolled"] = Field(
        default="implicit_adjoint",
        description="exact adjoint, or the naive baseline, whose memory grows with "
        "solver.max_iterations times solver.max_krylov_iterations",
    )
    rtol: Positive | None = Field(
        default=None, description="relative residual of the adjoint solve; null: by precision"
    )
    max_iterations: PositiveInt = Field(default=200, description="per adjoint solve")

    def build(self) -> ImplicitAdjoint | Unrolled:
        """The gradient rule."""
        if self.name == "unrolled":
            return Unrolled()
        return ImplicitAdjoint(self.rtol, self.max_iterations)


class StepperSettings(StrictModel):
    """How time is advanced."""

    name: Literal["crank_nicolson", "backward_euler", "rk4", "forward_euler"] = Field(
        default="crank_nicolson", description="time stepper"
    )
    dt: Positive = Field(default=0.01, description="largest step, in the unit of time")

    def build(self, solver: SolverSettings, gradient: GradientSettings) -> AbstractStepper:
        """The stepper with its solver and gradient rule (explicit ones have neither)."""
        match self.name:
            case "crank_nicolson":
                return CrankNicolson(solver=solver.build(), gradient=gradient.build())
            case "backward_euler":
                return BackwardEuler(solver=solver.build(), gradient=gradient.build())
            case "rk4":
                return RK4()
            case "forward_euler":
                return ForwardEuler()


class TrainingSettings(StrictModel):
    """Optimisation."""

    steps: PositiveInt = Field(description="number of gradient steps")
    learning_rate: Positive = Field(default=1e-3, description="of Adam, at the start")
    schedule: Literal["cosine", "exponential", "constant"] = Field(
        default="cosine", description="cosine and exponential end at a hundredth of learning_rate"
    )
    log_every: PositiveInt = Field(default=25, description="steps between lines of history.jsonl")
    save_every: PositiveInt = Field(default=100, description="steps between saved training states")


class ForecastSettings(StrictModel):
    """What is forecast once trained."""

    until: Positive | None = Field(
        default=None, description="last time; null: that of the data (0.2 for reference data)"
    )
    every: Positive = Field(
        default=0.01, description="time between stored states of reference data"
    )


class CaseSettings(StrictModel):
    """What every case's configuration holds."""

    seed: Seed = Field(default=0, description="of the network's initial weights")
    precision: Literal["float64", "float32"] = Field(
        default="float64", description="of all arithmetic"
    )
    data: DataSettings = DataSettings()
    observations: ObservationSettings
    solver: SolverSettings = SolverSettings()
    gradient: GradientSettings = GradientSettings()
    stepper: StepperSettings = StepperSettings()
    training: TrainingSettings
    forecast: ForecastSettings = ForecastSettings()
