"""Burgers' equation in one dimension: two coefficients from scattered measurements.

The benchmark data (`burgers_shock.mat`) are those of Raissi, Perdikaris and Karniadakis,
"Physics-informed neural networks", J. Comput. Phys. 378 (2019). Any file of u(x, t) is accepted;
without one, the exact solution is used.
"""

import hashlib
import math
from collections.abc import Mapping
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, Int, PRNGKeyArray, PyTree
from pydantic import Field
from scipy.interpolate import CubicSpline

from impindiff.data import gridded, is_points, provenance
from impindiff.data.file_errors import of_file
from impindiff.errors import InputError
from impindiff.fields import Parameter
from impindiff.grid import Dirichlet, Grid
from impindiff.observations import PointTable, SpaceTimePoints, add_noise, random_points
from impindiff.observations.checks import (
    require_even_spacing,
    require_finite,
    require_times,
    same_places,
)
from impindiff.operators import convection, diffusion
from impindiff.problem import Observations, Problem, Scale
from impindiff.problem.samples import with_samples
from impindiff.problems.cole_hopf import cole_hopf_sine
from impindiff.problems.fields_data import fields_data
from impindiff.settings.configuration import StrictModel
from impindiff.settings.sections import (
    ComputedDataSettings,
    NoiseSettings,
    Positive,
    PositiveInt,
    ProblemSettings,
    ReferenceForecastSettings,
)
from impindiff.settings.steps import (
    ImplicitStepperSettings,
    NewtonKrylovSettings,
    SolverSettings,
    StepperSettings,
)
from impindiff.settings.training import (
    LevenbergMarquardtSettings,
    TrainingSettings,
)
from impindiff.steppers import HybridModel

_VISCOSITY = 0.01 / math.pi
# SHA-256 of the benchmark's values rounded to six digits, and the coefficients they were computed
# with
_BENCHMARK = "20a68fa53dd80683642d9095326748e723257204070f026d879b5d671cc30982"
_BENCHMARK_TRUTH = {"lambda": 1.0, "nu": _VISCOSITY}
_POINTS, _LAST = 256, 0.99
_USUAL_NAMES = ("usol", "u")
_VARIABLE_ATTRIBUTES = {
    name: {"long_name": long_name, "scaling": "dimensionless"}
    for name, long_name in {"u": "velocity", "x": "x", "time": "time"}.items()
}


class ViscousBurgers(HybridModel):
    """du/dt = -lambda u du/dx + nu d2u/dx2 with unknown lambda and nu.

    - `speed`: lambda; `viscosity`: nu (length^2 / time), constrained to be positive.
    """

    grid: Grid
    speed: Parameter
    viscosity: Parameter

    def tendency(self, t: Float[Array, ""], u: PyTree, latent: None) -> PyTree:
        """-d(lambda u^2/2)/dx + d(nu du/dx)/dx."""
        del latent
        speed, viscosity = self.speed(), self.viscosity()

        def flux(v: Float[Array, "..."]) -> Float[Array, "..."]:
            return 0.5 * speed * v * v

        return convection(u, flux, self.grid, "central", t=t) + diffusion(
            u, viscosity, self.grid, t=t
        )


class CoefficientSettings(StrictModel):
    """Values of lambda and nu."""

    speed: float = Field(description="lambda, of -lambda u du/dx")
    viscosity: Positive = Field(description="nu, in length^2 / time")


class TruthSettings(StrictModel):
    """True coefficients: always known for computed data, for a file only if stated."""

    speed: float | None = Field(default=1.0, description="lambda")
    viscosity: Positive | None = Field(default=_VISCOSITY, description="nu, in length^2 / time")


class LineSettings(StrictModel):
    """The model's grid, finer than the data: the solution steepens to a narrow shock."""

    lower: float | None = Field(default=None, description="left wall; null: the first x")
    upper: float | None = Field(default=None, description="right wall; null: the last x")
    cells: PositiveInt = 8192
    wall_values: tuple[float, float] = Field(default=(0.0, 0.0), description="u on the walls")

    def build(self) -> Grid:
        """Build the grid; its walls are at -1 and 1 unless given."""
        low, high = self.wall_values
        return Grid(
            (-1.0 if self.lower is None else self.lower,),
            (1.0 if self.upper is None else self.upper,),
            (self.cells,),
            boundary=((Dirichlet(low), Dirichlet(high)),),
        )


class PointSettings(NoiseSettings):
    """The part of the data that training sees."""

    points: PositiveInt = Field(default=2000, description="number of random values observed")


class PublicSettings(ProblemSettings):
    """Configuration of `burgers_public`."""

    problem: Literal["burgers_public"] = "burgers_public"  # pyright: ignore[reportIncompatibleVariableOverride]
    # frozen, so narrower types are sound
    data: ComputedDataSettings = ComputedDataSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    truth: TruthSettings = TruthSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    start: CoefficientSettings = CoefficientSettings(speed=0.5, viscosity=0.02)
    grid: LineSettings = LineSettings()
    observations: PointSettings = PointSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    solver: SolverSettings = NewtonKrylovSettings(preconditioner="multigrid")
    stepper: StepperSettings = ImplicitStepperSettings(dt=0.005, first_guess="extrapolated")
    training: TrainingSettings = LevenbergMarquardtSettings(steps=40, save_every=5)
    forecast: ReferenceForecastSettings = ReferenceForecastSettings()  # pyright: ignore[reportIncompatibleVariableOverride]


class BurgersPublic(Problem[PublicSettings]):
    """Burgers' equation in one dimension, public data."""

    name = "burgers_public"
    infers: ClassVar[str] = "lambda and nu, from scattered values of u(x, t)"
    labels: ClassVar[Mapping[str, str]] = {"lambda": "λ", "nu": "ν"}
    settings = PublicSettings

    def data(self, settings: PublicSettings) -> xr.Dataset:
        """u(x, t) of one trajectory from a file of fields, or of points that form a grid."""
        path = settings.data.path
        if path is None:
            return self.reference(settings)
        dataset = super().data(settings)
        with of_file(path):
            return _one_trajectory(dataset)

    def reference(self, settings: PublicSettings, until: float | None = None) -> xr.Dataset:
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
        return fields_data(
            {"u": cole_hopf_sine(x, times, viscosity, speed)[None]},
            times,
            {"x": x},
            attrs=provenance(
                f"Reference data of {self.name}",
                "exact solution by the Cole-Hopf transform",
                settings.model_dump(mode="json"),
            ),
            variable_attrs=_VARIABLE_ATTRIBUTES,
        )

    def configured(self, settings: PublicSettings, data: xr.Dataset) -> PublicSettings:
        """The settings with walls at the ends of the data, and true coefficients if known."""
        path = settings.data.path
        if path is None:
            return settings
        with of_file(path):
            require_times(data["time"].to_numpy().astype(float))
            known = _stated(data)
        if _fingerprint(data) == _BENCHMARK:
            known = _BENCHMARK_TRUTH | known
        x, line = data["x"].to_numpy(), settings.grid
        bounds = {
            "lower": float(x[0]) if line.lower is None else line.lower,
            "upper": float(x[-1]) if line.upper is None else line.upper,
        }
        truth = settings.truth
        if truth == TruthSettings():  # those of computed data
            truth = TruthSettings(speed=known.get("lambda"), viscosity=known.get("nu"))
        return settings.model_copy(update={"grid": line.model_copy(update=bounds), "truth": truth})

    def scale(self, settings: PublicSettings, until: float | None = None) -> Scale:
        """Sizes of the reference data, a formula at the benchmark's places, not the model's."""
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

    def observations(
        self, settings: PublicSettings, model: HybridModel, data: xr.Dataset
    ) -> Observations:
        """Values at random places and times, read by cubic interpolation."""
        del model
        observed = settings.observations
        field, x, times = (data[name].to_numpy() for name in ("u", "x", "time"))
        field = field[0]
        when, where = random_points(field.shape, observed.points, observed.seed, with_initial=False)
        value = add_noise(field, observed.noise, observed.seed + 1)[when, where]
        error = float((observed.noise or 1.0) * np.std(field))
        return Observations(
            times=tuple(map(float, times)),
            operator=self._points(settings, when, x[where], error),
            values=jnp.asarray(value / error),
            table=PointTable(
                quantity=np.full(len(value), "u"),
                sample=np.zeros(len(value), int),
                time=times[when],
                position=x[where][:, None],
                value=value,
                standard_deviation=np.full(len(value), error),
                stated=np.full(len(value), observed.noise > 0),
            ),
        )

    def model(self, settings: PublicSettings, key: PRNGKeyArray) -> ViscousBurgers:
        """The model with its coefficients at their initial values; nothing is random."""
        del key
        start = settings.start
        return ViscousBurgers(
            settings.grid.build(),
            Parameter(start.speed),
            Parameter(start.viscosity, lower=0.0),
        )

    def identified(self, model: HybridModel) -> dict[str, Float[Array, ""]]:
        """The coefficients lambda and nu."""
        assert isinstance(model, ViscousBurgers)
        return {"lambda": model.speed(), "nu": model.viscosity()}

    def truths(self, settings: PublicSettings) -> dict[str, float]:
        """The true coefficients, where known."""
        known = {"lambda": settings.truth.speed, "nu": settings.truth.viscosity}
        return {name: value for name, value in known.items() if value is not None}

    def initial_state(
        self, settings: PublicSettings, model: HybridModel, data: xr.Dataset | None = None
    ) -> Float[np.ndarray, "sample *cells"]:
        """The first snapshot at the model's cell centres, by a cubic spline through the walls."""
        del model
        data = self.data(settings) if data is None else data
        grid = settings.grid.build()
        x, u = data["x"].to_numpy(), data["u"].to_numpy()[0, 0]
        for wall, value, at in zip(
            (grid.lower[0], grid.upper[0]), settings.grid.wall_values, (0, len(x)), strict=True
        ):
            if not same_places(x, wall, np.diff(x).min()).any():
                x, u = np.insert(x, at, wall), np.insert(u, at, value)
        return CubicSpline(x, u)(np.asarray(grid.axis_centers(0)))[None]

    def at_data(
        self, settings: PublicSettings, data: xr.Dataset, u: PyTree
    ) -> dict[str, Float[np.ndarray, "time sample *space"]]:
        """The solution interpolated to the places of the data."""
        x = data["x"].to_numpy()
        points = self._points(settings, np.zeros(len(x), int), x)
        return {"u": np.asarray(points.interpolate(np.asarray(u), x))}

    def _points(
        self,
        settings: PublicSettings,
        when: Int[np.ndarray, " point"],
        where: Float[np.ndarray, " point"],
        error: float = 1.0,
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
            standard_deviation=error,
        )


def _stated(data: xr.Dataset) -> dict[str, float]:
    """The coefficients stated in the data.

    **Raises:** `InputError` for a value that is not a suitable number.
    """
    found = {}
    for name in _BENCHMARK_TRUTH:
        if name not in data.attrs:
            continue
        value = np.asarray(data.attrs[name])
        try:
            found[name] = float(value.item())
        except (TypeError, ValueError):
            found[name] = math.nan
        above = 0.0 if name == "nu" else -math.inf
        if not above < found[name] < math.inf:
            raise InputError(
                f"'{name}' is {str(value.tolist())!r:.60}; expected one finite number"
                f"{' above 0' if name == 'nu' else ''}, the true coefficient: correct it, or "
                f"rename it if it means something else"
            )
    return found


def _one_trajectory(dataset: xr.Dataset) -> xr.Dataset:
    if is_points(dataset):
        dataset = gridded(dataset)
    names = [str(n) for n, v in dataset.data_vars.items() if {"time", "x"} <= {*v.dims}]
    usual = [name for name in _USUAL_NAMES if name in names]
    if not usual and len(names) != 1:
        raise InputError(
            f"which of {', '.join(names) or 'no variables'} is u(x, t)? Say it by "
            "data.variables={NAME: u}"
        )
    name = (usual or names)[0]
    field = with_samples(dataset[[name]]).rename({name: "u"})
    if field.sizes["sample"] != 1:
        raise InputError(
            f"variable '{name}' has {field.sizes['sample']} samples; choose one by data.samples=[0]"
        )
    require_even_spacing("x", field["x"].to_numpy().astype(float))
    require_finite(name, field["u"].to_numpy(), tuple(map(str, field["u"].dims)))
    return field


def _fingerprint(data: xr.Dataset) -> str:
    # adding 0 turns -0 into 0
    rounded = np.round(data["u"].to_numpy()[0], 6) + 0.0
    return hashlib.sha256(np.ascontiguousarray(rounded).tobytes()).hexdigest()


def _end(settings: PublicSettings, until: float | None) -> float:
    """End of the reference data: `until`, else by the settings, else the benchmark's."""
    return until or settings.forecast.until or _LAST
