"""The fixed-point layer: its solvers, alone, under Optimistix, and in a batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from impindiff.errors import InputError
from impindiff.implicit import Anderson, NewtonKrylov, Outcome, Picard, fixed_point, root

RATES = jnp.asarray([0.1, 0.5, 0.95])
SOLVERS = {
    "Picard": Picard(),
    "Anderson": Anderson(),
    "NewtonKrylov": NewtonKrylov(),
    "optimistix.FixedPointIteration": optx.FixedPointIteration(rtol=1e-10, atol=1e-10),
    "optimistix.Newton": optx.Newton(rtol=1e-10, atol=1e-10),
}


def contraction(z, rate):
    return {"x": rate * jnp.cos(z["x"]), "y": 0.3 * jnp.sum(z["x"]) - 0.5 * z["y"]}


START = {"x": jnp.ones(3), "y": jnp.zeros(2)}


def reference():
    x = np.ones(3)
    for _ in range(2000):
        x = np.asarray(RATES) * np.cos(x)
    return {"x": x, "y": np.full(2, 0.3 * x.sum() / 1.5)}


@pytest.mark.few(1)
@pytest.mark.parametrize("name", SOLVERS)
def test_the_fixed_point_is_found(name):
    z, status = fixed_point(contraction, START, RATES, solver=SOLVERS[name])
    assert status.converged
    for key, value in reference().items():
        np.testing.assert_allclose(z[key], value, atol=1e-7)


def test_anderson_needs_fewer_evaluations_than_picard_and_is_the_default():
    _, picard = fixed_point(contraction, START, RATES, solver=Picard())
    _, anderson = fixed_point(contraction, START, RATES)
    assert anderson.iterations < picard.iterations / 3


@pytest.mark.parametrize("solver", [Picard(rtol=1e-10, atol=0.0), Anderson(rtol=1e-10, atol=0.0)])
def test_they_run_under_optimistix(solver):
    solution = optx.fixed_point(contraction, solver, START, RATES)
    np.testing.assert_allclose(solution.value["x"], reference()["x"], atol=1e-9)
    rotation = jnp.asarray([[0.0, -3.0], [3.0, 0.0]])
    if isinstance(solver, Picard):
        lost = optx.fixed_point(lambda z, _: rotation @ z + 1, solver, jnp.ones(2), throw=False)
        assert lost.result == optx.RESULTS.nonlinear_divergence


def test_relaxation_reaches_what_picard_alone_does_not():
    def g(z, _):
        return 1 - 3 * z

    _, plain = fixed_point(g, jnp.ones(3), solver=Picard())
    assert not plain.converged
    assert bool(plain.outcome == Outcome.diverged)
    assert plain.iterations < 20
    z, damped = fixed_point(g, jnp.ones(3), solver=Picard(relaxation=0.4))
    assert damped.converged
    np.testing.assert_allclose(z, 0.25, atol=1e-7)


def test_anderson_solves_a_linear_problem_in_as_many_iterations_as_it_has_eigenvalues():
    """In exact arithmetic it is GMRES, whatever the spectral radius of g."""
    rates = jnp.repeat(jnp.asarray([-30.0, -2.0, 0.5]), 4)
    solver = Anderson(rtol=1e-10)
    z, status = fixed_point(lambda z, _: rates * z + 1, jnp.zeros(12), solver=solver)
    assert status.converged
    assert status.iterations <= 6
    np.testing.assert_allclose(z, 1 / (1 - rates), rtol=1e-7)


def test_anderson_comes_back_after_a_restart():
    """The first steps leave where g is tame; the safeguard returns to the best point."""

    def g(z, _):
        return z - jnp.sinh(8 * (z - 1)) / 8

    z, status = fixed_point(g, jnp.asarray([2.5]), solver=Anderson(rtol=1e-13, growth=10.0))
    assert status.converged
    np.testing.assert_allclose(z, 1.0, atol=1e-6)


@pytest.mark.few(1)
@pytest.mark.parametrize("solver", [Picard(), Anderson()], ids=["Picard", "Anderson"])
def test_each_sample_of_a_batch_is_its_own_problem(solver):
    rates = jnp.asarray([0.2, 0.9, -5.0, jnp.nan])

    def solve(rate):
        return fixed_point(lambda z, r: r * jnp.sin(z) + 1, jnp.ones(2), rate, solver=solver)

    z, status = jax.jit(jax.vmap(solve))(rates)
    for i in range(2):
        alone, of_one = jax.jit(solve)(rates[i])
        np.testing.assert_allclose(z[i], alone, rtol=1e-12)
        assert status.iterations[i] == of_one.iterations
    assert status.converged[:2].all()
    assert not status.converged[3]
    assert status.iterations[0] != status.iterations[1]


@pytest.mark.slow
def test_a_guess_saves_work_without_changing_the_tolerance():
    """rtol refers to the residual at z0, wherever the iteration starts."""
    exact = reference()["x"]

    def residual(x, rate):
        return x - rate * jnp.cos(x)

    for solver in (NewtonKrylov(), Anderson()):
        _, cold = root(residual, jnp.ones(3), RATES, solver=solver)
        _, warm = root(residual, jnp.ones(3), RATES, solver=solver, guess=exact + 1e-6)
        _, bad = root(residual, jnp.ones(3), RATES, solver=solver, guess=exact + 1e3)
        assert warm.converged
        assert warm.iterations < cold.iterations
        assert bad.iterations == cold.iterations


def test_a_function_of_another_structure_is_refused():
    with pytest.raises(InputError, match="structure"):
        fixed_point(lambda z, _: z["x"], START)
    with pytest.raises(InputError, match=r"g\(z0, args\)\['x'\] has shape \(1,\)"):
        fixed_point(lambda z, _: {"x": z["x"][:1], "y": z["y"]}, START)
    with pytest.raises(InputError, match="guess"):
        root(lambda z, _: z, jnp.ones(3), guess=jnp.ones(2))
