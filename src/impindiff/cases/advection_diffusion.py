"""Advection-diffusion with an unknown velocity field."""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field

from impindiff.cases.box import AXES, BoxCase, BoxSettings, random_streams, solve_reference
from impindiff.cases.configuration import StrictModel
from impindiff.cases.random_fields import RandomWaves, random_waves
from impindiff.cases.settings import (
    OF_A_FIELD,
    FieldSettings,
    NonNegative,
    ObservationSettings,
)
from impindiff.cases.training_settings import (
    AdamSettings,
    TrainingSettings,
)
from impindiff.grid import Grid
from impindiff.observations import Trajectories
from impindiff.operators import advection_diffusion
from impindiff.rollout import depends_on_time
from impindiff.steppers import HybridModel

_REFERENCE_UNTIL = 0.2
# (number of waves, largest wavenumber) of each velocity component
_VELOCITY_WAVES = ((30, 3), (15, 1), (15, 2))
_COMPONENTS = tuple(f"velocity_{axis}" for axis in AXES)
_VARIABLE_ATTRIBUTES = {
    "phi": {"long_name": "concentration", "scaling": "dimensionless"},
    **{
        f"velocity_{axis}": {"long_name": f"velocity along {axis}", "scaling": "dimensionless"}
        for axis in AXES
    },
}


class AdvectionDiffusion(HybridModel):
    """d(phi)/dt = -div(v phi) + div(D grad phi) with unknown v and known D.

    - `velocity`: a field of a component an axis (length / time), called with the grid and the time,
      or the values themselves.
    - `diffusivity`: D (length^2 / time).
    - `scheme`: of the advection operator.
    """

    grid: Grid
    velocity: Callable[[Grid, Float[Array, ""]], Array] | Float[Array, "ndim *cells"]
    diffusivity: float
    scheme: Literal["upwind", "central", "van_leer"] = "upwind"

    def latent(self, t: Float[Array, ""]) -> Float[Array, "ndim *cells"]:
        """The velocity at the cell centres."""
        return self.velocity(self.grid, t) if callable(self.velocity) else self.velocity

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


class AdvectionDiffusionSettings(BoxSettings):
    """What the configuration of both cases holds."""

    physics: PhysicsSettings = PhysicsSettings()
    field: Annotated[FieldSettings, OF_A_FIELD] = FieldSettings()


S = TypeVar("S", bound=AdvectionDiffusionSettings)


class AdvectionDiffusionCase(BoxCase[S]):
    """What the steady and the dynamic case share."""

    latent_figure: ClassVar[str] = "velocity"

    def draw_waves(self, settings: S, rng: np.random.Generator) -> list[RandomWaves]:
        """The plane waves of each component of the true velocity."""
        box = settings.grid
        return [
            random_waves(*spec, box.lower, box.upper, box.cells, rng)
            for spec in _VELOCITY_WAVES[: len(box.cells)]
        ]

    @abc.abstractmethod
    def true_velocity(self, settings: S, cells: tuple[int, ...]) -> Any:
        """The true velocity, as `AdvectionDiffusion` takes it, on the domain divided into cells."""

    def true_model(self, settings: S) -> AdvectionDiffusion:
        """See `Case.true_model`."""
        return self.true_model_on(settings, settings.grid.build(), settings.grid.cells)

    def true_model_on(self, settings: S, grid: Grid, cells: tuple[int, ...]) -> AdvectionDiffusion:
        """The same on a grid of so many cells."""
        physics = settings.physics
        return AdvectionDiffusion(
            grid, self.true_velocity(settings, cells), physics.diffusivity, physics.advection_scheme
        )

    def solve(
        self,
        settings: S,
        latent_at: Callable[[Float[np.ndarray, " times"]], list[Float[np.ndarray, "..."]]],
        default_until: float,
        until: float | None,
    ) -> Trajectories:
        """Reference data (see `solve_reference`).

        `latent_at(times)` is the true velocity's components on the training grid.
        """
        return solve_reference(
            settings,
            self.name,
            lambda grid, cells: self.true_model_on(settings, grid, cells),
            lambda times: dict(zip(_COMPONENTS, latent_at(times), strict=False)),
            variable="phi",
            attributes=_VARIABLE_ATTRIBUTES,
            default_until=default_until,
            until=until,
        )

    def read(self, settings: S, path: Path) -> tuple[Trajectories, S]:
        """A NetCDF file with dimensions (sample, time, x, y), or z as well.

        See `Trajectories.from_netcdf`.
        """
        data = Trajectories.from_netcdf(path, variable=settings.data.variable or "phi")
        return data, settings.model_copy(update=settings.with_data_of(data, path))

    def model(self, settings: S, key: PRNGKeyArray) -> AdvectionDiffusion:
        """Velocity: a SIREN, periodic where the domain is."""
        physics = settings.physics
        return AdvectionDiffusion(
            settings.grid.build(),
            self.network(settings, len(settings.grid.cells), key),
            physics.diffusivity,
            physics.advection_scheme,
        )

    def latent_fields(
        self, model: HybridModel, times: Float[np.ndarray, " times"]
    ) -> dict[str, Float[np.ndarray, "..."]]:
        """The velocity's components."""
        if depends_on_time(model, jnp.asarray(times[0])):
            velocity = np.moveaxis(np.asarray(jax.lax.map(model.latent, jnp.asarray(times))), 1, 0)
        else:
            velocity = np.asarray(model.latent(jnp.asarray(times[0])))
        return dict(zip(_COMPONENTS, velocity, strict=False))


class SteadySettings(AdvectionDiffusionSettings):
    """Configuration of `advection_diffusion_steady`."""

    case: Literal["advection_diffusion_steady"] = "advection_diffusion_steady"
    observations: ObservationSettings = ObservationSettings(times=(0.05,))
    training: TrainingSettings = AdamSettings(steps=1000)


class AdvectionDiffusionSteady(AdvectionDiffusionCase[SteadySettings]):
    """A steady velocity, never observed, from one snapshot of what it carries."""

    name: ClassVar[str] = "advection_diffusion_steady"
    summary: ClassVar[str] = "advection-diffusion in a steady flow"
    infers: ClassVar[str] = "the velocity field, from snapshots of the concentration"
    settings = SteadySettings

    def horizon(self, settings: SteadySettings) -> float:
        """See `Case.horizon`."""
        return settings.forecast.until or _REFERENCE_UNTIL

    def reference(self, settings: SteadySettings, until: float | None = None) -> Trajectories:
        """RK4 on the training grid, or on a refined one averaged down (see `Case.reference`)."""
        velocity = np.asarray(self.true_velocity(settings, settings.grid.cells))
        return self.solve(
            settings,
            lambda times: list(velocity),
            default_until=_REFERENCE_UNTIL,
            until=until,
        )

    def true_velocity(
        self, settings: SteadySettings, cells: tuple[int, ...]
    ) -> Float[Array, "ndim *cells"]:
        """See `AdvectionDiffusionCase.true_velocity`."""
        waves = self.draw_waves(settings, random_streams(settings)[0])
        return jnp.asarray(np.stack([wave.on_cells(cells) for wave in waves]))
