"""The exact solution of Burgers' equation: its equation, its sides, its quadrature."""

import jaxtyping
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.problems.cole_hopf import cole_hopf_sine

VISCOSITIES = pytest.mark.parametrize("viscosity", [1e-3, 0.01 / np.pi, 0.1, 10.0])
TIMES = [0.0, 1e-9, 0.1, 1 / np.pi, 0.7, 3.0, 50.0]


@pytest.mark.parametrize("speed", [1.0, 2.5])
def test_it_solves_the_equation(speed):
    viscosity, t, x = 0.05, 0.4, np.linspace(-0.9, 0.9, 13)
    h = 2e-4  # truncation and round-off of these differences both leave some 1e-6

    def u(t, x):
        return cole_hopf_sine(x, [t], viscosity, speed)[0]

    rate = (u(t + h, x) - u(t - h, x)) / (2 * h)
    slope = (u(t, x + h) - u(t, x - h)) / (2 * h)
    curvature = (u(t, x + h) - 2 * u(t, x) + u(t, x - h)) / h**2
    np.testing.assert_allclose(rate, viscosity * curvature - speed * u(t, x) * slope, atol=1e-5)
    assert np.abs(rate).max() > 0.1


@VISCOSITIES
def test_it_starts_from_the_sine_and_is_odd_and_zero_at_the_ends(viscosity):
    x = np.linspace(-1, 1, 41)
    u = cole_hopf_sine(x, TIMES, viscosity)
    assert u.shape == (7, 41)
    np.testing.assert_array_equal(u[0], -np.sin(np.pi * x))
    # 1e-9 later: off by the rate, which is at most pi/2 + 10 pi^2.
    np.testing.assert_allclose(u[1], u[0], atol=2e-7)
    np.testing.assert_allclose(u, -u[:, ::-1], atol=1e-13)
    np.testing.assert_allclose(u[:, [0, -1]], 0, atol=1e-13)


@VISCOSITIES
def test_more_nodes_change_nothing(viscosity):
    x = np.append(np.linspace(-1, 1, 41), np.linspace(-0.01, 0.01, 21))
    u = cole_hopf_sine(x, TIMES, viscosity)
    finer = cole_hopf_sine(x, TIMES, viscosity, refinement=2)
    np.testing.assert_allclose(u, finer, atol=1e-12)


def test_against_the_published_slope_of_the_shock():
    """Basdevant et al. 1986: for 0.01 / pi, largest |du/dx| = 152.00516 at t = 1.6037 / pi."""
    h = 1e-5
    around = cole_hopf_sine([-h, h], [1.6037 / np.pi], 0.01 / np.pi)[0]
    assert (around[1] - around[0]) / (2 * h) == pytest.approx(-152.00516, rel=2e-6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([0.0], [1.0], 0.0), "viscosity must be above 0 and finite, got 0.0"),
        (([0.0], [1.0], 0.1, np.inf), "speed must be above 0 and finite, got inf"),
        (([0.0], [-1.0], 0.1), r"times must be finite and from 0, got \[-1.\]"),
        ((0.0, [1.0], 0.1), "x and t must be one-dimensional"),
    ],
)
def test_refused(arguments, message):
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        with pytest.raises(InputError, match=message):
            cole_hopf_sine(*arguments)
    finally:
        jaxtyping.config.update("jaxtyping_disable", False)
