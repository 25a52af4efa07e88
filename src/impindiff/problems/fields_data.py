"""Reference data as a dataset of fields."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data import TEST
from impindiff.data.layout import coordinate_variables, described


def fields_data(
    fields: Mapping[str, Float[np.ndarray, "sample time *space"]],
    times: Float[np.ndarray, " time"],
    coordinates: Mapping[str, Float[np.ndarray, " _"]],
    *,
    test: Sequence[int] = (),
    latent: Mapping[str, Float[np.ndarray, "..."]] | None = None,
    conditions: Mapping[str, Float[np.ndarray, " sample"]] | None = None,
    attrs: Mapping[str, Any] | None = None,
    variable_attrs: Mapping[str, Mapping[str, Any]] | None = None,
) -> xr.Dataset:
    """Pack fields of several samples, with known truths, in the form of `impindiff.data`.

    - `test`: indices of the test samples.
    - `latent`: true latent fields, (*space) or (time, *space).
    - `conditions`: differences between samples other than the initial state.
    - `attrs`, `variable_attrs`: of the dataset, and by the name of a variable or coordinate.
    """
    given = variable_attrs or {}
    space = tuple(coordinates)
    count = len(next(iter(fields.values())))
    marks = np.isin(np.arange(count), test).astype(float)
    variables: dict[str, tuple[tuple[str, ...], np.ndarray]] = {
        name: (("sample", "time", *space), values) for name, values in fields.items()
    }
    for name, values in (latent or {}).items():
        variables[name] = (space if values.ndim == len(space) else ("time", *space), values)
    for name, values in (conditions or {}).items():
        variables[name] = (("sample",), values)
    dataset = xr.Dataset(
        {name: (*entry, described(name, name, given)) for name, entry in variables.items()},
        coordinate_variables(count, times, coordinates, given),
        attrs=dict(attrs or {}),
    )
    if len(test):
        dataset[TEST] = ("sample", marks, {"long_name": "not used in training"})
    return dataset
