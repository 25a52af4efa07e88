"""MATLAB 5 files: which arrays are found, and that damage is told and never ends the process."""

import numpy as np
import pytest
import scipy.sparse
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from impindiff.data._matlab import matlab_arrays
from impindiff.errors import InputError

GIVEN = {
    "u": np.arange(12.0).reshape(3, 4),
    "small": np.array([[3]], np.uint8),
    "single": np.ones((2, 2), np.float32),
    "complex": np.array([[1 + 2j, 3]]),
    "empty": np.zeros((0, 2)),
    "a_name_of_more_letters": np.array([[1, 2, 3]]),
}
OTHERS = {
    "text": "words",
    "cells": np.array([1, "a"], dtype=object),
    "structure": {"a": 1.0},
    "sparse": scipy.sparse.eye_array(3).tocsc(),
}


@pytest.mark.parametrize("compressed", [False, True])
def test_arrays_of_numbers_are_found_among_others(tmp_path, compressed):
    savemat(tmp_path / "s.mat", OTHERS | GIVEN, do_compression=compressed)
    found = matlab_arrays(tmp_path / "s.mat")
    assert set(found) == set(GIVEN)
    for name, values in GIVEN.items():
        np.testing.assert_array_equal(found[name], values)


def test_matlab_4(tmp_path):
    savemat(tmp_path / "s.mat", {"u": GIVEN["u"]}, format="4")
    np.testing.assert_array_equal(matlab_arrays(tmp_path / "s.mat")["u"], GIVEN["u"])


@pytest.mark.parametrize(
    ("place", "value", "part"),
    [
        (128, 99, "an element of type 99"),
        (130, 200, "ends after the file"),
        (136, 7, "without flags"),
        (160, 9, "numbers in 96 bytes"),
        (176, 99, "of another type"),
    ],
)
def test_tags_that_are_wrong(tmp_path, place, value, part):
    path = tmp_path / "s.mat"
    savemat(path, {"u": GIVEN["u"]})
    content = bytearray(path.read_bytes())
    content[place] = value
    path.write_bytes(content)
    with pytest.raises(InputError, match=part):
        matlab_arrays(path)


@pytest.mark.few(1)
@pytest.mark.parametrize("compressed", [False, True])
@settings(
    max_examples=150,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_damage(tmp_path, compressed, data):
    path = tmp_path / "s.mat"
    savemat(path, OTHERS | GIVEN, do_compression=compressed)
    content = bytearray(path.read_bytes())
    for place in data.draw(st.lists(st.integers(124, len(content) - 1), max_size=4)):
        content[place] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))])
    try:
        matlab_arrays(path)
    except InputError as error:
        assert "cannot be read" in str(error)  # noqa: PT017
