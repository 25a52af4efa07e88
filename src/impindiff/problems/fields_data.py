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
    """Fields of several samples, with what is true of them, in the form of `impindiff.data`.

    - `test`: the samples that training must not see.
    - `latent`: true latent fields, (*space) or (time, *space).
    - `conditions`: what differs from sample to sample beside the initial state.
    - `attrs`, `variable_attrs`: of the whole, and by the name of a variable or coordinate.
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
        dataset[TEST] = ("sample", marks, {"long_name": "not to be trained on"})
    return dataset
