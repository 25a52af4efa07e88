"""Provenance attributes stored in files."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any


def provenance(
    title: str, source: str, configuration: Mapping[str, Any] | None = None
) -> dict[str, str]:
    """Global attributes for a NetCDF file.

    **Arguments:**

    - `title`: one line on the content of the file.
    - `source`: the origin of its values.
    - `configuration`: the settings that reproduce them (seeds included), stored as JSON.

    **Returns:** `title`, `source`, `created` (UTC, ISO 8601), `software` and, if given,
    `configuration`.
    """
    attrs = {
        "title": title,
        "source": source,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "software": f"impindiff {version('impindiff')}",
    }
    if configuration is not None:
        attrs["configuration"] = json.dumps(configuration, sort_keys=True)
    return attrs
