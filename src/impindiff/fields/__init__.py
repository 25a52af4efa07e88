"""Neural fields and closures: networks of position or of the state for unknown physics."""

from impindiff.fields.bounded import BoundedField
from impindiff.fields.closures import (
    MonotoneClosure,
    PercolatingClosure,
    PositiveClosure,
    percolation_law,
)
from impindiff.fields.conditional import ConditionalField
from impindiff.fields.parameter import Parameter
from impindiff.fields.siren import Siren
from impindiff.fields.time_basis import TimeBasis

__all__ = [
    "BoundedField",
    "ConditionalField",
    "MonotoneClosure",
    "Parameter",
    "PercolatingClosure",
    "PositiveClosure",
    "Siren",
    "TimeBasis",
    "percolation_law",
]
