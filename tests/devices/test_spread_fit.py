"""Training over devices is training on one; what one number of devices saved another resumes."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import impindiff as ipd
from impindiff.devices import mesh_of


@pytest.mark.slow
def test_the_same_losses_and_resumed_on_another_number(tmp_path):
    script = Path(__file__).with_name("spread_fit.py")
    done = subprocess.run(
        [sys.executable, str(script), str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    alone, *others = json.loads(done.stdout.splitlines()[-1])
    assert len(alone) == 4
    assert alone[-1] < alone[0]
    for losses in others:
        np.testing.assert_allclose(losses, alone, rtol=1e-10)


@pytest.mark.parametrize("text", ["0", "two", "batch=2,w=3", "x", "x=-1", ""])
def test_an_option_that_is_no_mesh_is_refused(text):
    with pytest.raises(ipd.InputError, match="--devices: expected a number, or numbers by axis"):
        mesh_of(text)


def test_one_device_is_no_mesh():
    assert mesh_of("1") is None
    assert mesh_of("batch=1,x=1") is None
