"""The gradient of the whole training loss, with the code of `validation/gradient.py`."""

import runpy
from pathlib import Path

import pytest

compare = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "gradient.py"))["compare"]


@pytest.mark.slow
def test_all_network_weights_against_differences_and_unrolling():
    against_differences, against_unrolled = compare(
        "advection_diffusion_steady",
        "grid.cells=[24, 12]",
        "truth.training_samples=2",
        "truth.test_samples=1",
        "truth.dt=0.005",
        "field.width=12",
        "field.depth=2",
        "observations.sensors=40",
        "observations.noise=0.05",
    )
    assert against_differences < 1e-6
    assert against_unrolled < 1e-9
