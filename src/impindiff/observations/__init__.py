"""Observation operators: sensors, probes, averages, scattered points; noise."""

from impindiff.observations._averages import BlockAverages, PartAverage
from impindiff.observations._instruments import (
    AtTimes,
    Measurement,
    Measurements,
    MeasuringOperator,
)
from impindiff.observations._metrics import relative_l1_percent
from impindiff.observations._noise import add_noise
from impindiff.observations._points import SpaceTimePoints, random_points
from impindiff.observations._probes import Probes
from impindiff.observations._sensors import Sensors
from impindiff.observations.scattered import PointTable, ScatteredPoints

__all__ = [
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
    "random_points",
    "relative_l1_percent",
]
