"""Common parts of written datasets: coordinates, long names and scaling."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

Attributes = Mapping[str, Mapping[str, Any]]


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
