"""How long steps may be, against exact limits."""

import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.compare.step_search import (
    Truth,
    error_percent,
    fewest,
    largest_stable_step,
    step_for_error,
)

D, N = 0.05, 32


class Heat(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: float

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.diffusivity, self.grid)


class Transport(ipd.HybridModel):
    grid: ipd.Grid

    def tendency(self, t, u, latent):
        return ipd.advection(u, jnp.ones((1, *self.grid.cells)), self.grid, scheme="upwind")


def heat():
    """A sine that decays: exact on the grid, with the discrete Laplacian's own eigenvalue."""
    grid = ipd.Grid((0.0,), (1.0,), (N,))
    x = np.asarray(grid.centers[0])
    rate = 4 * D * N**2 * np.sin(np.pi / N) ** 2
    times = np.array([0.0, 0.25, 0.5])
    u = 2 + np.exp(-rate * times)[:, None, None] * np.sin(2 * np.pi * x)
    return Truth(Heat(grid, D), times, u)


@pytest.mark.parametrize(
    ("stepper", "bound"), [(ipd.ForwardEuler(), 2.0), (ipd.RK4(), 2.785293563405282)]
)
def test_stability_limits_of_diffusion(stepper, bound):
    exact = bound / (4 * D * N**2)
    assert largest_stable_step(heat(), stepper) == pytest.approx(exact, rel=0.03)


def test_stability_limit_of_upwind_transport_is_one_cell_a_step():
    grid = ipd.Grid((0.0,), (1.0,), (N,))
    truth = Truth(Transport(grid), np.array([0.0, 1.0]), np.ones((2, 1, N)))
    assert largest_stable_step(truth, ipd.ForwardEuler()) == pytest.approx(1 / N, rel=0.03)


def test_an_implicit_step_may_span_everything():
    assert largest_stable_step(heat(), ipd.BackwardEuler()) == 0.5


@pytest.mark.parametrize(("stepper", "order"), [(ipd.BackwardEuler(), 1), (ipd.CrankNicolson(), 2)])
def test_a_smaller_error_takes_steps_shorter_by_the_order(stepper, order):
    truth = heat()
    coarse = step_for_error(truth, stepper, 0.4, 2)
    fine = step_for_error(truth, stepper, 0.4 / 4**order, 2)
    assert error_percent(truth, stepper, coarse, 2) <= 0.4
    assert coarse / fine == pytest.approx(4, rel=0.15)


@pytest.mark.parametrize(("least", "found"), [(1, 1), (2, 2), (3, 3), (17, 17), (4096, 4096)])
def test_fewest_finds_the_least_number_that_suffices(least, found):
    assert fewest(lambda n: n >= least) == pytest.approx(found, rel=0.06)


def test_fewest_gives_up_at_its_limit():
    assert fewest(lambda n: False) == 4096
