"""How long steps may be, against exact limits."""

import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.compare._step_search import (
    Truth,
    error_percent,
    fewest,
    largest_stable_step,
    step_for_error,
)

D, N = 0.05, 32
RK4_LIMIT = 2.785293563405282  # where R(-z) = 1, R the Taylor polynomial of degree 4


class Heat(ipd.HybridModel):
    grid: ipd.Grid
    diffusivity: float

    def tendency(self, t, u, latent):
        return ipd.diffusion(u, self.diffusivity, self.grid)


class Transport(ipd.HybridModel):
    grid: ipd.Grid

    def tendency(self, t, u, latent):
        return ipd.advection(u, jnp.ones((1, *self.grid.cells)), self.grid, scheme="upwind")


def truth_of(model, times, u):
    return Truth(model, u[0], times, {"u": u}, lambda states: {"u": states})


def heat(cells=N):
    """A sine that decays: exact on the grid, with the discrete Laplacian's own eigenvalue."""
    grid = ipd.Grid((0.0,), (1.0,), (cells,))
    x = np.asarray(grid.centers[0])
    rate = 4 * D * cells**2 * np.sin(np.pi / cells) ** 2
    times = np.array([0.0, 0.25, 0.5])
    u = 2 + np.exp(-rate * times)[:, None, None] * np.sin(2 * np.pi * x)
    return truth_of(Heat(grid, D), times, u)


@pytest.mark.parametrize(("stepper", "bound"), [(ipd.ForwardEuler(), 2.0), (ipd.RK4(), RK4_LIMIT)])
def test_stability_limits_of_diffusion(stepper, bound):
    exact = bound / (4 * D * N**2)
    assert largest_stable_step(heat(), stepper) == pytest.approx(exact, rel=0.03)


def test_stability_limit_of_diffusion_adds_over_the_axes():
    grid = ipd.Grid((0.0, 0.0), (1.0, 2.0), (16, 12))
    truth = truth_of(Heat(grid, D), np.array([0.0, 1.0]), np.ones((2, 1, 16, 12)))
    exact = RK4_LIMIT / (4 * D * (16**2 + 6**2))
    assert largest_stable_step(truth, ipd.RK4()) == pytest.approx(exact, rel=0.03)


def test_stability_limit_of_upwind_transport_is_one_cell_a_step():
    grid = ipd.Grid((0.0,), (1.0,), (N,))
    truth = truth_of(Transport(grid), np.array([0.0, 1.0]), np.ones((2, 1, N)))
    assert largest_stable_step(truth, ipd.ForwardEuler()) == pytest.approx(1 / N, rel=0.03)


@pytest.mark.slow
def test_an_implicit_step_may_span_everything():
    assert largest_stable_step(heat(), ipd.BackwardEuler()) == 0.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stepper", "order", "percent"),
    [
        (ipd.ForwardEuler(), 1, 0.2),
        (ipd.CrankNicolson(), 2, 2e-3),
        (ipd.RK4(), 4, 1e-6),
    ],
)
def test_a_smaller_error_takes_steps_shorter_by_the_order(stepper, order, percent):
    truth = heat(8)
    coarse = step_for_error(truth, stepper, percent, 2)
    fine = step_for_error(truth, stepper, percent / 2**order, 2)
    assert error_percent(truth, stepper, coarse, 2) <= percent
    # the next longer step that was tried is not accurate enough
    assert error_percent(truth, stepper, coarse * 1.1, 2) > percent
    assert coarse / fine == pytest.approx(2, rel=0.1)


@pytest.mark.parametrize(("least", "found"), [(1, 1), (2, 2), (3, 3), (17, 17), (4096, 4096)])
def test_fewest_finds_the_least_number_that_suffices(least, found):
    assert fewest(lambda n: n >= least) == pytest.approx(found, rel=0.06)


def test_fewest_gives_up_at_its_limit():
    assert fewest(lambda n: False) == 4096
