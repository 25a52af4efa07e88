"""What every dataset of ours shares: coordinates, and a long name and scaling on each variable."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

Attributes = Mapping[str, Mapping[str, Any]]


def described(name: str, long_name: str, given: Attributes) -> dict[str, Any]:
    """The attributes of `name`: those given, `long_name` and `scaling` where they say nothing."""
    own = given.get(name, {})
    scaled = {} if {"units", "scaling"} & set(own) else {"scaling": "dimensionless"}
    return {"long_name": long_name, **scaled, **own}


def coordinate_variables(
    samples: int,
    times: Float[np.ndarray, " time"],
    coordinates: Mapping[str, Float[np.ndarray, " _"]],
    given: Attributes,
) -> dict[str, tuple[str, np.ndarray, dict[str, Any]]]:
    """`sample`, `time` and the cell centres, as xarray takes coordinates."""
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
