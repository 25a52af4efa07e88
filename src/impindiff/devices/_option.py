"""The command-line option `--devices`."""

import math
import os
from typing import Any

import jax

from impindiff.devices._mesh import Mesh
from impindiff.errors import InputError

# the devices of a CPU share its cores; each takes its own threads and memory
_MOST_ON_A_CORE, _MOST_ANYWHERE = 8, 64


def mesh_of(text: str) -> Mesh | None:
    """Parse `--devices`: a number, along x, or numbers by axis; None for 1.

    On a CPU this creates as many devices, which share its cores. It must be called before JAX
    computes anything.

    **Raises:** `InputError` for any other text, and for more devices than this machine can have.
    """
    try:
        axes: dict[str, Any] = {"x": int(text)} if text.isdecimal() else _axes(text)
    except ValueError:
        axes = {}
    if not axes or min(axes.values()) < 1 or not set(axes) <= {"batch", "x", "y", "z"}:
        raise InputError(
            f"--devices: expected a number, or numbers by axis as in batch=2,x=4, got '{text}'"
        )
    count = math.prod(axes.values())
    if count == 1:
        return None
    most = max(_MOST_ANYWHERE, _MOST_ON_A_CORE * (os.cpu_count() or 1))
    if count > most:
        raise InputError(f"--devices: {text} makes {count} devices; at most {most} fit here")
    # without effect on accelerators
    jax.config.update("jax_num_cpu_devices", count)
    return Mesh(**axes)


def _axes(text: str) -> dict[str, int]:
    pairs = (part.split("=") for part in text.split(","))
    return {name.strip(): int(number) for name, number in pairs}
