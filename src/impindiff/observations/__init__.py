"""Observation operators: sensors, probes, averages, scattered points; noise."""

from impindiff.observations.averages import BlockAverages, PartAverage
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
from impindiff.observations.scattered import PointTable, ScatteredPoints
from impindiff.observations.sensors import Sensors

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
