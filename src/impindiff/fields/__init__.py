"""Neural fields and closures: networks of position or of the state for unknown physics."""

from impindiff.fields._bounded import BoundedField
from impindiff.fields._closures import (
    MonotoneClosure,
    PercolatingClosure,
    PositiveClosure,
    percolation_law,
)
from impindiff.fields._conditional import ConditionalField
from impindiff.fields._modal import ModalField
from impindiff.fields._parameter import Parameter
from impindiff.fields._siren import Siren
from impindiff.fields._time_basis import TimeBasis

__all__ = [
    "BoundedField",
    "ConditionalField",
    "ModalField",
    "MonotoneClosure",
    "Parameter",
    "PercolatingClosure",
    "PositiveClosure",
    "Siren",
    "TimeBasis",
    "percolation_law",
]
