"""`impindiff run --devices`: as on one device, for built-in problems and for those of one's own."""

import json

import pytest
from running import CASE, impindiff, settings

pytestmark = pytest.mark.slow  # whole runs of the command


def final_loss(folder):
    return json.loads((folder / "metrics.json").read_text())["train"]["final_loss"]


def test_two_devices_find_what_one_does(tmp_path):
    short = settings(training__steps=2, stepper__name="crank_nicolson")
    for devices in ("1", "2"):
        impindiff("run", CASE, *short, "--devices", devices, "--out", devices, cwd=tmp_path)
    one, two = (final_loss(tmp_path / devices) for devices in ("1", "2"))
    assert two == pytest.approx(one, rel=1e-6)


def test_a_problem_that_computes_as_it_is_read(tmp_path):
    impindiff("new", "plume", cwd=tmp_path)
    path = tmp_path / "plume" / "plume.py"
    path.write_text(f"{path.read_text()}\n\nONE = jnp.ones(3).sum()\n")
    short = ("--config", "plume.yaml", "--set", "cells=[12,6]", "--set", "training.steps=2")
    done = impindiff("run", "plume.py", *short, "--devices", "2", cwd=path.parent)
    assert "figures and metrics" in done.stdout
