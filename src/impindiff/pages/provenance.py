"""With what a result was made: versions, machine, and the page itself."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from impindiff.pages.blocks import Row, Table
from impindiff.pages.numbers import number
from impindiff.pages.words import capitalised, humanised

_MACHINE = {"memory_gb": "memory (GB)", "cores": "cores"}


def facts_table(name: str, facts: Mapping[str, Any]) -> Table:
    """Versions or what a machine is, a row each."""
    rows = [Row(_MACHINE.get(key, humanised(key)), [_text(value)]) for key, value in facts.items()]
    return Table(capitalised(name), ["", "version" if name == "versions" else "value"], rows)


def footer() -> str:
    """Which program wrote the page."""
    return f"Written by impindiff {version('impindiff')}."


def _text(value: Any) -> str:
    return number(value) if isinstance(value, float) else str(value)
