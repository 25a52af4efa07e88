"""The check of a model by its residuals: errors pass at the nominal rate, patterns do not."""

import numpy as np
import pytest

from impindiff.inference import check_residuals

PLACES, TIMES = 12, 20


def grid_of(dimensions: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """(time, position) of all places at all times."""
    places = np.random.default_rng(5).random((PLACES, dimensions))
    time = np.repeat(np.arange(TIMES, dtype=float), PLACES)
    return time, np.tile(places, (TIMES, 1))


def check(residuals, *, dimensions=1, stated=True, series=None, parameters=2):
    time, position = grid_of(dimensions)
    series = np.full(len(time), "u") if series is None else series
    known = np.full(len(time), stated)
    return check_residuals(residuals, time, position, series, parameters=parameters, stated=known)


@pytest.mark.slow
def test_errors_are_rejected_at_the_nominal_rate():
    generator = np.random.default_rng(0)
    found = [check(generator.standard_normal(PLACES * TIMES)) for _ in range(100)]
    names = ["size", "in time", "in space", "at places", "at times"]
    assert [test.name for test in found[0].tests] == names
    assert sum(not each.explains for each in found) <= 4  # of 100 at a level of 1 %
    assert found[0].verdict() == "the model explains these data"


@pytest.mark.slow
def test_errors_that_are_not_normal_are_errors_too():
    generator = np.random.default_rng(1)
    heavy = [check(generator.standard_t(3, PLACES * TIMES), stated=False) for _ in range(50)]
    assert sum(not each.explains for each in heavy) <= 2


def test_errors_larger_than_stated_are_named():
    residuals = 1.5 * np.random.default_rng(2).standard_normal(PLACES * TIMES)
    found = check(residuals)
    assert found.explains is False
    assert "residuals are 1.5 times the stated errors" in found.verdict()
    # without stated errors their size says nothing
    assert check(residuals, stated=False).explains


@pytest.mark.parametrize("dimensions", [1, 2])
def test_a_pattern_in_space_is_named(dimensions):
    _, position = grid_of(dimensions)
    noise = np.random.default_rng(3).standard_normal(PLACES * TIMES)
    found = check(noise + np.sin(5 * position[:, 0]), dimensions=dimensions, stated=False)
    assert found.explains is False
    assert "residuals of a place share an offset" in found.verdict()


def test_a_pattern_in_time_at_one_place_is_named():
    time = np.linspace(0.0, 1.0, 60)
    noise = np.random.default_rng(4).standard_normal(60)
    place, name = np.zeros((60, 1)), np.full(60, "T")
    found = check_residuals(noise + 2 * np.sin(6 * time), time, place, name)
    assert [test.name for test in found.tests] == ["in time"]
    assert "residuals repeat at the next time (correlation" in found.verdict()
    assert check_residuals(noise, time, place, name).explains


def test_series_do_not_lend_each_other_a_pattern():
    """Two quantities of different sizes, each of errors alone."""
    residuals = np.random.default_rng(6).standard_normal(PLACES * TIMES)
    series = np.tile(np.repeat(["a", "b"], PLACES // 2), TIMES)
    residuals[series == "b"] *= 40
    assert check(residuals, stated=False, series=series).explains


@pytest.mark.slow
def test_a_correlation_of_no_consequence_does_not_reject():
    """1e5 values, of which a part in 400 of the variance is a pattern."""
    many = 100_000
    time, place = np.arange(many, dtype=float), np.zeros((many, 1))
    noise = np.random.default_rng(7).standard_normal(many)
    found = check_residuals(noise + 0.05 * np.sin(0.01 * time), time, place, np.full(many, "u"))
    assert found.explains


def test_too_few_values_are_no_check():
    found = check_residuals(np.ones(3), np.arange(3.0), np.zeros((3, 1)), np.full(3, "u"))
    assert found.explains is None
    assert found.verdict() == "too few values to check the model"


def test_missing_values_are_left_out():
    residuals = np.random.default_rng(8).standard_normal(PLACES * TIMES)
    residuals[::7] = np.nan
    assert check(residuals).explains


def test_an_offset_of_one_place_is_named():
    """A sensor that reads too much: neither its neighbours nor the next time repeat it."""
    time, _ = grid_of()
    residuals = np.random.default_rng(9).standard_normal(len(time))
    residuals[np.arange(len(time)) % PLACES == 3] += 2.0
    found = check(residuals, stated=False)
    assert "residuals of a place share an offset" in found.verdict()
