"""What was measured: sensors, averages, scattered points, noise and files."""

from impindiff.observations.averages import BlockAverages, PartAverage
from impindiff.observations.file_errors import reading
from impindiff.observations.forecast import (
    FORECAST_SUFFIX,
    HELD_OUT,
    SPREAD_SUFFIX,
    TRUTH_SUFFIX,
    forecast_dataset,
)
from impindiff.observations.measurements import (
    AtTimes,
    Measurement,
    Measurements,
    MeasuringOperator,
)
from impindiff.observations.metrics import relative_l1_percent
from impindiff.observations.noise import add_noise
from impindiff.observations.points import SpaceTimePoints, random_points
from impindiff.observations.probes import Probes
from impindiff.observations.provenance import provenance
from impindiff.observations.scattered import PointTable, ScatteredPoints
from impindiff.observations.sensors import Sensors
from impindiff.observations.whole_file import (
    content_of,
    is_zarr_store,
    require_writable,
    write_netcdf,
    written_whole,
)

__all__ = [
    "FORECAST_SUFFIX",
    "HELD_OUT",
    "SPREAD_SUFFIX",
    "TRUTH_SUFFIX",
    "AtTimes",
    "BlockAverages",
    "Measurement",
    "Measurements",
    "MeasuringOperator",
    "PartAverage",
    "PointTable",
    "Probes",
    "ScatteredPoints",
    "Sensors",
    "SpaceTimePoints",
    "add_noise",
    "content_of",
    "forecast_dataset",
    "is_zarr_store",
    "provenance",
    "random_points",
    "reading",
    "relative_l1_percent",
    "require_writable",
    "write_netcdf",
    "written_whole",
]
