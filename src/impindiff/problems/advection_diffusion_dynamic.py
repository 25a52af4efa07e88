"""Advection-diffusion with an unknown velocity field that changes in time."""

from typing import Annotated, Any, ClassVar, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float
from pydantic import Field

from impindiff.fields import TimeBasis
from impindiff.grid import Grid
from impindiff.problems.advection_diffusion import (
    AdvectionDiffusionProblem,
    AdvectionDiffusionSettings,
)
from impindiff.problems.box import random_streams
from impindiff.problems.moving_waves import MovingWaves
from impindiff.settings.sections import (
    OF_A_FIELD,
    FieldSettings,
    ModalFieldSettings,
    NonNegative,
    ObservationSettings,
    Positive,
)
from impindiff.settings.steps import (
    AdjointSettings,
    ImplicitAdjointSettings,
    NewtonKrylovSettings,
    SolverSettings,
)
from impindiff.settings.training import (
    MuonSettings,
    TrainingSettings,
)
from impindiff.training import SlowChange


class MovingVelocity(eqx.Module):
    """The true velocity: one component of travelling waves per axis."""

    components: tuple[MovingWaves, ...]

    def __call__(self, grid: Grid, t: Float[Array, ""]) -> Float[Array, "ndim *cells"]:
        """Evaluate at the cells of `grid`, for which the waves were made."""
        del grid
        return jnp.stack([component(t) for component in self.components])


class DynamicFieldSettings(FieldSettings):
    """The neural field and its dependence on time (see `ConditionalField`, `TimeBasis`)."""

    conditioning: Literal["last_layer", "modulation", "hypernetwork"] = Field(
        default="last_layer", description="how time enters the network"
    )
    time_basis: Literal["chebyshev", "fourier"] = Field(
        default="chebyshev", description="functions of time"
    )
    time_order: int = Field(default=6, ge=1, le=1000, description="highest degree, or harmonic")
    time_damping: float = Field(
        default=0.5, gt=0, le=1, description="factor per order: below 1, a prior for slow change"
    )
    smoothness: NonNegative = Field(
        default=0.0,
        description="weight of a prior against fast change, such as 1e-5 (`SlowChange`)",
    )
    time_end: Positive = Field(
        default=0.4,
        description="the functions of time span 0 to this; let it cover the forecast",
    )


class DynamicModalFieldSettings(ModalFieldSettings):
    """The unknown field as a sum of smooth functions of place and time (see `ModalField`)."""

    time_modes: Annotated[int, Field(ge=2, le=100)] = Field(
        default=6, description="functions of time for each function of place"
    )
    time_end: Positive = Field(
        default=0.4,
        description="the functions of time span 0 to this; let it cover the forecast",
    )


class DynamicSettings(AdvectionDiffusionSettings):
    """Configuration of `advection_diffusion_dynamic`."""

    problem: Literal["advection_diffusion_dynamic"] = "advection_diffusion_dynamic"  # pyright: ignore[reportIncompatibleVariableOverride]
    # frozen, so a narrower type is sound
    field: Annotated[  # pyright: ignore[reportIncompatibleVariableOverride]
        Annotated[DynamicFieldSettings | DynamicModalFieldSettings, Field(discriminator="kind")],
        OF_A_FIELD,
    ] = DynamicFieldSettings()
    observations: ObservationSettings = ObservationSettings(
        times=(0.05, 0.102, 0.15, 0.201, 0.25, 0.298, 0.35)
    )
    solver: SolverSettings = NewtonKrylovSettings(rtol=1e-5)
    adjoint: AdjointSettings = ImplicitAdjointSettings(rtol=1e-5)
    training: TrainingSettings = MuonSettings(steps=600, learning_rate=3e-3)


class AdvectionDiffusionDynamic(AdvectionDiffusionProblem[DynamicSettings]):
    """Advection-diffusion in a flow that changes in time."""

    name = "advection_diffusion_dynamic"
    infers: ClassVar[str] = "the velocity field over time, from snapshots of the concentration"
    settings = DynamicSettings
    reference_until = 0.4
    # errors are compared at multiples of this time
    compared_every = 0.05

    def reference(self, settings: DynamicSettings, until: float | None = None) -> xr.Dataset:
        """Solve by RK4 on the training grid, or on a refined one averaged down."""

        def latent_at(times: Float[np.ndarray, " times"]) -> list[Float[np.ndarray, "time *cells"]]:
            with jax.enable_x64(True):
                components = self.true_velocity(settings, settings.grid.cells).components
                return [np.asarray(jax.lax.map(one, jnp.asarray(times))) for one in components]

        return self.solve(settings, latent_at, until)

    def true_velocity(self, settings: DynamicSettings, cells: tuple[int, ...]) -> MovingVelocity:
        """The true velocity on the domain divided into `cells`."""
        rng = random_streams(settings)[0]
        waves = self.draw_waves(settings, rng)
        rates = [rng.uniform(-1.0, 1.0, len(wave.amplitudes)) for wave in waves]
        return MovingVelocity(
            tuple(
                MovingWaves.on_grid(wave, rate, cells, settings.grid.cells)
                for wave, rate in zip(waves, rates, strict=True)
            )
        )

    def penalty(self, settings: DynamicSettings) -> SlowChange | None:
        """A prior for slow change of a network, if it has a weight."""
        field = settings.field
        if isinstance(field, DynamicModalFieldSettings) or not field.smoothness:
            return None
        return SlowChange(field.smoothness, field.time_end)

    def conditioning(self, settings: DynamicSettings) -> dict[str, Any]:
        """Arguments of the field for the dependence on time."""
        field = settings.field
        if isinstance(field, DynamicModalFieldSettings):
            return {"time": (0.0, field.time_end), "time_modes": field.time_modes}
        return {
            "conditioning": field.conditioning,
            "time": TimeBasis(
                0.0,
                field.time_end,
                order=field.time_order,
                kind=field.time_basis,
                damping=field.time_damping,
            ),
        }
