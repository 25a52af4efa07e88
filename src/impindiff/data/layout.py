"""Common parts of written datasets: coordinates, long names, units and scaling."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.data._forms import QUANTITY, TIME, is_points
from impindiff.data._points import units_of

Attributes = Mapping[str, Mapping[str, Any]]
_LABELS = ("long_name", "units", "scaling", "standard_name")


def labels_of(dataset: xr.Dataset) -> Attributes:
    """Long names, units and scaling by name of variable; of points, by that of quantity too."""
    found = {
        str(name): {key: of.attrs[key] for key in _LABELS if key in of.attrs}
        for name, of in dataset.variables.items()
    }
    if is_points(dataset):
        # "time of the observation", which is wrong of a forecast's times
        found[TIME].pop("long_name", None)
        for name in map(str, np.unique(dataset[QUANTITY].to_numpy().astype(str))):
            units = units_of(dataset, name)
            found[name] = {} if units is None else {"units": units}
    return found


def described(name: str, long_name: str, given: Attributes) -> dict[str, Any]:
    """The attributes of `name`: those given, with default `long_name` and `scaling`."""
    own = given.get(name, {})
    scaled = {} if {"units", "scaling"} & set(own) else {"scaling": "dimensionless"}
    return {"long_name": long_name, **scaled, **own}


def coordinate_variables(
    samples: int,
    times: Float[np.ndarray, " time"],
    coordinates: Mapping[str, Float[np.ndarray, " _"]],
    given: Attributes,
) -> dict[str, tuple[str, np.ndarray, dict[str, Any]]]:
    """Coordinates `sample`, `time` and cell centres for an xarray dataset."""
    return {
        "sample": (
            "sample",
            np.arange(samples),
            {"long_name": "index of the trajectory", **given.get("sample", {})},
        ),
        "time": ("time", times, described("time", "time", given)),
        **{
            name: (name, centres, described(name, f"cell centre along {name}", given))
            for name, centres in coordinates.items()
        },
    }
