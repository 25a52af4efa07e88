"""Planes through 3-D fields, for 2-D figures."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from jaxtyping import Float

from impindiff.report.style import label, unit


class Plane(NamedTuple):
    """The middle plane across one spatial axis; for a 2-D field, the field itself.

    - `axes`: all spatial axes, in order.
    - `across`: the axis that is cut, None for a 2-D field.
    - `cell`: index of the cell along it.
    - `where`: for a title, such as "slice at z = 0.531"; empty for a 2-D field.
    """

    axes: tuple[str, ...]
    across: str | None = None
    cell: int = 0
    where: str = ""

    @property
    def suffix(self) -> str:
        """Suffix of a file name for this plane."""
        return "" if self.across is None else f"_across_{self.across}"

    @property
    def shown(self) -> list[int]:
        """The two axes that span the plane, by number."""
        return [i for i, name in enumerate(self.axes) if name != self.across]

    def of(self, field: Float[np.ndarray, "*space"]) -> Float[np.ndarray, "a b"]:
        """Restrict a field to the plane."""
        return field if self.across is None else field.take(self.cell, self._number)

    def cut(self, dataset: xr.Dataset) -> xr.Dataset:
        """Restrict all variables that have the axis to the plane."""
        return dataset if self.across is None else dataset.isel({self.across: self.cell})

    def nearby(
        self, points: Float[np.ndarray, "point axis"], centres: Sequence[Float[np.ndarray, " _"]]
    ) -> Float[np.ndarray, "some 2"]:
        """The points in the plane's cells, in its two coordinates."""
        if self.across is not None:
            along = centres[self._number]
            first = min(self.cell, len(along) - 2)
            half = 0.5 * abs(float(along[first + 1] - along[first]))
            points = points[np.abs(points[:, self._number] - along[self.cell]) <= half]
        return points[:, self.shown]

    @property
    def _number(self) -> int:
        return self.axes.index(str(self.across))


def middle_plane(coordinates: Mapping[str, xr.DataArray], across: str) -> Plane:
    """The plane through the cell above the middle of the axis `across`."""
    axis = coordinates[across]
    index = axis.size // 2
    place = f"{float(axis[index]):.3g}{unit(axis.attrs, before=' ')}"
    return Plane(tuple(coordinates), across, index, f"slice at {across} = {place}")


def planes_of(coordinates: Mapping[str, xr.DataArray]) -> list[Plane]:
    """Planes that show a field: for three axes the middle plane across each, for two the field."""
    if len(coordinates) == 3:
        return [middle_plane(coordinates, name) for name in coordinates]
    return [Plane(tuple(coordinates))]


def space_of(field: xr.DataArray) -> dict[str, xr.DataArray]:
    """The coordinates of a field along its spatial dimensions, in order."""
    return {str(name): field[name] for name in field.dims if name not in ("sample", "time")}


def axis_labels(plane: Plane, coordinates: Mapping[str, xr.DataArray]) -> tuple[str, str]:
    """Labels of the two axes that span the plane, with units."""
    first, second = (plane.axes[i] for i in plane.shown)
    return label(coordinates[first].attrs, first), label(coordinates[second].attrs, second)
