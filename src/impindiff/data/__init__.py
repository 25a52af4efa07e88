"""Data in and out: fields on a grid and scattered points, from and to the formats in use."""

from impindiff.data.description import (
    CoordinateDescription,
    Description,
    VariableDescription,
    inspect,
)
from impindiff.data.forms import is_points
from impindiff.data.gridded import gridded
from impindiff.data.read import read, read_fields, read_points
from impindiff.data.write import require_format, write

__all__ = [
    "CoordinateDescription",
    "Description",
    "VariableDescription",
    "gridded",
    "inspect",
    "is_points",
    "read",
    "read_fields",
    "read_points",
    "require_format",
    "write",
]
