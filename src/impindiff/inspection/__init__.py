"""Output of `impindiff inspect`: the content of a data file, and the command that takes it."""

from impindiff.inspection.tables import description_tables

__all__ = ["description_tables"]
