"""What `impindiff inspect` tells of a file: what is in it, and which commands take it."""

from impindiff.inspection.commands import Taker, commands_for
from impindiff.inspection.tables import description_tables

__all__ = ["Taker", "commands_for", "description_tables"]
