"""Common parts of problems on a box: settings in two and three dimensions, reference data."""

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import xarray as xr
from jaxtyping import Array, Float, PRNGKeyArray, PyTree
from pydantic import Field, model_validator

from impindiff.data import TEST, is_points, provenance
from impindiff.data.file_errors import of_file
from impindiff.errors import InputError
from impindiff.fields import ConditionalField, ModalField
from impindiff.grid import Grid, Neumann, Periodic
from impindiff.problem import Problem, Scale, box_of
from impindiff.problem.observations import initial_fields
from impindiff.problems.fields_data import fields_data
from impindiff.problems.random_fields import gaussian_random_field, periodic_modes
from impindiff.rollout import rollout
from impindiff.settings.configuration import StrictModel
from impindiff.settings.sections import (
    OF_COMPUTED_DATA,
    ComputedDataSettings,
    ModalFieldSettings,
    Positive,
    PositiveInt,
    ProblemSettings,
    ReferenceForecastSettings,
    Seed,
)
from impindiff.steppers import RK4, HybridModel
from impindiff.training import MaternPrior

_TRAINING_CORRELATION = (0.30, 0.38)
_TEST_CORRELATION = (0.1, 0.9)

AXES = ("x", "y", "z")
# defaults of the third axis
_THIRD: dict[str, Any] = {"lower": 0.0, "upper": 1.0, "boundary": "periodic"}

BoundaryKind = Literal["periodic", "zero_gradient"]
T = TypeVar("T")
PerAxis = Annotated[tuple[T, ...], Field(min_length=2, max_length=3)]


class GridSettings(StrictModel):
    """The computational domain; a file of data determines all but the boundary."""

    lower: PerAxis[float] = Field(default=(-1.0, 0.0), description="along x, y; along z 0")
    upper: PerAxis[float] = Field(default=(1.0, 1.0), description="along x, y; along z 1")
    cells: PerAxis[Annotated[int, Field(ge=4)]] = Field(
        default=(128, 64), description="two or three counts; lower, upper and boundary as many"
    )
    boundary: PerAxis[BoundaryKind] = Field(
        default=("periodic", "periodic"), description="along x, y; along z periodic"
    )

    @model_validator(mode="before")
    @classmethod
    def _third_axis(cls, given: Any) -> Any:
        """Extend defaults to three axes if there are three cell counts."""
        if not isinstance(given, Mapping):
            return given
        # a validator's result in this mode is read as Python, where a list is no tuple
        whole = {key: tuple(v) if isinstance(v, list) else v for key, v in given.items()}
        cells = whole.get("cells")
        if isinstance(cells, tuple) and len(cells) == len(AXES):
            for key, third in _THIRD.items():
                default = cls.model_fields[key].default
                if whole.get(key, default) == default:
                    whole[key] = (*default, third)
        return whole

    @model_validator(mode="after")
    def _fits(self) -> "GridSettings":
        for key in _THIRD:
            if len(getattr(self, key)) != len(self.cells):
                raise ValueError(
                    f"{key} has {len(getattr(self, key))} entries for {len(self.cells)} cell "
                    f"counts, {list(self.cells)}; give one along each axis"
                )
        if not all(a < b for a, b in zip(self.lower, self.upper, strict=True)):
            raise ValueError("lower must be below upper along each axis")
        return self

    @property
    def axes(self) -> tuple[str, ...]:
        """x, y and, in three dimensions, z."""
        return AXES[: len(self.cells)]

    def build(self, refine: int = 1) -> Grid:
        """The grid, each cell divided into `refine` along each axis."""
        kinds = {"periodic": Periodic, "zero_gradient": Neumann}
        return Grid(
            self.lower,
            self.upper,
            tuple(n * refine for n in self.cells),
            boundary=tuple(kinds[name]() for name in self.boundary),
        )


class TruthSettings(StrictModel):
    """The reference data."""

    seed: Seed = Field(default=0, description="seed of the latent and the initial fields")
    dt: Positive = Field(default=1e-3, description="step of RK4")
    refine: Literal[1, 2, 4] = Field(
        default=1, description="solve on a grid refined by this factor and average down"
    )
    training_samples: PositiveInt = 5
    test_samples: PositiveInt = 5


class BoxSettings(ProblemSettings):
    """Configuration shared by problems on a box."""

    # frozen, so narrower types are sound
    data: ComputedDataSettings = ComputedDataSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    grid: GridSettings = GridSettings()
    truth: Annotated[TruthSettings, OF_COMPUTED_DATA] = TruthSettings()  # pyright: ignore[reportIncompatibleVariableOverride]
    forecast: ReferenceForecastSettings = ReferenceForecastSettings()  # pyright: ignore[reportIncompatibleVariableOverride]

    def test_indices(self) -> list[int]:
        """Indices of the test samples, which follow the training samples."""
        first = self.truth.training_samples
        return list(range(first, first + self.truth.test_samples))

    def periodic(self) -> tuple[bool, ...]:
        """Marks of the axes along which the domain is periodic."""
        return tuple(name == "periodic" for name in self.grid.boundary)

    def grid_of(self, dataset: xr.Dataset) -> GridSettings:
        """The grid whose cell centres are the places of the data in a file."""
        path = self.data.path
        assert path is not None
        with of_file(path):
            lower, upper, cells = box_of(dataset)
        sizes: dict[str, Any] = {"lower": lower, "upper": upper, "cells": cells}
        boundary, axes = self.grid.boundary, len(cells)
        if boundary == ("periodic", "periodic"):  # the default, with one entry per axis
            boundary = ("periodic",) * axes
        usual = type(self).model_fields["grid"].default.cells
        if self.grid.cells not in (usual, cells):
            raise InputError(
                f"grid.cells: is {list(self.grid.cells)}, and the data in {path} have "
                f"{list(cells)}, which are taken; leave grid.cells out"
            )
        if len(boundary) != axes:
            raise InputError(
                f"grid.boundary: has {len(boundary)} entries, {list(boundary)}, and the data in "
                f"{path} have {axes} axes of space; give one for each"
            )
        return GridSettings(**sizes, boundary=boundary)


B = TypeVar("B", bound=BoxSettings)


class BoxProblem(Problem[B]):
    """A problem on a box with one quantity, observed as whole fields or by sensors in them.

    - `variable`: the quantity, which is the state.
    - `latent_names`: names of the true latent fields in the data.
    - `reference_until`: default end of the reference.
    """

    variable: ClassVar[str]
    latent_names: ClassVar[tuple[str, ...]]
    reference_until: ClassVar[float]
    quick: ClassVar[Mapping[str, Any]] = {"grid": {"cells": [64, 32]}}
    goes_on = True

    def data(self, settings: B) -> xr.Dataset:
        """The dataset; from a file, only the variables of this problem."""
        dataset = super().data(settings)
        if is_points(dataset):  # `configured` refuses these, since they have no grid
            return dataset
        if self.variable not in dataset:
            names = ", ".join(map(str, dataset.data_vars))
            raise InputError(
                f"{settings.data.path}: has no variable '{self.variable}'; it has {names}; say "
                f"which is meant by data.variables={{NAME: {self.variable}}}"
            )
        known = [n for n in (self.variable, *self.latent_names, TEST) if n in dataset]
        return dataset[known]

    def configured(self, settings: B, data: xr.Dataset) -> B:
        """The settings with the grid of a data file."""
        if settings.data.path is None:
            return settings
        return settings.model_copy(update={"grid": settings.grid_of(data)})

    def initial_state(
        self, settings: B, model: HybridModel, data: xr.Dataset | None = None
    ) -> Float[Array, "sample *cells"]:
        """The first field of the data."""
        data = self.data(settings) if data is None else data
        grid: Any = getattr(model, "grid", None)
        fields = initial_fields(data, grid, [self.variable], settings.observations.start)
        return jnp.asarray(fields[self.variable])

    @property
    def starts_from_data(self) -> bool:
        """Always true."""
        return True

    def quantities(self, u: PyTree[Any]) -> Mapping[str, Any]:
        """The state under the name `variable`."""
        return {self.variable: u}

    def truths(self, settings: B) -> dict[str, float]:
        """Empty: the unknown is a field."""
        del settings
        return {}

    def conditioning(self, settings: B) -> dict[str, Any]:
        """Arguments of the field for its dependence on time; by default none."""
        del settings
        return {}

    def horizon(self, settings: B) -> float:
        """End of the reference data."""
        return settings.forecast.until or self.reference_until

    def scale(self, settings: B, until: float | None = None) -> Scale:
        """Sizes of the reference data."""
        box, truth = settings.grid, settings.truth
        until = self.horizon(settings) if until is None else until
        outputs = until / settings.forecast.every
        observed = settings.observations.times or ()
        times = outputs + len(observed) + 1
        shortest = min(_TRAINING_CORRELATION + _TEST_CORRELATION)
        lengths = (b - a for a, b in zip(box.lower, box.upper, strict=True))
        return Scale(
            cells=box.cells,
            refine=truth.refine,
            fields=1 + len(box.cells),
            training=truth.training_samples,
            samples=truth.training_samples + truth.test_samples,
            times=times,
            steps=until / truth.dt + times,
            observed=len(observed) or math.ceil(min(times, 1e18)),
            last=max(observed, default=until),
            modes=math.prod(2 * periodic_modes(shortest, length) + 1 for length in lengths),
            advice={
                "refine": "lower truth.refine",
                "samples": "lower truth.training_samples or truth.test_samples",
                "times": "raise forecast.every or lower forecast.until",
                "steps": "raise truth.dt or lower forecast.until",
                "modes": "bring grid.lower and grid.upper closer",
            },
        )

    def field(
        self, settings: Any, components: int, key: PRNGKeyArray
    ) -> ConditionalField | ModalField:
        """A fresh field by `settings.field`, periodic where the domain is; a network is a SIREN."""
        box, field = settings.grid, settings.field
        if isinstance(field, ModalFieldSettings):
            periodic = settings.periodic()
            return ModalField(
                components,
                box.lower,
                box.upper,
                periodic=periodic,
                modes=field.modes,
                **self.conditioning(settings),
            )
        return ConditionalField(
            components,
            box.lower,
            box.upper,
            periodic=settings.periodic(),
            width=field.width,
            depth=field.depth,
            omega_first=field.omega_first,
            omega=field.omega,
            **self.conditioning(settings),
            key=key,
        )

    def field_prior(
        self, settings: Any, components: int, where: Callable[[Any], ModalField]
    ) -> MaternPrior | None:
        """The prior of a field of kind modes that `where` selects, for an optimiser to choose."""
        field = settings.field
        chosen = settings.training.optimizer == "empirical_bayes"
        if not (chosen and isinstance(field, ModalFieldSettings)):
            return None
        like = self.field(settings, components, jax.random.key(0))
        assert isinstance(like, ModalField)
        return MaternPrior(where, like, deviation=field.deviation)


def random_streams(settings: BoxSettings) -> list[np.random.Generator]:
    """Random generators for latent fields, training samples and test samples.

    They are separate, so adding a sample changes no other field.
    """
    return list(map(np.random.default_rng, np.random.SeedSequence(settings.truth.seed).spawn(3)))


def solve_reference(
    settings: BoxSettings,
    name: str,
    model_on: Callable[[Grid, tuple[int, ...]], HybridModel],
    latent_at: Callable[[Float[np.ndarray, " times"]], dict[str, Float[np.ndarray, "..."]]],
    *,
    variable: str,
    attributes: dict[str, dict[str, str]],
    default_until: float,
    until: float | None,
) -> xr.Dataset:
    """Solve by RK4 from random initial fields, on the training grid or a refined one averaged down.

    `model_on(grid, cells)` is the true model on the (refined) grid; `latent_at(times)` gives its
    fields on the training grid, (*cells) or, if they change, (time, *cells). `until` overrides the
    end set by the settings or `default_until`.
    """
    truth, grid = settings.truth, settings.grid
    if not all(settings.periodic()):
        raise InputError(
            f"grid.boundary: the reference data are periodic, got {list(grid.boundary)}; "
            "another boundary needs a data file (data.path)"
        )
    _, training_rng, test_rng = random_streams(settings)
    fine = tuple(n * truth.refine for n in grid.cells)
    lengths = [
        (training_rng, np.linspace(*_TRAINING_CORRELATION, truth.training_samples)),
        (test_rng, np.linspace(*_TEST_CORRELATION, truth.test_samples)),
    ]
    initial = np.stack(
        [
            gaussian_random_field(length, grid.lower, grid.upper, grid.cells, rng).on_cells(fine)
            for rng, of_set in lengths
            for length in of_set
        ]
    )
    observed = settings.observations.times or ()
    if until is None:
        until = settings.forecast.until or default_until
    else:  # data that end here have no observations later
        observed = tuple(t for t in observed if t <= until)
    times = output_times(until, settings.forecast.every, observed)
    with jax.enable_x64(True):
        model = model_on(grid.build(truth.refine), fine)
        result = rollout(model, initial, times, stepper=RK4(), dt=truth.dt, throw=False)
        field = np.moveaxis(np.asarray(result.u), 0, 1)
    if not np.isfinite(field).all():
        raise InputError(
            f"truth.dt: the reference solution blew up with RK4 at dt = {truth.dt:g} on "
            f"{' x '.join(map(str, fine))} cells; try a smaller truth.dt"
        )
    axes = grid.build()
    return fields_data(
        {variable: _averaged(field, truth.refine)},
        times,
        {name: axes.axis_centers(i) for i, name in enumerate(grid.axes)},
        test=settings.test_indices(),
        latent=latent_at(times),
        attrs=provenance(
            f"Reference data of {name}",
            f"RK4, dt = {truth.dt:g}, {' x '.join(map(str, fine))} cells"
            + (", averaged down" if truth.refine > 1 else ""),
            settings.model_dump(mode="json"),
        ),
        variable_attrs={
            axis: {"long_name": axis, "scaling": "dimensionless"} for axis in (*grid.axes, "time")
        }
        | attributes,
    )


def output_times(
    until: float, every: float, observed: tuple[float, ...]
) -> Float[np.ndarray, " times"]:
    """0, every, 2 every, ..., until, and the observation times among them, each once.

    **Raises:** `InputError` for an observation after `until`.
    """
    late = [t for t in observed if t > until * (1 + 1e-9)]
    if late:
        raise InputError(
            f"observations.times: {late[0]:g} is after the end of the reference data at "
            f"{until:g}; raise forecast.until or observe earlier"
        )
    count = int(np.floor(until / every * (1 + 1e-9)))
    merged = np.sort(np.concatenate([np.arange(count + 1) * every, [until], observed]))
    # merge times that differ by round-off only
    return merged[np.append(True, np.diff(merged) > 1e-9 * until)]


def _averaged(
    field: Float[np.ndarray, "sample time *fine"], refine: int
) -> Float[np.ndarray, "sample time *cells"]:
    samples, times, *fine = field.shape
    blocks = field.reshape(samples, times, *(m for n in fine for m in (n // refine, refine)))
    return blocks.mean(axis=tuple(range(3, blocks.ndim, 2)))
