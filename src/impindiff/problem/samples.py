"""The data of a run: all trajectories, split into training and test samples.

In either form of data, a variable `test` marks the test samples.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import xarray as xr
from jaxtyping import Float, PyTree

from impindiff.data import TEST, is_points
from impindiff.data.units import elapsed
from impindiff.errors import InputError
from impindiff.observations.checks import require_even_spacing

AXES = ("x", "y", "z")
# dimension of conditions of points, one value per sample; fields use `sample`
TRAJECTORY = "trajectory"


class Data(NamedTuple):
    """Trajectories, split into training and test samples.

    - `dataset`: one of the two forms of `impindiff.data`, times as numbers; fields have the
      dimension `sample`.
    - `training`, `test`: indices of the samples; the test set may be empty.
    """

    dataset: xr.Dataset
    training: list[int]
    test: list[int]

    @property
    def samples(self) -> int:
        """Number of trajectories."""
        return len(self.training) + len(self.test)

    @property
    def scattered(self) -> bool:
        """True if the values are scattered points, not fields."""
        return is_points(self.dataset)

    def of(self, samples: Sequence[int]) -> xr.Dataset:
        """The dataset of these samples alone, renumbered from 0."""
        return of_samples(self.dataset, samples)

    @property
    def batches(self) -> list[list[int]]:
        """The samples in batches to roll out: the training set, and the test set.

        A training set smaller than the test set is filled up with its last sample, so that one
        program serves both.
        """
        if not self.test:
            return [self.training]
        missing = max(len(self.test) - len(self.training), 0)
        return [self.training + missing * self.training[-1:], self.test]

    def joined(self, states: Sequence[PyTree[np.ndarray]]) -> PyTree[np.ndarray]:
        """Join the states of all `batches`, (time, sample, *cells), in the order of the samples."""
        order = np.unique(np.concatenate(self.batches), return_index=True)[1]
        return jax.tree.map(lambda *all: np.concatenate(all, axis=1)[:, order], *states)


def as_data(dataset: xr.Dataset, test: Sequence[int] | None) -> Data:
    """Split the samples of a dataset into training and test set.

    **Arguments:**

    - `test`: indices; None: those marked by the variable `test` of the dataset.

    **Raises:** `InputError` for an index out of range or given twice, if no training sample is
    left, for marks other than 0 and 1, and for a dataset of neither form.
    """
    dataset = with_numbers(dataset)
    scattered = is_points(dataset)
    if not scattered:
        dataset = with_samples(dataset)
        if "sample" not in dataset.dims:
            raise InputError(
                "measurements: no variable of the data has the dimension time; expected fields "
                "along time and x (y, z), or points along observation"
            )
    if scattered:
        count = int(dataset["sample"].max()) + 1 if "sample" in dataset else 1
    else:
        count = dataset.sizes["sample"]
    if test is None:
        test = _marked(dataset)
    for index in test:
        if not 0 <= index < count:
            raise InputError(
                f"data.test: there is no sample {index}; the {count} samples are numbered 0 to "
                f"{count - 1}"
            )
    if len(set(test)) != len(test):
        raise InputError(f"data.test: a sample is given twice in {list(test)}")
    if len(test) == count:
        raise InputError(
            f"data.test: {list(test)} keeps back all {count} sample(s); leave at least one "
            f"to train on"
        )
    return Data(dataset, [i for i in range(count) if i not in test], list(test))


def _marked(dataset: xr.Dataset) -> list[int]:
    """The samples that the variable `test` marks with 1."""
    conditions = conditions_of(dataset, marks=True)
    if "held_out" in conditions:
        raise InputError(
            "the data mark samples by a variable 'held_out', which was its name in earlier "
            f"versions; rename it '{TEST}', or list the samples in data.test"
        )
    marks = conditions.get(TEST, np.empty(0))
    if not np.isin(marks, (0, 1)).all():
        raise InputError(
            f"the variable '{TEST}' of the data marks samples by 0 and 1, but holds "
            f"{np.unique(marks)[:5]}; rename it, or list the samples in data.test"
        )
    return np.flatnonzero(marks).tolist()


def of_samples(dataset: xr.Dataset, samples: Sequence[int]) -> xr.Dataset:
    """The part of a dataset with these samples, renumbered from 0."""
    chosen = list(samples)
    if not is_points(dataset):
        return dataset.isel(sample=chosen)
    if TRAJECTORY in dataset.dims:
        dataset = dataset.isel({TRAJECTORY: chosen})
    if "sample" not in dataset:
        return dataset
    of_row = dataset["sample"].to_numpy().astype(int)
    number = {sample: i for i, sample in enumerate(chosen)}
    rows = np.flatnonzero(np.isin(of_row, chosen))
    renumbered = np.array([number[s] for s in of_row[rows]], int)
    return dataset.isel(observation=rows).assign(sample=("observation", renumbered))


def conditions_of(
    dataset: xr.Dataset, *, marks: bool = False
) -> dict[str, Float[np.ndarray, " sample"]]:
    """Sample-specific conditions: the variables with one number per sample, by name.

    - `marks`: include the variable `test`.
    """
    along = TRAJECTORY if is_points(dataset) else "sample"
    return {
        str(name): variable.to_numpy().astype(float)
        for name, variable in dataset.variables.items()
        if variable.dims == (along,) and name not in (along, "sample") and (marks or name != TEST)
    }


def box_of(
    dataset: xr.Dataset,
) -> tuple[tuple[float, ...], tuple[float, ...], tuple[int, ...]]:
    """(lower, upper, cells) of the domain whose cell centres are the places of fields.

    **Raises:** `InputError` for scattered points and unevenly spaced places.
    """
    if is_points(dataset):
        raise InputError(
            "holds scattered points; this problem takes its grid from fields at all cell centres"
        )
    lower, upper, cells = [], [], []
    for axis in (axis for axis in AXES if axis in dataset.dims):
        centres = dataset[axis].to_numpy().astype(float)
        require_even_spacing(axis, centres)
        size = float(centres[-1] - centres[0]) / (len(centres) - 1)
        lower.append(float(centres[0]) - 0.5 * size)
        upper.append(float(centres[-1]) + 0.5 * size)
        cells.append(len(centres))
    return tuple(lower), tuple(upper), tuple(cells)


def with_samples(dataset: xr.Dataset) -> xr.Dataset:
    """Add the dimension `sample`, which a file of one trajectory may leave out."""
    if "sample" in dataset.dims:
        return dataset
    changing = [name for name, variable in dataset.data_vars.items() if "time" in variable.dims]
    return dataset.assign({name: dataset[name].expand_dims("sample") for name in changing})


def with_numbers(dataset: xr.Dataset) -> xr.Dataset:
    """Convert dates to seconds since the first, as in files that are read."""
    if "time" not in dataset.variables:
        return dataset
    times = elapsed(dataset["time"].variable)
    return (
        dataset.assign_coords(time=times)
        if "time" in dataset.coords
        else dataset.assign(time=times)
    )


def truths_of(dataset: xr.Dataset, names: Mapping[str, Any]) -> dict[str, Float[np.ndarray, "..."]]:
    """The true latent fields in a dataset, among the given names.

    (*space), or (time, *space) for one that changes.
    """
    if is_points(dataset):
        return {}
    axes = tuple(axis for axis in AXES if axis in dataset.dims)
    found = {}
    for name in names:
        if name in dataset.data_vars and "sample" not in dataset[name].dims:
            field = dataset[name]
            if {*field.dims} in ({*axes}, {"time", *axes}):
                order = ("time", *axes) if "time" in field.dims else axes
                found[name] = field.transpose(*order).to_numpy().astype(float)
    return found
