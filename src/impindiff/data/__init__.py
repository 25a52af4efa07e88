"""Reading and writing data: fields on a grid and scattered points, in the common formats."""

from impindiff.data.description import (
    CoordinateDescription,
    Description,
    VariableDescription,
    inspect,
)
from impindiff.data.file_errors import reading
from impindiff.data.forecast import (
    FORECAST_SUFFIX,
    SPREAD_SUFFIX,
    TEST,
    TRUTH_SUFFIX,
    forecast_dataset,
)
from impindiff.data.forms import is_points
from impindiff.data.gridded import gridded
from impindiff.data.layout import labels_of
from impindiff.data.provenance import provenance
from impindiff.data.read import read, read_fields, read_points
from impindiff.data.whole_file import (
    content_of,
    is_zarr_store,
    require_writable,
    write_netcdf,
    written_whole,
)
from impindiff.data.write import require_format, write

__all__ = [
    "FORECAST_SUFFIX",
    "SPREAD_SUFFIX",
    "TEST",
    "TRUTH_SUFFIX",
    "CoordinateDescription",
    "Description",
    "VariableDescription",
    "content_of",
    "forecast_dataset",
    "gridded",
    "inspect",
    "is_points",
    "is_zarr_store",
    "labels_of",
    "provenance",
    "read",
    "read_fields",
    "read_points",
    "reading",
    "require_format",
    "require_writable",
    "write",
    "write_netcdf",
    "written_whole",
]
