"""The command in a process of its own, on a problem small enough for tests.

Its steps are explicit, which compile in a fraction of the time, and its forecast has no bands; a
test of more than folders, files and messages asks for implicit steps and for bands.
"""

from forked_command import run_command

SMALL = {
    "grid.cells": "[24, 12]",
    "truth.training_samples": "2",
    "truth.test_samples": "2",
    "truth.dt": "0.005",
    "forecast.every": "0.05",
    "forecast.bands": "false",
    "stepper.name": "rk4",
    "field.width": "8",
    "field.depth": "2",
    "training.steps": "40",
    "training.log_every": "5",
    "training.save_every": "5",
}
CASE = "advection_diffusion_steady"


def settings(**changes):
    """The options of a small run; a key that is None is left out."""
    keys = SMALL | {key.replace("__", "."): value for key, value in changes.items()}
    given = {key: value for key, value in keys.items() if value is not None}
    return [part for key, value in given.items() for part in ("--set", f"{key}={value}")]


def impindiff(*arguments, cwd=None, check=True):
    done = run_command(arguments, cwd)
    if check:
        assert done.returncode == 0, done.stderr + done.stdout
    return done
