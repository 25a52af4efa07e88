"""Orders of accuracy, measured by the code of `validation/operators.py`."""

import runpy
from pathlib import Path

import pytest

VALIDATION = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "operators.py"))


def test_orders():
    # Robin sides on one axis, the other periodic. The script measures the other kinds too.
    rows = VALIDATION["rows"](kinds=("robin",))
    assert len(rows) == 10
    wrong = [row for row in rows if not row.passed]
    assert not wrong


def test_a_wrong_order_is_caught():
    row = VALIDATION["row"]
    first_order = row("x", "y", "z", 2, lambda kind, n: 1.0 / n, (8, 16, 32, 64))
    assert first_order.order == pytest.approx(1.0)
    assert not first_order.passed
