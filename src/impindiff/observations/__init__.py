"""What was measured: sensors, noise, trajectories and their file format."""

from impindiff.observations.forecast import (
    FORECAST_SUFFIX,
    HELD_OUT,
    TRUTH_SUFFIX,
    forecast_dataset,
)
from impindiff.observations.metrics import relative_l1_percent
from impindiff.observations.noise import add_noise
from impindiff.observations.provenance import provenance
from impindiff.observations.sensors import Sensors
from impindiff.observations.trajectories import Trajectories
from impindiff.observations.whole_file import written_whole

__all__ = [
    "FORECAST_SUFFIX",
    "HELD_OUT",
    "TRUTH_SUFFIX",
    "Sensors",
    "Trajectories",
    "add_noise",
    "forecast_dataset",
    "provenance",
    "relative_l1_percent",
    "written_whole",
]
