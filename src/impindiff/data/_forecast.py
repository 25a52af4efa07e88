"""Layout of `forecast.nc`, which figures read."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Bool, Float

from impindiff.data.layout import Attributes, coordinate_variables, described

FORECAST_SUFFIX = "_forecast"
TRUTH_SUFFIX = "_truth"
SPREAD_SUFFIX = "_spread"
TEST = "test"
CELL_VOLUME = "cell_volume"


def forecast_dataset(
    forecast: Float[np.ndarray, "sample time *space"],
    times: Float[np.ndarray, " time"],
    coordinates: Mapping[str, Float[np.ndarray, " _"]],
    test: Bool[np.ndarray, " sample"],
    truth: Float[np.ndarray, "sample time *space"] | None = None,
    variable: str = "phi",
    attrs: Mapping[str, Any] | None = None,
    variable_attrs: Attributes | None = None,
    spread: Float[np.ndarray, "sample time *space"] | None = None,
    volumes: Float[np.ndarray, "*space"] | None = None,
) -> xr.Dataset:
    """Variables `phi_forecast` and, where known, `phi_truth` and `phi_spread`.

    Dimensions (`sample`, `time`, space).

    **Arguments:**

    - `forecast`, `truth`: the fields.
    - `spread`: standard deviation of the forecast, by the posterior or over an ensemble's members.
    - `times`, `coordinates`: as in `Trajectories`.
    - `test`: marks samples of the test set; becomes a coordinate along `sample`.
    - `variable`: prefix of `_forecast` and `_truth`.
    - `attrs`: provenance of the dataset (see `provenance`).
    - `variable_attrs`: `long_name` and `units` or `scaling`, by name of variable or coordinate.
    - `volumes`: of cells over the largest, by which errors are weighted, where they differ; becomes
      the coordinate `cell_volume`.
    """
    given = variable_attrs or {}
    dimensions = ("sample", "time", *coordinates)
    given_fields = {FORECAST_SUFFIX: forecast, TRUTH_SUFFIX: truth, SPREAD_SUFFIX: spread}
    fields = {suffix: field for suffix, field in given_fields.items() if field is not None}
    own = described(variable, variable, given)
    cells = {}
    if volumes is not None:
        text = "volume of the cell over that of the largest"
        cells[CELL_VOLUME] = (tuple(coordinates), volumes, described(CELL_VOLUME, text, {}))
    return xr.Dataset(
        {variable + suffix: (dimensions, values, own) for suffix, values in fields.items()},
        {
            **coordinate_variables(len(forecast), times, coordinates, given),
            TEST: ("sample", test, {"long_name": "not seen by training"}),
            **cells,
        },
        attrs=dict(attrs or {}),
    )


def cell_volumes(field: xr.DataArray | xr.Dataset) -> Float[np.ndarray, "*space"] | None:
    """Volumes of the cells of a forecast over the largest; None where all are alike."""
    return field[CELL_VOLUME].to_numpy() if CELL_VOLUME in field.coords else None
