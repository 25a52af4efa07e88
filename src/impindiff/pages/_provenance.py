"""Provenance of a result: versions, machine, and the page itself."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from impindiff.pages._blocks import Row, Table, Tables
from impindiff.pages._words import humanised
from impindiff.pages.numbers import number

_MACHINE = {"memory_gb": "memory (GB)"}


def facts_tables(
    versions: Mapping[str, Any] | None = None, machine: Mapping[str, Any] | None = None
) -> Tables:
    """Tables of versions and machine, as far as known."""
    known = {("Versions", "version"): versions, ("Machine", "value"): machine}
    return Tables(
        [
            Table(
                caption,
                ["", column],
                [
                    Row(_MACHINE.get(key, humanised(key)), [_text(of)])
                    for key, of in facts.items()
                    if of is not None
                ],
            )
            for (caption, column), facts in known.items()
            if facts
        ]
    )


def footer() -> str:
    """The name and version of the software that wrote the page."""
    return f"Written by impindiff {version('impindiff')}."


def _text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
