"""Burgers' equation in one dimension: its two coefficients from scattered measurements.

The benchmark data (`burgers_shock.mat`) are those of Raissi, Perdikaris and Karniadakis,
"Physics-informed neural networks", J. Comput. Phys. 378 (2019). Any file of that layout is taken;
without one, the data are made by the exact solution.
"""

import hashlib
import math
from pathlib import Path
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from pydantic import Field
from scipy.interpolate import CubicSpline

from impindiff.cases.case import Case, Data, Scale
from impindiff.cases.cole_hopf import cole_hopf_sine
from impindiff.cases.configuration import StrictModel
from impindiff.cases.settings import (
    CaseSettings,
    DataSettings,
    ForecastSettings,
    NoiseSettings,
    Positive,
    PositiveInt,
)
from impindiff.cases.step_settings import (
    ImplicitStepperSettings,
    NewtonKrylovSettings,
    SolverSettings,
    StepperSettings,
)
from impindiff.cases.training_settings import (
    LevenbergMarquardtSettings,
    TrainingSettings,
)
from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid
from impindiff.observations import (
    SpaceTimePoints,
    Trajectories,
    add_noise,
    provenance,
    random_points,
    read_solution,
)
from impindiff.observations.checks import same_places
from impindiff.operators import convection, diffusion
from impindiff.steppers import HybridModel
from impindiff.training import TrajectoryLoss

_VISCOSITY = 0.01 / math.pi
# The benchmark's values rounded to six digits, and the coefficients they were made with.
_BENCHMARK = "20a68fa53dd80683642d9095326748e723257204070f026d879b5d671cc30982"
_BENCHMARK_TRUTH = {"lambda": 1.0, "nu": _VISCOSITY}
_POINTS, _TIMES, _LAST = 256, 100, 0.99
_VARIABLE_ATTRIBUTES = {
    name: {"long_name": long_name, "scaling": "dimensionless"}
    for name, long_name in {"u": "velocity", "x": "x", "time": "time"}.items()
}


class ViscousBurgers(HybridModel):
    """du/dt = -lambda u du/dx + nu d2u/dx2 with unknown lambda and nu.

    - `speed`: lambda.
    - `log_viscosity`: log nu, so that nu is positive whatever an optimiser does.
    """

    grid: Grid
    speed: Float[Array, ""]
    log_viscosity: Float[Array, ""]

    @property
    def viscosity(self) -> Float[Array, ""]:
        """The coefficient nu (length^2 / time)."""
        return jnp.exp(self.log_viscosity)

    def tendency(self, t: Float[Array, ""], u: PyTree, latent: None) -> PyTree:
        """-d(lambda u^2/2)/dx + d(nu du/dx)/dx."""
        del latent

        def flux(v: Float[Array, "..."]) -> Float[Array, "..."]:
            return 0.5 * self.speed * v * v

        return convection(u, flux, self.grid, "central", t=t) + diffusion(
            u, self.viscosity, self.grid, t=t
        )


class PublicDataSettings(DataSettings):
    """Where the data are, and what is known of them."""

    path: Path | None = Field(
        default=None,
        description=".mat, NetCDF or CSV file of u(x, t); null: the exact solution is computed",
    )


class CoefficientSettings(StrictModel):
    """Values of lambda and nu."""

    speed: float = Field(description="lambda, of -lambda u du/dx")
    viscosity: Positive = Field(description="nu, in length^2 / time")


class TruthSettings(StrictModel):
    """The true coefficients where they are known: of computed data always, of a file if it says."""

    speed: float | None = Field(default=1.0, description="lambda")
    viscosity: Positive | None = Field(default=_VISCOSITY, description="nu, in length^2 / time")


class LineSettings(StrictModel):
    """The model's grid, finer than the data: the solution steepens to a narrow shock."""

    lower: float | None = Field(default=None, description="left wall; null: the first x")
    upper: float | None = Field(default=None, description="right wall; null: the last x")
    cells: PositiveInt = 8192
    wall_values: tuple[float, float] = Field(default=(0.0, 0.0), description="u on the walls")

    def build(self) -> Grid:
        """The grid; walls at -1 and 1 where nothing else is said."""
        low, high = self.wall_values
        return Grid(
            (-1.0 if self.lower is None else self.lower,),
            (1.0 if self.upper is None else self.upper,),
            (self.cells,),
            boundary=((Dirichlet(low), Dirichlet(high)),),
        )


class PointSettings(NoiseSettings):
    """What training sees of the data."""

    points: PositiveInt = Field(default=2000, description="number of random values observed")


class PublicSettings(CaseSettings):
    """Configuration of `burgers_public`."""

    case: Literal["burgers_public"] = "burgers_public"
    data: DataSettings = PublicDataSettings()
    truth: TruthSettings = TruthSettings()
    start: CoefficientSettings = CoefficientSettings(speed=0.5, viscosity=0.02)
    grid: LineSettings = LineSettings()
    # frozen, so a narrower type is sound
    observations: PointSettings = PointSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    solver: SolverSettings = NewtonKrylovSettings(preconditioner="multigrid")
    stepper: StepperSettings = ImplicitStepperSettings(dt=0.005, first_guess="extrapolated")
    training: TrainingSettings = LevenbergMarquardtSettings(steps=40, log_every=1, save_every=5)
    forecast: ForecastSettings = ForecastSettings()


class BurgersPublic(Case[PublicSettings]):
    """Two coefficients of a partial differential equation from scattered values of its solution."""

    name: ClassVar[str] = "burgers_public"
    summary: ClassVar[str] = "Burgers' equation in one dimension, public data"
    infers: ClassVar[str] = "lambda and nu, from scattered values of u(x, t)"
    settings = PublicSettings

    def reference(self, settings: PublicSettings, until: float | None = None) -> Trajectories:
        """The exact solution from u = -sin(pi x), at the benchmark's places and times."""
        speed, viscosity = settings.truth.speed, settings.truth.viscosity
        if speed is None or viscosity is None:
            raise InputError(
                "truth: speed and viscosity are needed to compute data; give both, or name a file "
                "by data.path"
            )
        until = _end(settings, until)
        x = np.linspace(-1.0, 1.0, _POINTS)
        times = np.linspace(0.0, until, max(2, round(until / settings.forecast.every) + 1))
        return Trajectories(
            field=cole_hopf_sine(x, times, viscosity, speed)[None],
            times=times,
            coordinates={"x": x},
            variable="u",
            attrs=provenance(
                f"Reference data of {self.name}",
                "exact solution by the Cole-Hopf transform",
                settings.model_dump(mode="json"),
            ),
            variable_attrs=_VARIABLE_ATTRIBUTES,
        )

    def scale(self, settings: PublicSettings, until: float | None = None) -> Scale:
        """See `Case.scale`; the reference is a formula, and has places of its own."""
        until = _end(settings, until)
        times = until / settings.forecast.every + 1
        return Scale(
            cells=(settings.grid.cells,),
            refine=1,
            fields=1,
            training=1,
            samples=1,
            times=times,
            steps=times,
            observed=math.ceil(min(times, 1e18)),
            last=until,
            advice={"times": "raise forecast.every or lower forecast.until"},
        )

    def held_out(self, settings: PublicSettings) -> list[int]:
        """None: there is one trajectory."""
        del settings
        return []

    def read(self, settings: PublicSettings, path: Path) -> tuple[Trajectories, PublicSettings]:
        """A .mat, NetCDF or CSV file; see `read_solution`."""
        solution = read_solution(path, settings.data.variable)
        data, known = solution.trajectories, solution.parameters
        if _fingerprint(data) == _BENCHMARK:
            known = _BENCHMARK_TRUTH | known
        x, line = data.coordinates["x"], settings.grid
        bounds = {
            "lower": float(x[0]) if line.lower is None else line.lower,
            "upper": float(x[-1]) if line.upper is None else line.upper,
        }
        settings = settings.model_copy(
            update={
                "grid": line.model_copy(update=bounds),
                # absolute, so that the run can be resumed and forecast from any folder
                "data": settings.data.model_copy(update={"path": path.absolute()}),
                "truth": TruthSettings(speed=known.get("lambda"), viscosity=known.get("nu")),
            }
        )
        return data, settings

    def loss(self, settings: PublicSettings, data: Data) -> TrajectoryLoss:
        """See `Case.loss`."""
        trajectories, observed = data.trajectories, settings.observations
        field = trajectories.field[0]
        when, where = random_points(field.shape, observed.points, observed.seed, with_initial=False)
        noisy = add_noise(field, observed.noise, observed.seed + 1)
        return TrajectoryLoss(
            u0=jnp.asarray(self.initial_states(settings, trajectories)),
            times=tuple(map(float, trajectories.times)),
            values=jnp.asarray(noisy[when, where]),
            observe=self._points(settings, when, trajectories.coordinates["x"][where]),
            stepper=self.stepper(settings),
            dt=self.step(settings),
            checkpointing=settings.gradient.build_checkpointing(),
        )

    def model(self, settings: PublicSettings, key: PRNGKeyArray) -> ViscousBurgers:
        """The coefficients at their starting values; nothing is random."""
        del key
        start = settings.start
        return ViscousBurgers(
            settings.grid.build(), jnp.asarray(start.speed), jnp.log(start.viscosity)
        )

    def latent_fields(
        self, model: HybridModel, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """None: the unknowns are numbers."""
        del model, times
        return {}

    def identified(self, model: HybridModel) -> dict[str, Float[Array, ""]]:
        """The coefficients lambda and nu."""
        assert isinstance(model, ViscousBurgers)
        return {"lambda": model.speed, "nu": model.viscosity}

    def truths(self, settings: PublicSettings) -> dict[str, float]:
        """The true coefficients where they are known."""
        known = {"lambda": settings.truth.speed, "nu": settings.truth.viscosity}
        return {name: value for name, value in known.items() if value is not None}

    def initial_states(
        self, settings: PublicSettings, trajectories: Trajectories
    ) -> Float[np.ndarray, "sample *cells"]:
        """The first snapshot at the model's cell centres, by a cubic spline through the walls."""
        grid = settings.grid.build()
        x, u = trajectories.coordinates["x"], trajectories.field[0, 0]
        for wall, value, at in zip(
            (grid.lower[0], grid.upper[0]), settings.grid.wall_values, (0, len(x)), strict=True
        ):
            if not same_places(x, wall, np.diff(x).min()).any():
                x, u = np.insert(x, at, wall), np.insert(u, at, value)
        return CubicSpline(x, u)(np.asarray(grid.axis_centers(0)))[None]

    def on_data(
        self,
        settings: PublicSettings,
        trajectories: Trajectories,
        u: PyTree,
    ) -> Float[np.ndarray, "time sample *space"]:
        """Interpolated to the places of the data."""
        x = trajectories.coordinates["x"]
        points = self._points(settings, np.zeros(len(x), int), x)
        return np.asarray(points.interpolate(np.asarray(u), x))

    def _points(
        self,
        settings: PublicSettings,
        when: Int[np.ndarray, " point"],
        where: Float[np.ndarray, " point"],
    ) -> SpaceTimePoints:
        grid = settings.grid.build()
        return SpaceTimePoints(
            when,
            where,
            grid.lower[0],
            grid.upper[0],
            grid.cells[0],
            settings.grid.wall_values,
            order=3,
        )


def _fingerprint(data: Trajectories) -> str:
    # adding 0 turns -0 into 0
    rounded = np.round(data.field[0], 6) + 0.0
    return hashlib.sha256(np.ascontiguousarray(rounded).tobytes()).hexdigest()


def _end(settings: PublicSettings, until: float | None) -> float:
    """Where reference data end: at `until`, else as the settings say, else as the benchmark's."""
    return until or settings.forecast.until or _LAST
