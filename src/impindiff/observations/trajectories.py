"""Trajectories of a field on a grid: the data a model is trained on, and their NetCDF layout."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.errors import InputError
from impindiff.observations.checks import (
    require_even_spacing,
    require_finite,
    require_times,
    same_places,
    shortest,
)
from impindiff.observations.file_errors import listed
from impindiff.observations.layout import coordinate_variables, described
from impindiff.observations.packing import meant
from impindiff.observations.whole_file import write_netcdf


@dataclasses.dataclass(frozen=True)
class Trajectories:
    """Samples of a field followed in time on a uniform grid, with the true latent fields if known.

    The NetCDF layout has dimensions (`sample`, `time`, then one to three of space), one variable
    with all of them, coordinates `time` and one of cell centres per axis of space, and optional
    variables: latent ones with the dimensions of space only, or of time and space; other fields of
    the state, with all dimensions; and conditions, numbers with dimension `sample`. The first time
    is the initial state.

    **Arguments:**

    - `field`: the measured variable, `(sample, time, *space)`.
    - `times`: when; increasing, spacing as it comes.
    - `coordinates`: the cell centres along each axis of space, by the dimension's name, in order.
    - `variable`: the variable's name in a file.
    - `latent`: true latent fields by name, `(*space)` or, if they change, `(time, *space)`; empty
      if unknown.
    - `attrs`: provenance of the whole (see `provenance`).
    - `variable_attrs`: `long_name` and `units` or `scaling`, by name of variable or coordinate.
    - `others`: further fields of the state, `(sample, time, *space)`, by name.
    - `conditions`: what differs from sample to sample beside the initial state, `(sample,)`.

    **Raises:** `InputError` for values that are not finite, times that do not increase, cells that
    are not evenly spaced, shapes that do not agree, no sample, fewer than 2 times or 2 cells along
    an axis.
    """

    # Shapes that disagree are the user's mistake and refused below, so the types leave them open.
    field: Float[np.ndarray, "..."]
    times: Float[np.ndarray, " time"]
    coordinates: dict[str, Float[np.ndarray, " _"]]
    variable: str = "phi"
    latent: dict[str, Float[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)
    attrs: dict[str, Any] = dataclasses.field(default_factory=dict)
    variable_attrs: dict[str, dict[str, Any]] = dataclasses.field(default_factory=dict)
    others: dict[str, Float[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)
    conditions: dict[str, Float[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        require_times(self.times)
        for name, centres in self.coordinates.items():
            require_even_spacing(name, centres)
        expected = (len(self.times), *self.cells)
        if self.field.shape[1:] != expected or len(self.field) == 0:
            raise InputError(
                f"variable '{self.variable}' has shape {self.field.shape}; expected (samples, at "
                f"least 1) then (time, {', '.join(self.space)}) = {expected}"
            )
        for name, values in self.latent.items():
            if values.shape not in (self.cells, expected):
                raise InputError(
                    f"variable '{name}' has shape {values.shape}; a true latent field has "
                    f"dimensions ({', '.join(self.space)}) = {self.cells}, or time before them: "
                    f"{expected}"
                )
            require_finite(name, values, self.latent_dimensions(name))
        require_finite(self.variable, self.field, self.dimensions)
        for dimensions, fields in ((self.dimensions, self.others), (("sample",), self.conditions)):
            expected = self.field.shape[: len(dimensions)]
            for name, values in fields.items():
                if values.shape != expected:
                    raise InputError(
                        f"variable '{name}' has shape {values.shape}; expected "
                        f"({', '.join(dimensions)}) = {expected}, as '{self.variable}' has it"
                    )
                require_finite(name, values, dimensions)

    @property
    def space(self) -> tuple[str, ...]:
        """The names of the dimensions of space."""
        return tuple(self.coordinates)

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The names of the field's dimensions."""
        return ("sample", "time", *self.space)

    def latent_dimensions(self, name: str) -> tuple[str, ...]:
        """The names of the dimensions of a latent field: of space, after time if it changes."""
        steady = self.latent[name].ndim == len(self.space)
        return self.space if steady else ("time", *self.space)

    @property
    def cells(self) -> tuple[int, ...]:
        """The number of cells along each axis."""
        return tuple(len(centres) for centres in self.coordinates.values())

    @property
    def cell_size(self) -> tuple[float, ...]:
        """The width of a cell along each axis, from the coordinates."""
        return tuple(float(c[-1] - c[0]) / (len(c) - 1) for c in self.coordinates.values())

    @property
    def lower(self) -> tuple[float, ...]:
        """The domain's lower bound along each axis: half a cell below the first centre."""
        sizes = zip(self.coordinates.values(), self.cell_size, strict=True)
        return tuple(float(c[0]) - 0.5 * h for c, h in sizes)

    @property
    def upper(self) -> tuple[float, ...]:
        """The domain's upper bound along each axis: half a cell above the last centre."""
        sizes = zip(self.coordinates.values(), self.cell_size, strict=True)
        return tuple(float(c[-1]) + 0.5 * h for c, h in sizes)

    def index_of_times(self, times: Sequence[float]) -> list[int]:
        """Where the given times stand among the data's.

        **Raises:** `InputError` for a time at which there are no data, naming the nearest.
        """
        indices = []
        interval = shortest(self.times)
        for time in times:
            nearest = int(np.argmin(np.abs(self.times - time)))
            if not same_places(self.times[nearest], time, interval):
                raise InputError(
                    f"observations.times: there are no data at {time:g}; the {len(self.times)} "
                    f"times go from {self.times[0]:g} to {self.times[-1]:g} and the nearest is "
                    f"{self.times[nearest]:.12g}"
                )
            indices.append(nearest)
        return indices

    def split(self, held_out: Sequence[int]) -> tuple[list[int], list[int]]:
        """The indices of the samples to train on, and of those kept back.

        **Raises:** `InputError` for an index out of range or given twice, and if no sample is left
        to train on.
        """
        samples = len(self.field)
        for index in held_out:
            if not 0 <= index < samples:
                raise InputError(
                    f"data.held_out: there is no sample {index}; the {samples} samples are "
                    f"numbered 0 to {samples - 1}"
                )
        if len(set(held_out)) != len(held_out):
            raise InputError(f"data.held_out: a sample is given twice in {list(held_out)}")
        if len(held_out) == samples:
            raise InputError(
                f"data.held_out: {list(held_out)} keeps back all {samples} sample(s); leave at "
                f"least one to train on"
            )
        return [i for i in range(samples) if i not in held_out], list(held_out)

    def to_dataset(self) -> xr.Dataset:
        """The layout above; each variable and coordinate has `long_name`, `units` or `scaling`."""
        variables = {
            self.variable: (self.dimensions, self.field),
            **{name: (self.dimensions, values) for name, values in self.others.items()},
            **{name: (self.latent_dimensions(name), v) for name, v in self.latent.items()},
            **{name: (("sample",), values) for name, values in self.conditions.items()},
        }
        return xr.Dataset(
            {
                name: (*entry, described(name, name, self.variable_attrs))
                for name, entry in variables.items()
            },
            coordinate_variables(
                len(self.field), self.times, self.coordinates, self.variable_attrs
            ),
            attrs=self.attrs,
        )

    def to_netcdf(self, path: Path) -> None:
        """Write `to_dataset()` as NetCDF-4; the file appears under its name only when whole.

        **Raises:** `InputError` if the file cannot be written there.
        """
        write_netcdf(self.to_dataset(), path)

    @classmethod
    def from_netcdf(
        cls,
        path: Path,
        variable: str = "phi",
        space: Sequence[str] | None = None,
        latent: Sequence[str] = ("velocity_x", "velocity_y", "velocity_z"),
        others: Sequence[str] = (),
        conditions: Sequence[str] = (),
    ) -> "Trajectories":
        """Read a NetCDF-4 file of the layout above; latent variables that are absent are left out.

        `space` is x, y and, if the variable has it, z. `others` and `conditions` must be there.

        Dimensions may stand in any order; values of any real or integer type become float64. Times
        are read as numbers, whatever their units.

        **Raises:** `InputError`, one line that names the file, for anything the layout refuses.
        """
        dataset = open_netcdf(path)
        try:
            return cls.from_dataset(dataset, variable, space, latent, others, conditions)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None

    @classmethod
    def from_dataset(
        cls,
        dataset: xr.Dataset,
        variable: str = "phi",
        space: Sequence[str] | None = None,
        latent: Sequence[str] = ("velocity_x", "velocity_y", "velocity_z"),
        others: Sequence[str] = (),
        conditions: Sequence[str] = (),
    ) -> "Trajectories":
        """`from_netcdf` for a dataset in memory.

        **Raises:** `InputError` for anything that the layout refuses.
        """
        for name in (variable, *others, *conditions):
            if name not in dataset.data_vars:
                raise InputError(
                    f"has no variable '{name}'; it has {listed(dataset.data_vars)}; rename the one "
                    f"that you mean"
                )
        if space is None:
            space = ("x", "y", "z") if "z" in dataset[variable].dims else ("x", "y")
        dimensions = ("sample", "time", *space)
        values = _numbers(dataset, variable, dimensions)
        for name in dimensions[1:]:
            if name not in dataset.coords:
                unknown = "times are" if name == "time" else "cell size is"
                raise InputError(
                    f"dimension '{name}' has no coordinate, so its {unknown} not known; add a "
                    f"variable '{name}' with dimension '{name}'"
                )
        known = [name for name in latent if name in dataset.data_vars]
        used = (variable, *others, *known, *conditions, *dimensions[1:])
        return cls(
            field=values,
            times=_numbers(dataset, "time", ("time",)),
            coordinates={name: _numbers(dataset, name, (name,)) for name in space},
            variable=variable,
            latent={
                name: _numbers(
                    dataset, name, dimensions[1 if "time" in dataset[name].dims else 2 :]
                )
                for name in known
            },
            others={name: _numbers(dataset, name, dimensions) for name in others},
            conditions={name: _numbers(dataset, name, ("sample",)) for name in conditions},
            attrs=dict(dataset.attrs),
            variable_attrs={name: dict(dataset[name].attrs) for name in used},
        )


def open_netcdf(path: Path) -> xr.Dataset:
    """All that a NetCDF-4 file holds, in memory, times as numbers.

    **Raises:** `InputError` for a file that cannot be read.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file")
    if not path.is_file():
        raise InputError(f"{path}: is not a file; give the path of one NetCDF file")
    try:
        # Units such as "s" would otherwise turn times into dates or durations.
        with xr.open_dataset(
            path, engine="h5netcdf", decode_times=False, mask_and_scale=False
        ) as opened:
            return meant(opened).load()
    except Exception as error:  # h5py raises nearly any type, by where the file is broken
        reason = " ".join(str(error).split())
        raise InputError(
            f"{path}: cannot be read as NetCDF-4 ({reason}); it may be cut short or of another "
            f"format (nccopy -k nc4 converts older NetCDF)"
        ) from error


def _numbers(
    dataset: xr.Dataset, name: str, dimensions: tuple[str, ...]
) -> Float[np.ndarray, "..."]:
    array = dataset[name]
    if set(array.dims) != set(dimensions):
        raise InputError(
            f"variable '{name}' has dimensions {listed(array.dims)}; expected "
            f"{listed(dimensions)}; rename, add (expand_dims of xarray) or drop what differs"
        )
    if array.dtype.kind not in "fiu":
        raise InputError(
            f"variable '{name}' holds {array.dtype}, not real numbers; store it as float64"
        )
    return np.ascontiguousarray(array.transpose(*dimensions).to_numpy(), dtype=np.float64)
