"""Configuration of the three problems of chemical vapor infiltration."""

from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from impindiff.rollout import number_of_steps
from impindiff.settings.configuration import StrictModel
from impindiff.settings.sections import (
    OF_A_FIELD,
    OF_COMPUTED_DATA,
    ComputedDataSettings,
    FieldSettings,
    NoiseSettings,
    NonNegative,
    Positive,
    PositiveInt,
    ProblemSettings,
    ReferenceForecastSettings,
)
from impindiff.settings.steps import (
    AdaptiveOrSetElsewhere,
    AdjointSettings,
    AndersonSettings,
    ImplicitAdjointSettings,
    LinearlySolvedSettings,
    PicardSettings,
    StepSetElsewhere,
)
from impindiff.settings.training import (
    LevenbergMarquardtSettings,
    MuonSettings,
    TrainingSettings,
)

GAS_CONSTANT = 8.31446261815324  # J / (mol K)

Fraction = Annotated[float, Field(gt=0, lt=1)]
Law = tuple[Fraction, Positive]
Point = Annotated[tuple[float, ...], Field(min_length=1, max_length=3)]


class HeatSettings(StrictModel):
    """Heat in the part; without this section it is isothermal, at the reference temperature."""

    reference: Positive = Field(default=1273.0, description="T0 in K, at which phi2 holds")
    activation_energy: Positive = Field(default=155e3, description="E of the reaction, J/mol")
    heater: Positive = Field(
        default=1473.0, description="temperature in K of the side at the lower end of x"
    )
    surroundings: Positive = Field(
        default=1273.0, description="temperature in K of the medium that cools the open sides"
    )
    biot: Positive | None = Field(
        default=None, description="Bi at the open sides; null: the surroundings' temperature"
    )
    conductivity: tuple[Positive, Positive, Positive] = Field(
        default=(0.02, 1.0, 2.0), description="of gas, fibre and matrix, over a reference value"
    )
    capacity: NonNegative = Field(default=0.0, description="beta; 0: heat conducts at once")
    source: float = Field(default=0.0, description="q, heat of the reaction")

    @property
    def gamma(self) -> float:
        """E / (R T0)."""
        return self.activation_energy / (GAS_CONSTANT * self.reference)


class PhysicsSettings(StrictModel):
    """Properties of the true part; hidden ones are used to make the data only."""

    phi2: NonNegative = Field(default=1.0, description="k0 L^2 / (r_f D0) at thickness 1")
    eps0: Fraction = Field(default=0.6, description="initial porosity")
    percolation: Law = Field(
        default=(0.037, 0.661), description="eps_p and alpha of the effective diffusivity"
    )
    floor: Fraction = Field(
        default=1e-3, description="smallest effective diffusivity, a residual leakage"
    )
    knudsen: NonNegative = Field(
        default=0.0, description="bulk over Knudsen diffusivity in a pore as wide as a fibre"
    )
    pores: Literal["overlapping", "hard_core"] = Field(
        default="overlapping", description="how the fibres lie, which sets their surface"
    )
    biot: Positive | None = Field(
        default=None, description="Bi of the gas at the surface; null: inlet concentration there"
    )
    storage: NonNegative = Field(default=0.0, description="delta; 0: quasi-steady gas")
    heat: HeatSettings | None = Field(default=None, description="null: isothermal")

    @model_validator(mode="after")
    def _open_at_the_start(self) -> "PhysicsSettings":
        if self.eps0 <= self.percolation[0]:
            raise ValueError(
                f"the initial porosity eps0 = {self.eps0:g} is not above the percolation threshold "
                f"{self.percolation[0]:g}: no gas would enter the part; raise eps0"
            )
        return self


class PartSettings(StrictModel):
    """The grid: one, two or three cell counts; planes of symmetry at 0, the surface at the end."""

    cells: Annotated[tuple[Annotated[int, Field(ge=4)], ...], Field(min_length=1, max_length=3)] = (
        32,
        32,
    )
    size: tuple[Positive, ...] | None = Field(
        default=None, description="length along each axis, in units of L; null: 1 each"
    )

    @model_validator(mode="after")
    def _fits(self) -> "PartSettings":
        if self.size is not None and len(self.size) != len(self.cells):
            raise ValueError(f"size has {len(self.size)} entries for {len(self.cells)} cell counts")
        return self

    @property
    def upper(self) -> tuple[float, ...]:
        """Position of the surface along each axis."""
        return (1.0,) * len(self.cells) if self.size is None else self.size


class TimeSettings(StrictModel):
    """Scaled by t_d = r_f rho_s / (nu M_s k0 C0)."""

    end: Positive = Field(default=1.8, description="last time")
    step: Positive = Field(default=0.05, description="time step of the model and of forward runs")

    @model_validator(mode="after")
    def _at_least_one(self) -> "TimeSettings":
        if self.step > self.end:
            raise ValueError(f"step {self.step:g} is longer than the run, which ends at {self.end}")
        return self


class SpecimenSettings(StrictModel):
    """The specimens: several thicknesses, or temperatures, of the same material."""

    thickness: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        description="over L, of the training specimens: phi2 scales with its square"
    )
    test_thickness: tuple[Positive, ...] = Field(description="over L, of the test specimens")
    heater: tuple[Positive, ...] | None = Field(
        default=None, description="temperature in K of each specimen's heater; null: physics.heat's"
    )
    test_heater: tuple[Positive, ...] | None = Field(
        default=None, description="the same for the test specimens"
    )

    @model_validator(mode="after")
    def _paired(self) -> "SpecimenSettings":
        for one, other in (("thickness", "heater"), ("test_thickness", "test_heater")):
            heaters = getattr(self, other)
            if heaters is not None and len(heaters) != len(getattr(self, one)):
                raise ValueError(
                    f"{other} has {len(heaters)} entries, {one} {len(getattr(self, one))}; "
                    "expected one of each per specimen"
                )
        return self


class InclusionSettings(StrictModel):
    """A dense region in the preform: a Gaussian dip in eps0 of `depth` at its centre."""

    depth: NonNegative = Field(default=0.15, description="decrease of the porosity at the centre")
    centre: Point = Field(default=(0.55, 0.6), description="in units of the part's size")
    radius: Positive = Field(default=0.18, description="standard deviation, units of the size")


class PlantSettings(NoiseSettings):
    """Measurements in a plant, for every specimen."""

    noise: NonNegative = Field(
        default=0.02,
        description="standard deviation: of CT over the initial porosity eps0, of each weighing "
        "over the mass gained until then; added to computed data, and what all data weigh by",
    )
    ct_times: Annotated[tuple[Positive, ...], Field(min_length=1)] = Field(
        default=(0.5, 1.6), description="interruptions, at which porosity is seen by CT"
    )
    ct_block: PositiveInt = Field(default=4, description="cells along each side of a CT voxel")
    ct_window: tuple[Point, Point] | None = Field(
        default=None,
        description="lower and upper corner of the region seen by CT, in units of L; null: all",
    )
    mass_times: Annotated[int, Field(ge=1, le=100_000)] = Field(
        default=10, description="number of weighings"
    )
    mass_until: Positive = Field(default=1.6, description="time of the last weighing")
    thermocouples: tuple[Point, ...] = Field(
        default=(), description="positions of the thermocouples, in units of L"
    )
    thermocouple_noise: Positive = Field(default=2.0, description="standard deviation in K")


class ClosureSettings(StrictModel):
    """The learned effective diffusivity, which starts as a law of other fibres."""

    prior: Law = Field(default=(0.11, 0.785), description="eps_p and alpha of the initial law")
    largest_threshold: Fraction = Field(default=0.25, description="upper bound of eps_p")
    knots: Annotated[int, Field(ge=2, le=1000)] = Field(default=4, description="knots of the slope")
    deviation: Positive = Field(
        default=0.5,
        description="prior belief: standard deviation of the logarithm of its slopes, and of other "
        "learned laws', relative to the law it starts as",
    )


# for every method, since they are used to compute the data
InfiltrationSolver = Annotated[
    LinearlySolvedSettings | PicardSettings | AndersonSettings,
    Field(discriminator="name", description="the problem has its own preconditioner"),
]
InfiltrationStepper = Annotated[
    StepSetElsewhere | AdaptiveOrSetElsewhere,
    Field(
        discriminator="name",
        description="its step is time.step; implicit, since the gas has mass 0",
    ),
]


class InfiltrationSettings(ProblemSettings):
    """Configuration shared by all three problems."""

    # frozen, so narrower types are sound
    data: ComputedDataSettings = ComputedDataSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    physics: PhysicsSettings = PhysicsSettings()
    grid: PartSettings = PartSettings()
    time: TimeSettings = TimeSettings()
    specimens: SpecimenSettings
    mismatch: bool = Field(
        default=False,
        description="make the data with hard-core fibres, while the model assumes overlapping ones",
    )
    refine: Annotated[int, Field(ge=1), OF_COMPUTED_DATA] = Field(
        default=2, description="refinement of the data's grid along each axis"
    )
    substeps: Annotated[PositiveInt, OF_COMPUTED_DATA] = Field(
        default=10, description="refinement of the data's time step"
    )
    # frozen, so a narrower type is sound
    observations: PlantSettings = PlantSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    # with its preconditioner a linear solve takes two or three iterations, or fails
    solver: InfiltrationSolver = LinearlySolvedSettings(  # pyright: ignore[reportIncompatibleVariableOverride]
        rtol=1e-9, atol=1e-13, line_search=False, max_iterations=15, max_krylov_iterations=30
    )
    adjoint: AdjointSettings = ImplicitAdjointSettings(rtol=1e-6, max_iterations=30)
    stepper: InfiltrationStepper = StepSetElsewhere(name="sdirk2", first_guess="extrapolated")  # pyright: ignore[reportIncompatibleVariableOverride]
    forecast: ReferenceForecastSettings = ReferenceForecastSettings(every=0.05)  # pyright: ignore[reportIncompatibleVariableOverride]

    @model_validator(mode="after")
    def _consistent(self) -> "InfiltrationSettings":
        observed = self.observations
        if observed.thermocouples and self.physics.heat is None:
            raise ValueError(
                "observations.thermocouples: the part is isothermal; add physics.heat, or leave "
                "them out"
            )
        for point in observed.thermocouples:
            self._require_inside("observations.thermocouples", point)
        window = observed.ct_window
        if window is not None:
            for corner in window:
                self._require_inside("observations.ct_window", corner)
            if any(a >= b for a, b in zip(*window, strict=True)):
                raise ValueError(
                    f"observations.ct_window: the lower corner {list(window[0])} is not below the "
                    f"upper corner {list(window[1])} along every axis"
                )
        return self

    def _require_inside(self, key: str, point: tuple[float, ...]) -> None:
        upper = self.grid.upper
        if len(point) != len(upper):
            raise ValueError(
                f"{key}: {list(point)} has {len(point)} coordinate(s), the part {len(upper)}"
            )
        if any(not -1e-9 * b <= x <= b * (1 + 1e-9) for x, b in zip(point, upper, strict=True)):
            box = " x ".join(f"[0, {b:g}]" for b in upper)
            raise ValueError(f"{key}: {list(point)} lies outside the part, {box}")

    @property
    def hidden_pores(self) -> str:
        """The pore model used to make the data."""
        return "hard_core" if self.mismatch else self.physics.pores


class VaporInfiltrationClosureSettings(InfiltrationSettings):
    """Configuration of `vapor_infiltration_closure`."""

    problem: Literal["vapor_infiltration_closure"] = "vapor_infiltration_closure"  # pyright: ignore[reportIncompatibleVariableOverride]
    specimens: SpecimenSettings = SpecimenSettings(
        thickness=(1.0, 2.0, 4.0), test_thickness=(0.5, 1.5, 3.0)
    )
    closure: ClosureSettings = ClosureSettings()
    training: TrainingSettings = LevenbergMarquardtSettings(
        steps=25,
        damping=0.1,
        loss_tolerance=3e-4,
        save_every=5,
    )


class VaporInfiltrationFieldSettings(InfiltrationSettings):
    """Configuration of `vapor_infiltration_field`."""

    problem: Literal["vapor_infiltration_field"] = "vapor_infiltration_field"  # pyright: ignore[reportIncompatibleVariableOverride]
    specimens: SpecimenSettings = SpecimenSettings(thickness=(1.0,), test_thickness=(0.7, 1.4))
    inclusion: InclusionSettings = InclusionSettings()
    field: Annotated[FieldSettings, OF_A_FIELD] = FieldSettings(omega_first=3.0, omega=3.0)
    bounds: tuple[Fraction, Fraction] = Field(
        default=(0.2, 0.8), description="bounds of the initial porosity"
    )
    training: TrainingSettings = MuonSettings(steps=150, learning_rate=3e-3, log_every=5)

    @model_validator(mode="after")
    def _possible(self) -> "VaporInfiltrationFieldSettings":
        lower, upper = self.bounds
        if not self.physics.percolation[0] < lower < upper:
            raise ValueError(
                f"bounds: {lower:g} and {upper:g} must increase and lie above the percolation "
                f"threshold {self.physics.percolation[0]:g}"
            )
        lowest = self.physics.eps0 - self.inclusion.depth
        if lowest <= self.physics.percolation[0]:
            raise ValueError(
                f"inclusion.depth: the porosity in the inclusion, {lowest:g}, is not above the "
                f"percolation threshold {self.physics.percolation[0]:g}"
            )
        if len(self.inclusion.centre) != len(self.grid.cells):
            raise ValueError(
                f"inclusion.centre: {len(self.inclusion.centre)} coordinates in a part of "
                f"{len(self.grid.cells)} dimension(s)"
            )
        return self


class ThermalStartSettings(StrictModel):
    """Initial values for training, besides the diffusivity's prior law."""

    activation_energy: Positive = Field(default=120e3, description="E in J/mol")
    conductivity: tuple[Positive, Positive, Positive] = Field(
        default=(0.02, 1.3, 1.3), description="of gas, fibre and matrix in the initial law"
    )
    knots: Annotated[int, Field(ge=2, le=1000)] = Field(
        default=4, description="knots of the conductivity's slope"
    )


class VaporInfiltrationThermalSettings(InfiltrationSettings):
    """Configuration of `vapor_infiltration_thermal`."""

    problem: Literal["vapor_infiltration_thermal"] = "vapor_infiltration_thermal"  # pyright: ignore[reportIncompatibleVariableOverride]
    physics: PhysicsSettings = PhysicsSettings(phi2=0.3, heat=HeatSettings(biot=2.0))
    time: TimeSettings = TimeSettings(end=0.8, step=0.025)
    specimens: SpecimenSettings = SpecimenSettings(
        thickness=(1.0, 1.0),
        heater=(1423.0, 1523.0),
        test_thickness=(1.0,),
        test_heater=(1473.0,),
    )
    observations: PlantSettings = PlantSettings(  # pyright: ignore[reportIncompatibleVariableOverride]
        ct_times=(0.15, 0.3, 0.5),
        mass_until=0.6,
        thermocouples=((0.1, 0.1), (0.3, 0.7), (0.5, 0.5), (0.7, 0.2), (0.9, 0.9)),
    )
    closure: ClosureSettings = ClosureSettings()
    start: ThermalStartSettings = ThermalStartSettings()
    training: TrainingSettings = LevenbergMarquardtSettings(
        steps=25,
        damping=0.1,
        loss_tolerance=3e-4,
        save_every=5,
    )
    forecast: ReferenceForecastSettings = ReferenceForecastSettings(every=0.025)  # pyright: ignore[reportIncompatibleVariableOverride]

    @model_validator(mode="after")
    def _hot_inside(self) -> "VaporInfiltrationThermalSettings":
        heat = self.physics.heat
        if heat is None:
            raise ValueError("physics.heat: this problem needs it; it cannot be null")
        heaters = {
            "specimens.heater": self.specimens.heater or (),
            "specimens.test_heater": self.specimens.test_heater or (),
            "physics.heat.heater": (heat.heater,),
        }
        for key, kelvin in heaters.items():
            for cold in (T for T in kelvin if heat.surroundings >= T):
                raise ValueError(
                    f"{key}: {cold:g} K is not hotter than the surroundings of the surface, "
                    f"{heat.surroundings:g} K: the part would densify from the outside"
                )
        return self


def as_theta(kelvin: Any, heat: HeatSettings) -> Any:
    """Temperature over T0."""
    return kelvin / heat.reference


def steps_to(end: float, step: float) -> int:
    """Number of steps of at most `step` up to `end`."""
    return number_of_steps([0.0, end], step)
