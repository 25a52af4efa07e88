"""Orders of accuracy in three dimensions, by the code of `validation/operators_in_space.py`."""

import runpy
from pathlib import Path

import pytest

VALIDATION = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "operators_in_space.py"))


@pytest.mark.slow
def test_orders_in_three_dimensions():
    # the limiter's errors are erratic on grids that are coarse enough for a test
    rows = VALIDATION["rows"]((8, 16, 32, 64), leave_out=("van_leer", "harmonic"))
    assert len(rows) == 8
    wrong = [row for row in rows if not row.passed]
    assert not wrong
