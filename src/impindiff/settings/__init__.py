"""Configurations: typed sections, and how they are read, checked and written."""

from impindiff.settings.configuration import (
    StrictModel,
    dump_yaml,
    load_configuration,
    load_settings,
    nested_overrides,
)

__all__ = [
    "StrictModel",
    "dump_yaml",
    "load_configuration",
    "load_settings",
    "nested_overrides",
]
