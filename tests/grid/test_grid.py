"""The grid's geometry, and what it refuses."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.grid import Dirichlet, Grid, Neumann, Periodic


@pytest.fixture
def unchecked():
    """Without the tests' run-time type check, as users run it: wrong types reach the code."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


def test_geometry():
    grid = Grid(lower=(-1, 0.0, 2.0), upper=(1, 1.0, 5.0), cells=(4, 5, np.int64(6)))
    assert grid.ndim == 3
    assert grid.shape == (4, 5, 6)
    assert grid.size == 120
    assert grid.spacing == pytest.approx((0.5, 0.2, 0.5))
    assert grid.cell_volume * grid.size == pytest.approx(2 * 1 * 3)
    np.testing.assert_allclose(grid.axis_centers(0), [-0.75, -0.25, 0.25, 0.75])
    assert grid.axis_centers(0).dtype == np.float64
    assert grid.centers.shape == (3, 4, 5, 6)
    for axis in range(3):
        line = jnp.moveaxis(grid.centers[axis], axis, 0)[:, 0, 0]
        np.testing.assert_allclose(line, grid.axis_centers(axis))
        assert jnp.ptp(grid.centers[axis], axis=axis).min() > 0


def test_centers_follow_the_default_precision():
    grid = Grid((0.0,), (1.0,), (4,))
    with jax.enable_x64(False):
        assert grid.centers.dtype == jnp.float32
    assert grid.centers.dtype == jnp.float64


def test_boundary_is_stored_as_pairs():
    lower, upper, both = Dirichlet(1.0), Neumann(), Periodic()
    grid = Grid((0, 0), (1, 1), (4, 4), ((lower, upper), both))
    assert grid.boundary == ((lower, upper), (both, both))
    assert grid.boundary_or_own(None) is grid.boundary
    assert Grid((0,), (1,), (4,)).boundary == ((Periodic(), Periodic()),)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((0,), (1, 1), (4, 4)), "same length"),
        (((), (), ()), "same length"),
        (((0,) * 4, (1,) * 4, (4,) * 4), "1, 2 or 3"),
        (((0, 1), (1, 1), (4, 4)), "axis 1 needs lower < upper"),
        (((0,), (float("inf"),), (4,)), "axis 0 needs lower < upper"),
        (((0, 0), (1, 1), (4, 1)), "axis 1 needs at least 2 cells, got 1"),
        (((0,), (1,), (4.5,)), "whole numbers"),
        ((0, 1, 4), "sequences"),
        (((0, 0), (1, 1), (4, 4), (Periodic(),)), "expected 2 entries, one per axis, got 1"),
        (((0,), (1,), (4,), (Dirichlet(), Neumann())), "in a pair"),
        (((0,), (1,), (4,), Periodic()), "a single condition"),
        (((0,), (1,), (4,), ((Periodic(), Dirichlet()),)), "axis 0: Periodic needs to be on both"),
        (((0,), (1,), (4,), ("periodic",)), "boundary of axis 0: expected Periodic"),
        (((0,), (1,), (4,), ((Neumann(), 0.0),)), "boundary of axis 0: expected Periodic"),
    ],
)
@pytest.mark.usefixtures("unchecked")
def test_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        Grid(*arguments)


@pytest.mark.parametrize(
    ("lower", "upper", "words"),
    [
        (-1e300, 1e300, "width 5e\\+299"),
        (-1.7e308, 1.7e308, "width inf"),
        (0.0, 1e-200, "another unit of length"),
        (1e17, 1e17 + 64, "centres that are the same number"),
    ],
)
def test_refuses_cells_that_numbers_cannot_tell_apart(lower, upper, words):
    with pytest.raises(InputError, match=words):
        Grid((lower,), (upper,), (4,))


def test_takes_every_unit_of_length():
    for unit in (1e-30, 1e-9, 1e9, 1e30):
        assert Grid((-unit,), (unit,), (8,)).spacing == (unit / 4,)
