"""Burgers' equation on a box with an unknown diffusivity field."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field, model_validator

from impindiff.fields import BoundedField
from impindiff.grid import Grid
from impindiff.operators import convection, diffusion
from impindiff.problems.box import BoxProblem, BoxSettings, random_streams, solve_reference
from impindiff.problems.random_fields import random_waves
from impindiff.settings.configuration import StrictModel
from impindiff.settings.sections import (
    OF_A_FIELD,
    AnyFieldSettings,
    FieldSettings,
    ObservationSettings,
    Positive,
    ReferenceForecastSettings,
)
from impindiff.settings.steps import (
    ImplicitStepperSettings,
    NewtonKrylovSettings,
    SolverSettings,
    StepperSettings,
)
from impindiff.settings.training import (
    AdamSettings,
    TrainingSettings,
)
from impindiff.steppers import HybridModel
from impindiff.training import MaternPrior

# (number of waves, largest wavenumber), scale and floor of the true diffusivity
_DIFFUSIVITY_WAVES = (20, 3)
_DIFFUSIVITY_SCALE = 1e-2
_DIFFUSIVITY_FLOOR = 1e-3
_VARIABLE_ATTRIBUTES = {
    "u": {"long_name": "velocity", "scaling": "dimensionless"},
    "diffusivity": {"long_name": "diffusivity", "scaling": "dimensionless"},
}


def half_square(u: Float[Array, "..."]) -> Float[Array, "..."]:
    """u^2 / 2, the flux of Burgers' equation."""
    return 0.5 * u * u


class Burgers(HybridModel):
    """du/dt = -div((u^2/2, u^2/2)) + div(k grad u) with unknown k; in 3-D with three equal fluxes.

    - `diffusivity`: a positive field of one component (length^2 / time), or an array of values.
    - `scheme`: of the convection operator.
    """

    grid: Grid
    diffusivity: BoundedField | Float[Array, "*cells"]
    scheme: Literal["rusanov", "central", "van_leer"] = "rusanov"

    def latent(self, t: Float[Array, ""]) -> Float[Array, "*cells"]:
        """The diffusivity at the cell centres."""
        if isinstance(self.diffusivity, BoundedField):
            return self.diffusivity(self.grid, t)[0]
        return self.diffusivity

    def tendency(self, t: Float[Array, ""], u: PyTree, latent: Float[Array, "*cells"]) -> PyTree:
        """-div((u^2/2, u^2/2)) + div(k grad u)."""
        del t
        return convection(u, half_square, self.grid, self.scheme) + diffusion(u, latent, self.grid)


class PhysicsSettings(StrictModel):
    """Known physical parameters."""

    convection_scheme: Literal["rusanov", "central", "van_leer"] = "rusanov"
    diffusivity_bounds: tuple[Positive, Positive] = Field(
        default=(5e-4, 1.5e-2), description="bounds of the diffusivity, length^2 / time"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "PhysicsSettings":
        lower, upper = self.diffusivity_bounds
        if not lower < upper:
            raise ValueError("the lower of diffusivity_bounds must be below the upper")
        return self


class BurgersSettings(BoxSettings):
    """Configuration of `burgers`."""

    problem: Literal["burgers"] = "burgers"  # pyright: ignore[reportIncompatibleVariableOverride]
    physics: PhysicsSettings = PhysicsSettings()
    field: Annotated[AnyFieldSettings, OF_A_FIELD] = FieldSettings()
    observations: ObservationSettings = ObservationSettings(
        times=(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    )
    solver: SolverSettings = NewtonKrylovSettings(rtol=1e-5)
    stepper: StepperSettings = ImplicitStepperSettings(first_guess="extrapolated")
    training: TrainingSettings = AdamSettings(steps=120, learning_rate=3e-3)
    forecast: ReferenceForecastSettings = ReferenceForecastSettings(every=0.05)  # pyright: ignore[reportIncompatibleVariableOverride]


def _unbounded(model: Any) -> Any:
    return model.diffusivity.field


class BurgersProblem(BoxProblem[BurgersSettings]):
    """Burgers' equation in two or three dimensions."""

    name = "burgers"
    infers: ClassVar[str] = "the diffusivity field, from snapshots of the velocity"
    latent_figure: ClassVar[str] = "diffusivity"
    labels: ClassVar[Mapping[str, str]] = {
        "diffusivity.png": "The diffusivity, inferred and true, and the difference",
    }
    settings = BurgersSettings
    variable = "u"
    latent_names = ("diffusivity",)
    reference_until = 1.0
    # errors are compared at multiples of this time
    compared_every = 0.1
    # nearly linear within a step: the fewest iterations that converge to the solver's tolerance
    tuned: ClassVar[Mapping[str, Mapping[str, Any] | str]] = {
        "unrolled": {"solver": {"max_iterations": 3, "max_krylov_iterations": 12}},
        "local_law": {"method": {"degree": 2}},
    }

    def reference(self, settings: BurgersSettings, until: float | None = None) -> xr.Dataset:
        """Solve by RK4 on the training grid, or on a refined one averaged down."""
        return solve_reference(
            settings,
            self.name,
            lambda grid, cells: self._true_model_on(settings, grid, cells),
            lambda times: {"diffusivity": self._diffusivity(settings, settings.grid.cells)},
            variable=self.variable,
            attributes=_VARIABLE_ATTRIBUTES,
            default_until=self.reference_until,
            until=until,
        )

    def true_model(self, settings: BurgersSettings) -> Burgers:
        """The model with the true diffusivity."""
        return self._true_model_on(settings, settings.grid.build(), settings.grid.cells)

    def _true_model_on(
        self, settings: BurgersSettings, grid: Grid, cells: tuple[int, ...]
    ) -> Burgers:
        diffusivity = jnp.asarray(self._diffusivity(settings, cells))
        return Burgers(grid, diffusivity, settings.physics.convection_scheme)

    def _diffusivity(
        self, settings: BurgersSettings, cells: tuple[int, ...]
    ) -> Float[np.ndarray, "*cells"]:
        box = settings.grid
        waves = random_waves(
            *_DIFFUSIVITY_WAVES, box.lower, box.upper, box.cells, random_streams(settings)[0]
        )
        return np.maximum(_DIFFUSIVITY_SCALE * waves.on_cells(cells), _DIFFUSIVITY_FLOOR)

    def model(self, settings: BurgersSettings, key: PRNGKeyArray) -> Burgers:
        """The model with a bounded field for its diffusivity, by default a SIREN."""
        physics = settings.physics
        diffusivity = BoundedField(self.field(settings, 1, key), *physics.diffusivity_bounds)
        return Burgers(settings.grid.build(), diffusivity, physics.convection_scheme)

    def prior(self, settings: BurgersSettings) -> MaternPrior | None:
        """The prior of a diffusivity of kind modes, for an optimiser that chooses it."""
        return self.field_prior(settings, 1, _unbounded)

    def latent_fields(
        self, model: HybridModel, t: Float[Array, ""]
    ) -> dict[str, Float[Array, "*cells"]]:
        """The diffusivity."""
        return {"diffusivity": model.latent(t)}
