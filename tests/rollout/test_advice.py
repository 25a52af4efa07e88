"""What the error of a failed rollout advises: to do so helps, and none of it was done already."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import impindiff as ipd
from impindiff.implicit import Outcome
from impindiff.operators import diffusion
from impindiff.rollout._method import Method, reason


class Heat(ipd.HybridModel):
    grid: ipd.Grid
    D: jax.Array

    def tendency(self, t, u, latent):
        return diffusion(u, self.D, self.grid) - u**3


class Turning(ipd.HybridModel):
    """0 = a quarter turn of u - 1, which BiCGStab cannot solve."""

    def tendency(self, t, u, latent):
        return jnp.stack([u[1] - 1, 1 - u[0]])

    def mass(self):
        return 0


class Pressure(ipd.HybridModel):
    """0 = u'' - source between impermeable walls."""

    grid: ipd.Grid
    source: jax.Array

    def tendency(self, t, u, latent):
        return diffusion(u, 1.0, self.grid) - self.source

    def mass(self):
        return 0


def heat(D=1.0):
    boundary = (ipd.Dirichlet(), ipd.Neumann())
    return Heat(ipd.Grid((0, 0), (1, 1), (12, 9), boundary=boundary), jnp.asarray(D))


def newton(**options) -> dict[str, Any]:
    return {"stepper": ipd.BackwardEuler(solver=ipd.NewtonKrylov(**options))}


def line(source):
    return Pressure(ipd.Grid((0,), (1,), (4,), boundary=(ipd.Neumann(),)), jnp.asarray(source))


FEW = {"linear_solver": ipd.BiCGStab(max_steps=2), "max_iterations": 2}
MULTIGRID = newton(linear_solver=ipd.BiCGStab(max_steps=6), preconditioner=ipd.Multigrid())
PICARD = {"stepper": ipd.BackwardEuler(solver=ipd.Picard())}
ADAPTIVE = {"stepper": ipd.KenCarp3(), "dt": ipd.AdaptiveStep(max_steps=2)}
# what fails; what the message says, and does not say; what works, the advice being followed
CASES = {
    "few Krylov steps": (
        (heat(), newton(**FEW)),
        ["reached its max_steps", "a preconditioner", "max_steps of BiCGStab above 2", "GMRES"],
        ["broke down"],
        [(heat(), MULTIGRID), (heat(), newton(linear_solver=ipd.BiCGStab(max_steps=200)))],
    ),
    "few Krylov steps with Jacobi": (
        (heat(), newton(**FEW, preconditioner=ipd.Jacobi())),
        ["another preconditioner than Jacobi"],
        ["try a preconditioner"],
        [(heat(), MULTIGRID)],
    ),
    "BiCGStab on a quarter turn": (
        (Turning(), newton()),
        ["linear_solver=lineax.GMRES"],
        [],
        [(Turning(), newton(linear_solver=lx.GMRES(1e-9, 1e-9)))],
    ),
    "no balance of sources": (
        (line([1.0, 0.0, 0.0, 0.0]), newton(linear_solver=lx.GMRES(1e-9, 1e-9))),
        ["regular equation"],
        ["lineax.GMRES(...)"],
        [(line([1.0, -1.0, 0.0, 0.0]), newton(linear_solver=lx.GMRES(1e-9, 1e-9)))],
    ),
    "few Newton iterations": (
        (heat(), newton(max_iterations=1)),
        ["max_iterations of NewtonKrylov above 1"],
        ["or NewtonKrylov"],
        [(heat(), newton(max_iterations=20))],
    ),
    "Picard on a stiff step": (
        (heat(), PICARD),
        ["NewtonKrylov", "relaxation of Picard"],
        [],
        [(heat(), newton())],
    ),
    "few adaptive steps": (
        (heat(), ADAPTIVE),
        ["a larger max_steps"],
        ["a smaller time step"],
        [(heat(), {"stepper": ipd.KenCarp3(), "dt": ipd.AdaptiveStep(max_steps=200)})],
    ),
    "explicit": (
        (heat(100.0), {"stepper": ipd.RK4(), "dt": 0.001}),
        ["an implicit stepper", "a smaller time step"],
        [],
        [(heat(100.0), newton())],
    ),
    "learned to be negative": (
        (heat(-0.1), newton()),
        ["a diffusivity or a mass is negative", "ipd.Parameter(..., lower=0)"],
        [],
        [(heat(0.1), newton())],
    ),
}


def start(model):
    if isinstance(model, Turning):
        return jnp.zeros(2)
    x = model.grid.centers
    return 1 + jnp.sin(3 * x[0]) * jnp.cos(2 * x[-1])


def failure(model, options):
    """The error's message, empty if all converges."""
    options = {"halving": False} | options
    try:
        ipd.rollout(model, start(model), np.array([0.0, 0.05, 0.1]), **options)
    except ipd.SolverError as error:
        return str(error)
    return ""


@pytest.mark.slow
@pytest.mark.parametrize("case", CASES)
def test_the_advice_helps(case):
    (model, options), said, not_said, remedies = CASES[case]
    message = failure(model, options)
    assert "\n" not in message
    for words in said:
        assert words in message
    for words in not_said:
        assert words not in message
    for remedy in remedies:
        assert failure(*remedy) == ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("cells", "walls", "preconditioner"),
    [
        ((8,), ipd.Neumann(), ipd.Multigrid()),
        ((8,), ipd.Periodic(), ipd.Multigrid()),
        ((8,), ipd.Periodic(), ipd.FastDiagonalization()),
        ((5, 4), ipd.Neumann(), ipd.Multigrid()),
    ],
)
def test_a_pressure_without_a_level_is_found_where_sources_balance(cells, walls, preconditioner):
    """Any of its solutions: they differ by a constant."""
    grid = ipd.Grid((0,) * len(cells), (1,) * len(cells), cells, boundary=(walls,) * len(cells))
    wanted = np.random.default_rng(0).normal(size=cells)
    wanted -= wanted.mean()
    model = Pressure(grid, diffusion(jnp.asarray(wanted), 1.0, grid))
    options = newton(preconditioner=preconditioner)
    found = np.asarray(ipd.rollout(model, jnp.zeros(cells), [0.0, 1.0], **options).u[-1])
    np.testing.assert_allclose(found - found.mean(), wanted, atol=1e-6)
    assert np.abs(found).max() < 10


@pytest.mark.parametrize(
    ("outcome", "stepper", "absent"),
    [
        (Outcome.diverged, ipd.BackwardEuler(), ["line_search"]),
        (Outcome.diverged, ipd.BackwardEuler(solver=optx.Newton(1e-6, 1e-6)), ["relaxation"]),
        (Outcome.max_iterations, ipd.BackwardEuler(solver=optx.Newton(1e-6, 1e-6)), ["None"]),
        (Outcome.not_finite, ipd.RK4(), ["or try"]),
    ],
)
def test_nothing_is_advised_that_is_there_already_or_not_to_be_had(outcome, stepper, absent):
    said = reason(outcome, Method.of(stepper, 0.1, jnp.dtype("float64")))
    assert said.count("a smaller time step") == 1
    for words in absent:
        assert words not in said
