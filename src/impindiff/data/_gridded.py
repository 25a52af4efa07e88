"""Scattered points that form a grid, as fields."""

import numpy as np
import xarray as xr

from impindiff.data._forms import QUANTITY, SAMPLE, TIME, VALUE, space_of
from impindiff.errors import InputError


def gridded(points: xr.Dataset) -> xr.Dataset:
    """Arrange points as fields; requires one value for every pair of a time and a grid position.

    **Arguments:**

    - `points`: in the form of `read_points`; their standard deviations are dropped.

    **Raises:** `InputError` for a duplicate or missing value.
    """
    axes = (SAMPLE, TIME, *space_of(points))
    columns = [
        points[axis].to_numpy() if axis in points else np.zeros(points.sizes["observation"])
        for axis in axes
    ]
    known, index = [], []
    for column in columns:
        places, numbers = np.unique(column, return_inverse=True)
        known.append(places)
        index.append(numbers.ravel())
    shape = tuple(len(values) for values in known)
    flat = np.asarray(np.ravel_multi_index(tuple(index), shape))
    names, values = points[QUANTITY].to_numpy().astype(str), points[VALUE].to_numpy()
    fields = {}
    for name in dict.fromkeys(names.tolist()):
        own = names == name
        count = np.bincount(flat[own], minlength=int(np.prod(shape)))
        wrong = np.flatnonzero(count != 1)
        if len(wrong):
            at = [int(i) for i in np.unravel_index(int(wrong[0]), shape)]
            place = ", ".join(
                f"{axis} = {values[i]:.12g}"
                for axis, values, i in zip(axes[1:], known[1:], at[1:], strict=True)
            )
            what = "is given twice" if count[wrong[0]] else "is missing"
            raise InputError(
                f"the value of '{name}' at {place} {what} ({len(wrong)} such places of a grid of "
                f"{' x '.join(map(str, shape[1:]))}); give one for every time and place, with each "
                f"coordinate written alike on all lines"
            )
        field = np.empty(shape)
        field.flat[flat[own]] = values[own]
        fields[name] = (axes, field)
    return xr.Dataset(fields, dict(zip(axes, known, strict=True)), attrs=points.attrs)
