"""Advection-diffusion with an unknown velocity field."""

from pathlib import Path
from typing import Annotated, ClassVar, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field, model_validator

from impindiff.cases.case import Case
from impindiff.cases.configuration import StrictModel
from impindiff.cases.random_fields import gaussian_random_field, random_waves
from impindiff.cases.settings import (
    CaseSettings,
    FieldSettings,
    NonNegative,
    ObservationSettings,
    Positive,
    PositiveInt,
    Seed,
    TrainingSettings,
)
from impindiff.errors import InputError
from impindiff.fields import ConditionalField
from impindiff.grid import Grid, Neumann, Periodic
from impindiff.observations import Trajectories, provenance
from impindiff.operators import advection_diffusion
from impindiff.rollout import rollout
from impindiff.steppers import RK4, HybridModel

_REFERENCE_UNTIL = 0.2
_TRAINING_CORRELATION = (0.30, 0.38)
_HELD_OUT_CORRELATION = (0.1, 0.9)
# (number of waves, largest wavenumber) of each velocity component
_VELOCITY_WAVES = ((30, 3), (15, 1))
_VARIABLE_ATTRIBUTES = {
    "phi": {"long_name": "concentration", "scaling": "dimensionless"},
    "velocity_x": {"long_name": "velocity along x", "scaling": "dimensionless"},
    "velocity_y": {"long_name": "velocity along y", "scaling": "dimensionless"},
    "x": {"long_name": "x", "scaling": "dimensionless"},
    "y": {"long_name": "y", "scaling": "dimensionless"},
    "time": {"long_name": "time", "scaling": "dimensionless"},
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


BoundaryKind = Literal["periodic", "zero_gradient"]


class GridSettings(StrictModel):
    """The computational domain; a file of one's own determines all but the boundary."""

    lower: tuple[float, float] = (-1.0, 0.0)
    upper: tuple[float, float] = (1.0, 1.0)
    cells: tuple[Annotated[int, Field(ge=4)], Annotated[int, Field(ge=4)]] = (128, 64)
    boundary: tuple[BoundaryKind, BoundaryKind] = ("periodic", "periodic")

    @model_validator(mode="after")
    def _ordered(self) -> "GridSettings":
        if not all(a < b for a, b in zip(self.lower, self.upper, strict=True)):
            raise ValueError("lower must be below upper along each axis")
        return self

    def build(self, refine: int = 1) -> Grid:
        """The grid, each cell divided into `refine` along each axis."""
        kinds = {"periodic": Periodic, "zero_gradient": Neumann}
        return Grid(
            self.lower,
            self.upper,
            tuple(n * refine for n in self.cells),
            boundary=tuple(kinds[name]() for name in self.boundary),
        )


class PhysicsSettings(StrictModel):
    """What is known."""

    diffusivity: NonNegative = Field(default=1e-3, description="D, in length^2 / time")
    advection_scheme: Literal["upwind", "central", "van_leer"] = "upwind"


class TruthSettings(StrictModel):
    """The reference data."""

    seed: Seed = Field(default=0, description="of the velocity and the initial fields")
    dt: Positive = Field(default=1e-3, description="step of RK4")
    refine: Literal[1, 2, 4] = Field(
        default=1, description="solve on a grid refined so many times and average down to cells"
    )
    training_samples: PositiveInt = 5
    held_out_samples: PositiveInt = 5


class SteadySettings(CaseSettings):
    """Configuration of `advection_diffusion_steady`."""

    case: Literal["advection_diffusion_steady"] = "advection_diffusion_steady"
    grid: GridSettings = GridSettings()
    physics: PhysicsSettings = PhysicsSettings()
    truth: TruthSettings = TruthSettings()
    field: FieldSettings = FieldSettings()
    observations: ObservationSettings = ObservationSettings(times=(0.05,))
    training: TrainingSettings = TrainingSettings(steps=1000)


class AdvectionDiffusionSteady(Case[SteadySettings]):
    """A steady velocity, never observed, from one snapshot of what it carries."""

    name: ClassVar[str] = "advection_diffusion_steady"
    summary: ClassVar[str] = "advection-diffusion in a steady flow"
    infers: ClassVar[str] = "the velocity field, from snapshots of the concentration"
    settings = SteadySettings

    def reference(self, settings: SteadySettings, until: float | None = None) -> Trajectories:
        """RK4 on the training grid, or on a refined one averaged down (see `Case.reference`)."""
        truth, grid = settings.truth, settings.grid
        if grid.boundary != ("periodic", "periodic"):
            raise InputError(
                f"grid.boundary: the reference data are periodic, got {list(grid.boundary)}; "
                "another boundary needs data of your own (data.path)"
            )
        box = (grid.lower, grid.upper)
        # One stream each: adding a sample changes no other field, and none is shared.
        velocity_rng, training_rng, held_out_rng = map(
            np.random.default_rng, np.random.SeedSequence(truth.seed).spawn(3)
        )
        fine = tuple(n * truth.refine for n in grid.cells)
        waves = [random_waves(*spec, *box, grid.cells, velocity_rng) for spec in _VELOCITY_WAVES]
        lengths = [
            (training_rng, np.linspace(*_TRAINING_CORRELATION, truth.training_samples)),
            (held_out_rng, np.linspace(*_HELD_OUT_CORRELATION, truth.held_out_samples)),
        ]
        initial = np.stack(
            [
                gaussian_random_field(length, *box, grid.cells, rng).on_cells(fine)
                for rng, of_set in lengths
                for length in of_set
            ]
        )
        observed = settings.observations.times
        if until is None:
            until = settings.forecast.until or _REFERENCE_UNTIL
        else:  # a forecast's own end: it has no need of the observations beyond
            observed = tuple(t for t in observed if t <= until)
        times = output_times(until, settings.forecast.every, observed)
        with jax.enable_x64(True):
            model = AdvectionDiffusion(
                settings.grid.build(truth.refine),
                jnp.asarray(np.stack([wave.on_cells(fine) for wave in waves])),
                settings.physics.diffusivity,
                settings.physics.advection_scheme,
            )
            result = rollout(model, initial, times, stepper=RK4(), dt=truth.dt, throw=False)
            field = np.moveaxis(np.asarray(result.u), 0, 1)
        if not np.isfinite(field).all():
            raise InputError(
                f"truth.dt: the reference solution blew up with RK4 at dt = {truth.dt:g} on "
                f"{fine[0]} x {fine[1]} cells; try a smaller truth.dt"
            )
        axes = settings.grid.build()
        return Trajectories(
            field=_averaged(field, truth.refine),
            times=times,
            coordinates={name: axes.axis_centers(i) for i, name in enumerate(("x", "y"))},
            latent={
                f"velocity_{name}": wave.on_cells(grid.cells)
                for name, wave in zip("xy", waves, strict=True)
            },
            attrs=provenance(
                "Reference data of advection_diffusion_steady",
                f"RK4, dt = {truth.dt:g}, {fine[0]} x {fine[1]} cells"
                + (", averaged down" if truth.refine > 1 else ""),
                settings.model_dump(mode="json"),
            ),
            variable_attrs=_VARIABLE_ATTRIBUTES,
        )

    def held_out(self, settings: SteadySettings) -> list[int]:
        """The samples after the training samples."""
        first = settings.truth.training_samples
        return list(range(first, first + settings.truth.held_out_samples))

    def read(self, settings: SteadySettings, path: Path) -> tuple[Trajectories, SteadySettings]:
        """A NetCDF file with dimensions (sample, time, x, y); see `Trajectories.from_netcdf`."""
        data = Trajectories.from_netcdf(path, variable=settings.data.variable)
        grid = {
            "lower": data.lower,
            "upper": data.upper,
            "cells": data.cells,
            "boundary": settings.grid.boundary,
        }
        # absolute, so that the run can be resumed and forecast from any folder
        own = settings.data.model_copy(update={"path": path.absolute()})
        return data, settings.model_copy(update={"grid": GridSettings(**grid), "data": own})

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


def output_times(
    until: float, every: float, observed: tuple[float, ...]
) -> Float[np.ndarray, " times"]:
    """0, every, 2 every, ..., until, and the observation times among them, each once.

    Raises `InputError` for an observation after `until`.
    """
    late = [t for t in observed if t > until * (1 + 1e-9)]
    if late:
        raise InputError(
            f"observations.times: {late[0]:g} is after the end of the reference data at "
            f"{until:g}; raise forecast.until or observe earlier"
        )
    count = int(np.floor(until / every * (1 + 1e-9)))
    merged = np.sort(np.concatenate([np.arange(count + 1) * every, [until], observed]))
    # the same time reached by two roads differs by rounding
    return merged[np.append(True, np.diff(merged) > 1e-9 * until)]


def _averaged(
    field: Float[np.ndarray, "sample time fine_x fine_y"], refine: int
) -> Float[np.ndarray, "sample time x y"]:
    samples, times, nx, ny = field.shape
    blocks = field.reshape(samples, times, nx // refine, refine, ny // refine, refine)
    return blocks.mean(axis=(3, 5))
