"""Advection-diffusion with an unknown velocity field."""

import abc
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field

from impindiff.grid import Grid
from impindiff.operators import advection_diffusion
from impindiff.problems.box import AXES, BoxProblem, BoxSettings, random_streams, solve_reference
from impindiff.problems.random_fields import RandomWaves, random_waves
from impindiff.settings.configuration import StrictModel
from impindiff.settings.sections import (
    OF_A_FIELD,
    AnyFieldSettings,
    FieldSettings,
    NonNegative,
    ObservationSettings,
)
from impindiff.settings.training import (
    AdamSettings,
    TrainingSettings,
)
from impindiff.steppers import HybridModel
from impindiff.training import MaternPrior

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

    - `velocity`: a field with one component per axis (length / time), called with the grid and the
      time, or an array of values.
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
    """Known physical parameters."""

    diffusivity: NonNegative = Field(default=1e-3, description="D, in length^2 / time")
    advection_scheme: Literal["upwind", "central", "van_leer"] = "upwind"


class AdvectionDiffusionSettings(BoxSettings):
    """Configuration shared by the steady and the dynamic problem."""

    physics: PhysicsSettings = PhysicsSettings()
    field: Annotated[AnyFieldSettings, OF_A_FIELD] = FieldSettings()


S = TypeVar("S", bound=AdvectionDiffusionSettings)


class AdvectionDiffusionProblem(BoxProblem[S]):
    """Common part of the steady and the dynamic problem."""

    variable = "phi"
    latent_names = _COMPONENTS
    latent_figure: ClassVar[str] = "velocity"
    labels: ClassVar[Mapping[str, str]] = {
        "velocity.png": "The velocity, inferred and true, and the difference",
        **{f"velocity_{axis}": f"velocity, {axis}" for axis in "xyz"},
    }
    # the equation is linear: the fewest iterations that converge to the tolerance
    tuned: ClassVar[Mapping[str, Mapping[str, Any] | str]] = {
        "unrolled": {"solver": {"max_iterations": 1, "max_krylov_iterations": 16}}
    }

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
        """The model with the true velocity."""
        return self.true_model_on(settings, settings.grid.build(), settings.grid.cells)

    def true_model_on(self, settings: S, grid: Grid, cells: tuple[int, ...]) -> AdvectionDiffusion:
        """The model with the true velocity on a grid of the given number of cells."""
        physics = settings.physics
        return AdvectionDiffusion(
            grid, self.true_velocity(settings, cells), physics.diffusivity, physics.advection_scheme
        )

    def solve(
        self,
        settings: S,
        latent_at: Callable[[Float[np.ndarray, " times"]], list[Float[np.ndarray, "..."]]],
        until: float | None,
    ) -> xr.Dataset:
        """Compute reference data (see `solve_reference`).

        `latent_at(times)` is the true velocity's components on the training grid.
        """
        return solve_reference(
            settings,
            self.name,
            lambda grid, cells: self.true_model_on(settings, grid, cells),
            lambda times: dict(zip(_COMPONENTS, latent_at(times), strict=False)),
            variable=self.variable,
            attributes=_VARIABLE_ATTRIBUTES,
            default_until=self.reference_until,
            until=until,
        )

    def model(self, settings: S, key: PRNGKeyArray) -> AdvectionDiffusion:
        """The model with a field for its velocity, by default a SIREN."""
        physics = settings.physics
        return AdvectionDiffusion(
            settings.grid.build(),
            self.field(settings, len(settings.grid.cells), key),
            physics.diffusivity,
            physics.advection_scheme,
        )

    def prior(self, settings: S) -> MaternPrior | None:
        """The prior of a velocity of kind modes, for an optimiser that chooses it."""
        return self.field_prior(settings, len(settings.grid.cells), _velocity)

    def latent_fields(
        self, model: HybridModel, t: Float[Array, ""]
    ) -> dict[str, Float[Array, "*cells"]]:
        """The velocity's components."""
        return dict(zip(_COMPONENTS, model.latent(t), strict=False))


def _velocity(model: Any) -> Any:
    return model.velocity


class SteadySettings(AdvectionDiffusionSettings):
    """Configuration of `advection_diffusion_steady`."""

    problem: Literal["advection_diffusion_steady"] = "advection_diffusion_steady"  # pyright: ignore[reportIncompatibleVariableOverride]
    observations: ObservationSettings = ObservationSettings(times=(0.05,))
    training: TrainingSettings = AdamSettings(steps=1000)


class AdvectionDiffusionSteady(AdvectionDiffusionProblem[SteadySettings]):
    """Advection-diffusion in a steady flow."""

    name = "advection_diffusion_steady"
    infers: ClassVar[str] = "the velocity field, from snapshots of the concentration"
    settings = SteadySettings
    reference_until = 0.2
    # errors are compared at multiples of this time
    compared_every = 0.025

    def reference(self, settings: SteadySettings, until: float | None = None) -> xr.Dataset:
        """Solve by RK4 on the training grid, or on a refined one averaged down."""
        velocity = np.asarray(self.true_velocity(settings, settings.grid.cells))
        return self.solve(settings, lambda times: list(velocity), until)

    def true_velocity(
        self, settings: SteadySettings, cells: tuple[int, ...]
    ) -> Float[Array, "ndim *cells"]:
        """The true velocity on the domain divided into cells."""
        waves = self.draw_waves(settings, random_streams(settings)[0])
        return jnp.asarray(np.stack([wave.on_cells(cells) for wave in waves]))
