"""Scattered points at every time and place of a grid become fields; others are refused."""

import data_files as made
import numpy as np
import pytest

import impindiff as ipd

X = np.linspace(-1.0, 1.0, 6)
T = np.array([0.0, 0.1, 0.25, 0.7])
U = np.round(np.sin(X) + 10.0 * T[:, None], 6)  # (time, x)
ROWS = [
    f"{x!r},{t!r},{float(U[k, i])!r}"
    for k, t in enumerate(T.tolist())
    for i, x in enumerate(X.tolist())
]
SHUFFLED = [ROWS[i] for i in np.random.default_rng(0).permutation(len(ROWS))]


def gridded(tmp_path, *lines):
    return ipd.data.gridded(ipd.data.read(made.table(tmp_path, "\n".join(lines) + "\n")))


def refused(tmp_path, *lines):
    with pytest.raises(ipd.InputError) as raised:
        gridded(tmp_path, *lines)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def check(found, name):
    assert list(found.data_vars) == [name]
    assert found[name].dims == ("sample", "time", "x")
    np.testing.assert_array_equal(found[name][0], U)
    np.testing.assert_array_equal(found["time"], T)
    np.testing.assert_array_equal(found["x"], X)


def test_rows_and_columns_stand_in_any_order(tmp_path):
    check(gridded(tmp_path, "x,t,u", *SHUFFLED), "u")
    turned = [";".join(reversed(row.split(","))) for row in SHUFFLED]
    check(gridded(tmp_path, "phi; time; x", *turned), "phi")
    check(gridded(tmp_path, "\ufeff# made by hand", "x,t,u", "", *ROWS, " # the end"), "u")


def test_several_quantities_samples_and_axes(tmp_path):
    rows = [f"{s},{t},{x},{y},{s + t},{x * y}" for y in (0, 2, 3) for x in (1, 2) for t in (0, 1)
            for s in (1, 0)]  # fmt: skip
    found = gridded(tmp_path, "sample,t,x,y,a,b", *rows)
    assert dict(found.sizes) == {"sample": 2, "time": 2, "x": 2, "y": 3}
    np.testing.assert_array_equal(found["a"][:, :, 0, 0], [[0, 1], [1, 2]])
    np.testing.assert_array_equal(found["b"][0, 0], [[0, 2, 3], [0, 4, 6]])


def test_a_value_that_is_missing_or_given_twice(tmp_path):
    missing = refused(tmp_path, "x,t,u", *ROWS[:9], *ROWS[10:])
    assert "the value of 'u' at time = 0.1, x = 0.2 is missing (1 such" in missing
    assert "a grid of 4 x 6" in missing
    missing = refused(tmp_path, "x,t,u", *ROWS[:-2])
    assert "at time = 0.7, x = 0.6 is missing (2 such" in missing
    empty = [*ROWS[:5], "1.0,0.0,", *ROWS[6:]]
    assert "at time = 0, x = 1 is missing (1 such" in refused(tmp_path, "x,t,u", *empty)
    assert "at time = 0.1, x = 0.2 is given twice" in refused(tmp_path, "x,t,u", *ROWS, ROWS[9])


@pytest.mark.parametrize("share", [0.5, 0.9])
def test_a_table_cut_short(tmp_path, share):
    """Not after a whole time: nothing tells that from fewer times, or from fewer places of one."""
    refused(tmp_path, "x,t,u", *ROWS[: int(share * len(ROWS)) + 1])
