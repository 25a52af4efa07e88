"""Trains on all devices of all processes; of several, one may be killed on the way.

    python fit_in_processes.py STEPS KILLED_AT FOLDER [FOLDER ...]

KILLED_AT is a training step of the second process, 0 for none. Folders with a state are resumed.
"""

import os
import signal
import sys
from pathlib import Path

devices = os.environ.get("DEVICES", "1")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + f" --xla_force_host_platform_device_count={devices}"
)

import jax  # noqa: E402
from heat_training import train  # noqa: E402

import impindiff as ipd  # noqa: E402
from impindiff.training import Callbacks  # noqa: E402

steps, killed_at = int(sys.argv[1]), int(sys.argv[2])
index, count = ipd.distributed()


def show(progress):
    if index == 1 and progress.step == killed_at:
        os.kill(os.getpid(), signal.SIGKILL)


with ipd.Mesh(batch=count, x=len(jax.devices()) // count):
    for folder in sys.argv[3:]:
        train(Path(folder), steps, resume=True, callbacks=Callbacks(show=show))
