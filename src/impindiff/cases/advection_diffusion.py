"""Advection-diffusion with an unknown velocity field."""

from pathlib import Path
from typing import ClassVar, Literal

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field

from impindiff.cases.box import BoxCase, BoxSettings, random_streams, solve_reference
from impindiff.cases.configuration import StrictModel
from impindiff.cases.random_fields import random_waves
from impindiff.cases.settings import (
    FieldSettings,
    NonNegative,
    ObservationSettings,
    TrainingSettings,
)
from impindiff.fields import ConditionalField
from impindiff.grid import Grid
from impindiff.observations import Trajectories
from impindiff.operators import advection_diffusion
from impindiff.steppers import HybridModel

_REFERENCE_UNTIL = 0.2
# (number of waves, largest wavenumber) of each velocity component
_VELOCITY_WAVES = ((30, 3), (15, 1))
_VARIABLE_ATTRIBUTES = {
    "phi": {"long_name": "concentration", "scaling": "dimensionless"},
    "velocity_x": {"long_name": "velocity along x", "scaling": "dimensionless"},
    "velocity_y": {"long_name": "velocity along y", "scaling": "dimensionless"},
}


class AdvectionDiffusion(HybridModel):
    """d(phi)/dt = -div(v phi) + div(D grad phi) with unknown v and known D.

    - `velocity`: a field of two components (length / time), or the values themselves.
    - `diffusivity`: D (length^2 / time).
    - `scheme`: of the advection operator.
    """

    grid: Grid
    velocity: ConditionalField | Float[Array, "ndim *cells"]
    diffusivity: float
    scheme: Literal["upwind", "central", "van_leer"] = "upwind"

    def latent(self, t: Float[Array, ""]) -> Float[Array, "ndim *cells"]:
        """The velocity at the cell centres."""
        if isinstance(self.velocity, ConditionalField):
            return self.velocity(self.grid, t)
        return self.velocity

    def tendency(
        self, t: Float[Array, ""], u: PyTree, latent: Float[Array, "ndim *cells"]
    ) -> PyTree:
        """-div(v phi) + div(D grad phi)."""
        del t
        return advection_diffusion(u, latent, self.diffusivity, self.grid, scheme=self.scheme)


class PhysicsSettings(StrictModel):
    """What is known."""

    diffusivity: NonNegative = Field(default=1e-3, description="D, in length^2 / time")
    advection_scheme: Literal["upwind", "central", "van_leer"] = "upwind"


class SteadySettings(BoxSettings):
    """Configuration of `advection_diffusion_steady`."""

    case: Literal["advection_diffusion_steady"] = "advection_diffusion_steady"
    physics: PhysicsSettings = PhysicsSettings()
    field: FieldSettings = FieldSettings()
    observations: ObservationSettings = ObservationSettings(times=(0.05,))
    training: TrainingSettings = TrainingSettings(steps=1000)


class AdvectionDiffusionSteady(BoxCase[SteadySettings]):
    """A steady velocity, never observed, from one snapshot of what it carries."""

    name: ClassVar[str] = "advection_diffusion_steady"
    summary: ClassVar[str] = "advection-diffusion in a steady flow"
    infers: ClassVar[str] = "the velocity field, from snapshots of the concentration"
    latent_figure: ClassVar[str] = "velocity"
    settings = SteadySettings

    def reference(self, settings: SteadySettings, until: float | None = None) -> Trajectories:
        """RK4 on the training grid, or on a refined one averaged down (see `Case.reference`)."""
        grid = settings.grid
        velocity_rng = random_streams(settings)[0]
        waves = [
            random_waves(*spec, grid.lower, grid.upper, grid.cells, velocity_rng)
            for spec in _VELOCITY_WAVES
        ]
        physics = settings.physics

        def model_on(fine_grid, cells):
            velocity = jnp.asarray(np.stack([wave.on_cells(cells) for wave in waves]))
            return AdvectionDiffusion(
                fine_grid, velocity, physics.diffusivity, physics.advection_scheme
            )

        return solve_reference(
            settings,
            self.name,
            model_on,
            {
                f"velocity_{name}": wave.on_cells(grid.cells)
                for name, wave in zip("xy", waves, strict=True)
            },
            variable="phi",
            attributes=_VARIABLE_ATTRIBUTES,
            default_until=_REFERENCE_UNTIL,
            until=until,
        )

    def read(self, settings: SteadySettings, path: Path) -> tuple[Trajectories, SteadySettings]:
        """A NetCDF file with dimensions (sample, time, x, y); see `Trajectories.from_netcdf`."""
        data = Trajectories.from_netcdf(path, variable=settings.data.variable or "phi")
        return data, settings.model_copy(update=settings.with_data_of(data, path))

    def model(self, settings: SteadySettings, key: PRNGKeyArray) -> AdvectionDiffusion:
        """Velocity: a SIREN, periodic where the domain is."""
        box, field = settings.grid, settings.field
        velocity = ConditionalField(
            2,
            box.lower,
            box.upper,
            periodic=tuple(name == "periodic" for name in box.boundary),
            width=field.width,
            depth=field.depth,
            omega_first=field.omega_first,
            omega=field.omega,
            key=key,
        )
        physics = settings.physics
        return AdvectionDiffusion(
            box.build(), velocity, physics.diffusivity, physics.advection_scheme
        )

    def latent_fields(self, model: HybridModel) -> dict[str, Float[np.ndarray | Array, "..."]]:
        """The two velocity components."""
        values = np.asarray(model.latent(jnp.zeros(())))
        return {"velocity_x": values[0], "velocity_y": values[1]}
