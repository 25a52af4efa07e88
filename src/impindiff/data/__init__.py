"""Reading and writing data: fields on a grid and scattered points, in the common formats."""

from impindiff.data._description import (
    CoordinateDescription,
    Description,
    VariableDescription,
    inspect,
)
from impindiff.data._forecast import (
    FORECAST_SUFFIX,
    SPREAD_SUFFIX,
    TEST,
    TRUTH_SUFFIX,
    cell_volumes,
    forecast_dataset,
)
from impindiff.data._forms import is_points
from impindiff.data._gridded import gridded
from impindiff.data._points import points
from impindiff.data._provenance import provenance
from impindiff.data._public import PublicDataSet, fetch, public_data_folder, public_data_sets
from impindiff.data._read import read, read_fields, read_points
from impindiff.data._whole_file import (
    content_of,
    is_zarr_store,
    require_writable,
    write_netcdf,
    written_whole,
)
from impindiff.data._write import require_format, write
from impindiff.data.file_errors import reading
from impindiff.data.layout import labels_of

__all__ = [
    "FORECAST_SUFFIX",
    "SPREAD_SUFFIX",
    "TEST",
    "TRUTH_SUFFIX",
    "CoordinateDescription",
    "Description",
    "PublicDataSet",
    "VariableDescription",
    "cell_volumes",
    "content_of",
    "fetch",
    "forecast_dataset",
    "gridded",
    "inspect",
    "is_points",
    "is_zarr_store",
    "labels_of",
    "points",
    "provenance",
    "public_data_folder",
    "public_data_sets",
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
