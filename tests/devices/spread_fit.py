"""Trains on eight devices, on one, and on one number after the other; writes the losses."""

import json
import os
import sys
from pathlib import Path

os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=8"
)

from heat_training import train

import impindiff as ipd


def losses(folder, first, second=None):
    """Of four steps; with a second mesh, the last two on it, resumed from what was saved."""
    meshes = [(first, 4, False)] if second is None else [(first, 2, False), (second, 4, True)]
    for mesh, steps, resume in meshes:
        with ipd.Mesh(**mesh):
            train(folder, steps, resume=resume)
    lines = (folder / "history.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]


folder = Path(sys.argv[1])
one, eight = {}, {"batch": 2, "x": 4}
runs = [(one,), (eight,), (one, eight), (eight, one)]
for i, _ in enumerate(runs):
    (folder / str(i)).mkdir()
found = [losses(folder / str(i), *run) for i, run in enumerate(runs)]
sys.stdout.write(json.dumps(found) + "\n")
