"""Burgers' equation on a box with an unknown diffusivity field."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field, model_validator

from impindiff.cases.box import BoxCase, BoxSettings, random_streams, solve_reference
from impindiff.cases.configuration import StrictModel
from impindiff.cases.random_fields import random_waves
from impindiff.cases.settings import (
    OF_A_FIELD,
    FieldSettings,
    ForecastSettings,
    ObservationSettings,
    Positive,
)
from impindiff.cases.step_settings import (
    ImplicitStepperSettings,
    NewtonKrylovSettings,
    SolverSettings,
    StepperSettings,
)
from impindiff.cases.training_settings import (
    AdamSettings,
    TrainingSettings,
)
from impindiff.fields import BoundedField
from impindiff.grid import Grid
from impindiff.observations import Trajectories
from impindiff.operators import convection, diffusion
from impindiff.steppers import HybridModel

_REFERENCE_UNTIL = 1.0
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
    """du/dt = -div((u^2/2, u^2/2)) + div(k grad u) with unknown k; in 3-D with u^2/2 thrice.

    - `diffusivity`: a positive field of one component (length^2 / time), or the values themselves.
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
    """What is known."""

    convection_scheme: Literal["rusanov", "central", "van_leer"] = "rusanov"
    diffusivity_bounds: tuple[Positive, Positive] = Field(
        default=(5e-4, 1.5e-2), description="between which the diffusivity lies, length^2 / time"
    )

    @model_validator(mode="after")
    def _ordered(self) -> "PhysicsSettings":
        lower, upper = self.diffusivity_bounds
        if not lower < upper:
            raise ValueError("the lower of diffusivity_bounds must be below the upper")
        return self


class BurgersSettings(BoxSettings):
    """Configuration of `burgers`."""

    case: Literal["burgers"] = "burgers"
    physics: PhysicsSettings = PhysicsSettings()
    field: Annotated[FieldSettings, OF_A_FIELD] = FieldSettings()
    observations: ObservationSettings = ObservationSettings(
        times=(0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35)
    )
    solver: SolverSettings = NewtonKrylovSettings(rtol=1e-5)
    stepper: StepperSettings = ImplicitStepperSettings(first_guess="extrapolated")
    training: TrainingSettings = AdamSettings(steps=120, learning_rate=3e-3)
    forecast: ForecastSettings = ForecastSettings(every=0.05)


class BurgersCase(BoxCase[BurgersSettings]):
    """A steady diffusivity, never observed, from snapshots of what it smooths."""

    name: ClassVar[str] = "burgers"
    summary: ClassVar[str] = "Burgers' equation in two or three dimensions"
    infers: ClassVar[str] = "the diffusivity field, from snapshots of the velocity"
    latent_figure: ClassVar[str] = "diffusivity"
    settings = BurgersSettings

    def horizon(self, settings: BurgersSettings) -> float:
        """See `Case.horizon`."""
        return settings.forecast.until or _REFERENCE_UNTIL

    def reference(self, settings: BurgersSettings, until: float | None = None) -> Trajectories:
        """RK4 on the training grid, or on a refined one averaged down (see `Case.reference`)."""
        return solve_reference(
            settings,
            self.name,
            lambda grid, cells: self._true_model_on(settings, grid, cells),
            lambda times: {"diffusivity": self._diffusivity(settings, settings.grid.cells)},
            variable="u",
            attributes=_VARIABLE_ATTRIBUTES,
            default_until=_REFERENCE_UNTIL,
            until=until,
        )

    def true_model(self, settings: BurgersSettings) -> Burgers:
        """See `Case.true_model`."""
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

    def read(self, settings: BurgersSettings, path: Path) -> tuple[Trajectories, BurgersSettings]:
        """A NetCDF file with dimensions (sample, time, x, y), or z as well.

        See `Trajectories.from_netcdf`.
        """
        data = Trajectories.from_netcdf(
            path, variable=settings.data.variable or "u", latent=("diffusivity",)
        )
        return data, settings.model_copy(update=settings.with_data_of(data, path))

    def model(self, settings: BurgersSettings, key: PRNGKeyArray) -> Burgers:
        """Diffusivity: a bounded SIREN, periodic where the domain is."""
        physics = settings.physics
        diffusivity = BoundedField(self.network(settings, 1, key), *physics.diffusivity_bounds)
        return Burgers(settings.grid.build(), diffusivity, physics.convection_scheme)

    def latent_fields(
        self, model: HybridModel, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """The diffusivity."""
        del times
        return {"diffusivity": np.asarray(model.latent(jnp.zeros(())))}
