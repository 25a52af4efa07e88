"""The sections `solver`, `adjoint` and `stepper` of a configuration: time integration."""

import math
from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax.numpy as jnp
import lineax as lx
from pydantic import Field

from impindiff.implicit import (
    Anderson,
    BiCGStab,
    ImplicitAdjoint,
    JacobianFree,
    NewtonKrylov,
    Picard,
    Preconditioner,
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
from impindiff.settings.choices import WorksWith
from impindiff.settings.configuration import StrictModel
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
    PseudoTime,
    SteadyState,
)

_Positive = Annotated[float, Field(gt=0)]
_PositiveInt = Annotated[int, Field(ge=1)]

_PRECONDITIONERS: dict[str, Preconditioner | Literal["auto"] | None] = {
    "auto": "auto",
    "none": None,
    "jacobi": Jacobi(),
    "fast_diagonalization": FastDiagonalization(),
    "multigrid": Multigrid(),
}
_IMPLICIT: dict[str, type[ImplicitStepper]] = {
    "crank_nicolson": CrankNicolson,
    "backward_euler": BackwardEuler,
    "bdf2": BDF2,
    "sdirk2": SDIRK2,
    "kencarp3": KenCarp3,
    "kencarp4": KenCarp4,
}
_EXPLICIT: dict[str, type[AbstractStepper]] = {"rk4": RK4, "forward_euler": ForwardEuler}
_STEADY = "steady"
# `method.name` of models advanced by `stepper`, where a method can be chosen
ROLLED_OUT = ("hybrid", "local_law")


class _Named(StrictModel):
    # declared here to come first in YAML; each choice narrows the names
    name: Any


class _Solver(_Named):
    rtol: _Positive = Field(
        default=1e-8, description="relative to the residual of the previous state"
    )
    atol: _Positive | None = Field(
        default=None, description="absolute; null: the round-off of the equation"
    )
    max_iterations: _PositiveInt = Field(
        default=20, description="nonlinear iterations at most; picard and anderson need many more"
    )


class LinearlySolvedSettings(_Solver):
    """Newton's method, for equations that supply their own preconditioner."""

    name: Literal["newton_krylov"] = "newton_krylov"
    line_search: bool = Field(
        default=True, description="shorten steps that do not reduce the residual"
    )
    krylov: Literal["bicgstab", "gmres"] = Field(default="bicgstab", description="linear solver")
    max_krylov_iterations: _PositiveInt = Field(default=200, description="per linear solve")

    def build(self) -> NewtonKrylov:
        """Build the solver."""
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
            self._preconditioner(),
            line_search=self.line_search,
        )

    def _preconditioner(self) -> Preconditioner | Literal["auto"] | None:
        return None


class NewtonKrylovSettings(LinearlySolvedSettings):
    """Newton's method with a Krylov solver (see `NewtonKrylov`)."""

    preconditioner: Literal["none", "jacobi", "fast_diagonalization", "multigrid", "auto"] = Field(
        default="none",
        description="of each linear solve and its adjoint; multigrid is exact in one dimension; "
        "auto: none, jacobi or multigrid, by the sizes of a step's terms and of the grid",
    )

    def _preconditioner(self) -> Preconditioner | Literal["auto"] | None:
        return _PRECONDITIONERS[self.preconditioner]


class PicardSettings(_Solver):
    """Fixed-point iteration (see `Picard`)."""

    name: Literal["picard"] = "picard"

    def build(self) -> Picard:
        """Build the solver."""
        return Picard(rtol=self.rtol, atol=self.atol, max_iterations=self.max_iterations)


class AndersonSettings(_Solver):
    """Accelerated fixed-point iteration (see `Anderson`)."""

    name: Literal["anderson"] = "anderson"

    def build(self) -> Anderson:
        """Build the solver."""
        return Anderson(rtol=self.rtol, atol=self.atol, max_iterations=self.max_iterations)


class CheckpointingSettings(StrictModel):
    """Checkpointing of a rollout for its gradient, for any stepper."""

    checkpointing: Annotated[
        Literal["store_states", "segments", "binomial", "for_budget"],
        # forward-mode differentiation stores nothing
        WorksWith("training.optimizer", ("adam", "muon", "lbfgs")),
    ] = Field(
        default="store_states",
        description="states of a rollout that are stored; the rest is recomputed",
    )
    slots: Annotated[_PositiveInt, WorksWith("adjoint.checkpointing", ("binomial",))] = Field(
        default=20, description="states that binomial stores"
    )
    budget: Annotated[str, WorksWith("adjoint.checkpointing", ("for_budget",))] = Field(
        default="1GB", description="bytes that for_budget may store"
    )

    def build_checkpointing(self) -> AbstractCheckpointing:
        """Build the checkpoint schedule."""
        if self.checkpointing == "segments":
            return Segments()
        if self.checkpointing == "binomial":
            return Binomial(self.slots)
        if self.checkpointing == "for_budget":
            return ForBudget(self.budget)
        return StoreStates()


class ImplicitAdjointSettings(CheckpointingSettings, _Named):
    """The exact gradient of an implicit step, by one adjoint solve (see `ImplicitAdjoint`)."""

    name: Literal["implicit_adjoint"] = "implicit_adjoint"
    rtol: _Positive | None = Field(
        default=None, description="relative residual of the adjoint solve; null: by precision"
    )
    max_iterations: _PositiveInt = Field(default=200, description="per adjoint solve")

    def build(self) -> ImplicitAdjoint:
        """Build the adjoint rule."""
        return ImplicitAdjoint(self.rtol, self.max_iterations)


class JacobianFreeSettings(CheckpointingSettings, _Named):
    """The adjoint solve replaced by a truncated series, which is biased (see `JacobianFree`)."""

    name: Literal["jacobian_free"] = "jacobian_free"
    terms: Annotated[int, Field(ge=0, le=1000)] = Field(
        default=0, description="terms of the series beyond the first"
    )

    def build(self) -> JacobianFree:
        """Build the adjoint rule."""
        return JacobianFree(self.terms)


class UnrolledSettings(CheckpointingSettings, _Named):
    """Differentiation through every iteration of the solver, as a baseline (see `Unrolled`).

    Its memory grows with solver.max_iterations times solver.max_krylov_iterations.
    """

    name: Literal["unrolled"] = "unrolled"

    def build(self) -> Unrolled:
        """Build the adjoint rule."""
        return Unrolled()


class AdaptiveSettings(StrictModel):
    """Adaptive steps, limited by their estimated error (see `AdaptiveStep`)."""

    rtol: _Positive = Field(default=1e-4, description="error of a step, relative")
    atol: _Positive | None = Field(
        default=None,
        description="error of a step, in the unit of the state; null: from rtol and the state",
    )
    max_step: _Positive | None = Field(
        default=None, description="longest step, to resolve short pulses; null: no limit"
    )
    max_steps: _PositiveInt = Field(
        default=256, description="accepted steps at most, and as many rejected ones"
    )

    def build(self) -> AdaptiveStep:
        """Build the `dt` argument of `rollout`."""
        return AdaptiveStep(self.rtol, self.atol, max_steps=self.max_steps, max_step=self.max_step)


class _FixedStep(StrictModel):
    dt: _Positive = Field(default=0.01, description="largest step, in the unit of time")

    def build_step(self) -> float | AdaptiveStep:
        """Build the `dt` argument of `rollout`."""
        return self.dt


class _Implicit(_Named):
    first_guess: Literal["previous", "extrapolated"] = Field(
        default="previous", description="where an implicit step's iteration starts"
    )
    max_halvings: Annotated[int, Field(ge=0, le=30)] = Field(
        default=3, description="times that an implicit step is halved when its solve fails"
    )

    def build(self, solver: "AnySolver", adjoint: "AnyAdjoint") -> AbstractStepper:
        """Build the stepper with its solver and adjoint rule."""
        stepper = _IMPLICIT[self.name](
            solver=solver.build(),
            adjoint=adjoint.build(),
            first_guess=self.first_guess,
            max_halvings=self.max_halvings,
        )
        return _with_tolerances_as_arguments(stepper)


def _with_tolerances_as_arguments(stepper: ImplicitStepper) -> ImplicitStepper:
    """The stepper with arrays for tolerances, which a compiled program takes as arguments.

    A number would be a constant of the program, so that another tolerance is another program.
    """

    def tolerances(s: Any) -> list[Any]:
        parts = s.solver.rtol, s.solver.atol, getattr(s.adjoint, "rtol", None)
        return [part for part in parts if part is not None]

    # weakly typed, as a number is
    return eqx.tree_at(tolerances, stepper, [jnp.asarray(x) for x in tolerances(stepper)])


class StepSetElsewhere(_Implicit):
    """An implicit stepper in a problem that has its own key for the step length."""

    adaptive: ClassVar[None] = None

    name: Literal["crank_nicolson", "backward_euler", "bdf2", "sdirk2"] = "crank_nicolson"


class AdaptiveOrSetElsewhere(_Implicit):
    """A stepper with an error estimate, in a problem that has its own key for the step length."""

    name: Literal["kencarp3", "kencarp4"]
    adaptive: AdaptiveSettings | None = Field(
        default=None, description="choose steps by their error; null: steps of fixed length"
    )


class ImplicitStepperSettings(_FixedStep, StepSetElsewhere):
    """An implicit stepper (see `CrankNicolson`, `BackwardEuler`, `BDF2`, `SDIRK2`)."""


class AdaptiveStepperSettings(AdaptiveOrSetElsewhere, _FixedStep):
    """An implicit stepper with an estimate of its error (see `KenCarp3`, `KenCarp4`)."""

    dt: Annotated[_Positive, WorksWith("stepper.adaptive", (None,))] = Field(
        default=0.01, description="largest step, in the unit of time"
    )

    def build_step(self) -> float | AdaptiveStep:
        """Build the `dt` argument of `rollout`."""
        return self.dt if self.adaptive is None else self.adaptive.build()


class ExplicitStepperSettings(_FixedStep, _Named):
    """An explicit stepper, without solver or adjoint rule (see `RK4`, `ForwardEuler`)."""

    name: Literal["rk4", "forward_euler"]

    def build(self, solver: "AnySolver", adjoint: "AnyAdjoint") -> AbstractStepper:
        """Build the stepper; solver and adjoint rule are not used."""
        del solver, adjoint
        return _EXPLICIT[self.name]()


class PseudoTimeSettings(StrictModel):
    """Pseudo-transient continuation to a steady state (see `PseudoTime`)."""

    dt: _Positive | None = Field(
        default=None, description="first step; null: ten times the shortest time scale"
    )
    until: _Positive | None = Field(
        default=None,
        description="part of the tendency below which Newton's method takes over; null: by "
        "precision",
    )
    max_steps: _PositiveInt = Field(default=200, description="steps in all")

    def build(self) -> PseudoTime:
        """Build the `pseudo_time` of a `SteadyState`."""
        return PseudoTime(self.dt, self.until, self.max_steps)


class SteadyStepperSettings(_Named):
    """The steady state at each time of the data (see `SteadyState`).

    The initial state is a first guess of it, and no time passes.
    """

    name: Literal["steady"]
    pseudo_time: PseudoTimeSettings | None = Field(
        default=None,
        description="way from the guess where Newton's method alone fails; null: none",
    )
    check_unique: bool = Field(
        default=True, description="fail where the equation leaves a level or a total undetermined"
    )

    def build(self, solver: "AnySolver", adjoint: "AnyAdjoint") -> AbstractStepper:
        """Build the stepper with its solver and adjoint rule."""
        stepper = SteadyState(
            solver=solver.build(),
            adjoint=adjoint.build(),
            pseudo_time=None if self.pseudo_time is None else self.pseudo_time.build(),
            check_unique=self.check_unique,
        )
        return _with_tolerances_as_arguments(stepper)

    def build_step(self) -> float:
        """The `dt` argument of `rollout`: no limit, one solve per time."""
        return math.inf


def is_steady(settings: Any) -> bool:
    """True if states of these settings are steady states, not steps in time."""
    return getattr(settings.stepper, "name", None) == _STEADY


def describe_steps(name: str, step: float | AdaptiveStep) -> str:
    """Stepper and steps in words, for provenance records."""
    if name == _STEADY:
        return "steady states"
    if isinstance(step, AdaptiveStep):
        return f"{name}, adaptive steps, rtol = {step.rtol:g}"
    return f"{name}, dt = {step:g}"


AnySolver = LinearlySolvedSettings | NewtonKrylovSettings | PicardSettings | AndersonSettings
AnyAdjoint = ImplicitAdjointSettings | JacobianFreeSettings | UnrolledSettings
IMPLICIT_ALONE = WorksWith("stepper.name", (*_IMPLICIT, _STEADY))
ROLLED_OUT_ALONE = WorksWith("method.name", ROLLED_OUT)

SolverSettings = Annotated[
    NewtonKrylovSettings | PicardSettings | AndersonSettings,
    Field(discriminator="name"),
    ROLLED_OUT_ALONE,
    IMPLICIT_ALONE,
]
AdjointSettings = Annotated[
    AnyAdjoint,
    Field(discriminator="name"),
    ROLLED_OUT_ALONE,
    IMPLICIT_ALONE._replace(but=CheckpointingSettings),
]
StepperSettings = Annotated[
    ImplicitStepperSettings
    | AdaptiveStepperSettings
    | ExplicitStepperSettings
    | SteadyStepperSettings,
    Field(discriminator="name"),
    ROLLED_OUT_ALONE,
]
