"""Neural parts: networks of position that stand for unknown physics."""

from impindiff.fields.bounded import BoundedField
from impindiff.fields.conditional import ConditionalField
from impindiff.fields.siren import Siren
from impindiff.fields.time_basis import TimeBasis

__all__ = ["BoundedField", "ConditionalField", "Siren", "TimeBasis"]
