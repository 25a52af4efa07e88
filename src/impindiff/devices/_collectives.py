"""Communication between devices in a compiled program."""

import math
import re
from typing import Any, NamedTuple

_KINDS = "all-gather|all-reduce|all-to-all|collective-permute|reduce-scatter|collective-broadcast"
_CALL = re.compile(rf"= (.+?) ({_KINDS})(?:-start)?\(")
_DIMENSIONS = re.compile(r"\b[a-z]+\d*\[([\d,]*)\]")


class Collective(NamedTuple):
    """A collective operation: kind, entries of its largest array, and number of occurrences.

    The number of executions differs, since most are in loops.
    """

    kind: str
    entries: int
    places: int


def collectives(compiled: Any) -> list[Collective]:
    """The collectives of `jax.jit(f).lower(...).compile()`, largest first.

    Halo exchanges are `collective-permute` of layers; sums over devices `all-reduce`. An
    `all-gather` or `all-to-all` with as many entries as a device's part of a field would mean that
    the whole field is communicated.
    """
    found: dict[tuple[str, int], int] = {}
    for result, kind in _CALL.findall(compiled.as_text()):
        shapes = (map(int, filter(None, d.split(","))) for d in _DIMENSIONS.findall(result))
        key = (kind, max(map(math.prod, shapes)))
        found[key] = found.get(key, 0) + 1
    listed = [Collective(kind, entries, places) for (kind, entries), places in found.items()]
    return sorted(listed, key=lambda c: (-c.entries, c.kind))
