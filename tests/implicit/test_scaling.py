"""A linear problem times c gives c times the answer, whatever the size of its components."""

import math

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from impindiff.implicit import (
    Anderson,
    BiCGStab,
    ImplicitAdjoint,
    NewtonKrylov,
    Picard,
    Unrolled,
    fixed_point,
    root,
)
from impindiff.implicit.components import Components, balanced
from impindiff.implicit.pytree import max_norm, rms_norm
from impindiff.rollout import AdaptiveStep, rollout
from impindiff.steppers import KenCarp4, VectorField

N = 12
EACH = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# powers of ten of the whole problem, and of one component over the other
POWERS = {"float64": (-250, 250), "float32": (-28, 28)}
RATIOS = {"float64": (-20, 20), "float32": (-9, 9)}
TOLERANCE = {"float64": 1e-6, "float32": 5e-3}


def inverse_diagonal(z, args):
    """Jacobi's preconditioner of `coupled`."""
    del z, args
    return lambda v: {"a": v["a"] / 5.0, "b": v["b"] / 3.0}


SOLVERS = {
    "BiCGStab": NewtonKrylov(),
    "GMRES": NewtonKrylov(linear_solver=lx.GMRES(rtol=1e-6, atol=1e-6)),
    "preconditioned": NewtonKrylov(preconditioner=inverse_diagonal),
    "Picard": Picard(relaxation=0.15),
    "Anderson": Anderson(),
}


def coupled(z, args):
    """Two fields; `ratio` is the size of b over that of a, `size` that of both."""
    right, size, ratio = args
    a, b = z["a"], z["b"] / ratio
    shifted = jnp.roll(a, 1) + jnp.roll(a, -1)
    return {
        "a": 5 * a - shifted + 0.5 * jnp.roll(b, 2) - size * right["a"],
        "b": ratio * (3 * b + 0.4 * a - size * right["b"]),
    }


def rights(dtype):
    rng = np.random.default_rng(0)
    return {name: jnp.asarray(rng.normal(size=N), dtype) for name in "ab"}


@jax.jit
def _unit(right):
    solver = NewtonKrylov(rtol=1e-13)
    one = jnp.asarray(1.0, right["a"].dtype)
    zero = jax.tree.map(jnp.zeros_like, right)
    return root(coupled, zero, (right, one, one), solver=solver)[0]


SOLVES = {
    name: jax.jit(
        lambda z0, args, solver=solver: root(coupled, z0, args, solver=solver),
    )
    for name, solver in SOLVERS.items()
}


def powers(dtype):
    low, high = POWERS[dtype]
    lowest, highest = RATIOS[dtype]
    pair = st.tuples(st.floats(low, high), st.floats(lowest, highest))
    return pair.filter(lambda p: low <= p[0] + p[1] <= high)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "dtype"),
    [*((name, "float64") for name in SOLVES), ("BiCGStab", "float32"), ("Anderson", "float32")],
)
@given(data=st.data())
@EACH
def test_the_answer_scales_with_the_problem(name, dtype, data):
    size, ratio = (10.0**p for p in data.draw(powers(dtype)))
    right = rights(dtype)
    exact = _unit(rights("float64"))
    z0 = jax.tree.map(jnp.zeros_like, right)
    args = (right, jnp.asarray(size, dtype), jnp.asarray(ratio, dtype))
    z, status = SOLVES[name](z0, args)
    assert status.converged
    for component, unit in (("a", size), ("b", size * ratio)):
        found = np.asarray(z[component], np.float64) / unit
        error = np.linalg.norm(found - exact[component]) / np.linalg.norm(exact[component])
        assert error < TOLERANCE[dtype]


@jax.jit
def _gradient(right, size, ratio, weights):
    def misfit(right):
        z, _ = root(coupled, jax.tree.map(jnp.zeros_like, right), (right, size, ratio))
        parts = weights["a"] @ z["a"] / size, weights["b"] @ z["b"] / (size * ratio)
        return parts[0] + parts[1]

    return jax.grad(misfit)(right)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", POWERS)
@given(data=st.data())
@EACH
def test_the_adjoint_does_not_know_the_size(dtype, data):
    size, ratio = (jnp.asarray(10.0**p, dtype) for p in data.draw(powers(dtype)))
    right = rights(dtype)
    weights = jax.tree.map(jnp.cos, right)
    one = jnp.ones((), dtype)
    exact, found = _gradient(right, one, one, weights), _gradient(right, size, ratio, weights)
    for name in "ab":
        np.testing.assert_allclose(found[name], exact[name], rtol=TOLERANCE[dtype], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("adjoint", [ImplicitAdjoint(), Unrolled()], ids=["adjoint", "unrolled"])
def test_numbers_of_different_size_in_one_array(adjoint):
    """An unknown of few entries is a system of numbers, each judged by its own size."""
    matrix = jnp.asarray([[2.0, 3e8], [1e-10, 7.0]])
    right = jnp.asarray([1.0, 1e-9])
    solver = NewtonKrylov(max_iterations=6)

    def solution(right):
        z, status = root(
            lambda z, right: matrix @ z - right,
            jnp.zeros(2),
            right,
            solver=solver,
            adjoint=adjoint,
        )
        return z, status.converged

    z, converged = jax.jit(solution)(right)
    inverse = jax.jit(jax.jacrev(lambda b: solution(b)[0]))(right)
    assert converged
    np.testing.assert_allclose(z, np.linalg.solve(matrix, right), rtol=1e-7)
    np.testing.assert_allclose(inverse, np.linalg.inv(matrix), rtol=1e-7)


@pytest.mark.slow
def test_a_slow_component_is_solved_beside_a_fast_one():
    """In float32 its increment is below the tolerance of the fast one's, and is solved for."""
    right = {"fast": jnp.ones(N, jnp.float32), "slow": jnp.full(N, 1e-5, jnp.float32)}

    def residual(z, right):
        slow = 4 * z["slow"] - jnp.roll(z["slow"], 1)
        return {"fast": 2 * z["fast"] - right["fast"], "slow": slow - (3 + right["slow"])}

    z0 = {"fast": jnp.zeros(N, jnp.float32), "slow": jnp.ones(N, jnp.float32)}
    z, status = root(residual, z0, right)
    assert status.converged
    np.testing.assert_allclose(z["slow"] - 1, 1e-5 / 3, rtol=0.05)


@pytest.mark.slow
def test_a_component_that_another_drives_is_solved():
    """Its own equation is met where the solve starts."""

    def residual(z, _):
        a, b, c = z["a"], z["b"], z["c"]
        return {"a": a - 1, "b": 3 * b - 1e-7 * a, "c": 2 * c - jnp.roll(b, 1) ** 2}

    zero = {name: jnp.zeros(N) for name in "abc"}
    z, status = root(residual, zero)
    assert status.converged
    np.testing.assert_allclose(z["b"], 1e-7 / 3, rtol=1e-6)
    np.testing.assert_allclose(z["c"], (1e-7 / 3) ** 2 / 2, rtol=1e-6)


@pytest.mark.few(2)
@pytest.mark.parametrize("solver", [NewtonKrylov(), Anderson(), Picard()])
@pytest.mark.parametrize("size", [0.0, 1e-200, 1.0, 1e200])
def test_at_rest_a_solve_ends_at_once(solver, size):
    at_rest = size * jnp.linspace(1.0, 2.0, 40)

    @jax.jit
    def solve(at_rest):
        return fixed_point(lambda z, rest: 0.5 * (z + rest), at_rest, at_rest, solver=solver)

    z, status = solve(at_rest)
    assert status.converged
    assert status.iterations <= 1
    np.testing.assert_array_equal(z, at_rest)


@pytest.mark.slow
def test_an_unknown_that_runs_away_does_not_count_as_solved():
    """Round-off of a large unknown would hide the residual of an equation without a root."""

    def singular(z, _):
        mean = jnp.mean(z)
        return jnp.full(40, mean) - jnp.linspace(0.0, 1.0, 40)

    for solver in (NewtonKrylov(), Anderson(), Picard()):
        _, status = jax.jit(lambda z, solver=solver: root(singular, z, solver=solver))(
            jnp.zeros(40)
        )
        assert not status.converged
        assert status.residual > 0.1


@pytest.mark.parametrize(
    ("dtype", "sizes"), [("float64", (1e-290, 1e300)), ("float32", (1e-36, 1e37))]
)
def test_norms_stay_in_the_range_of_numbers(dtype, sizes):
    for size in sizes:
        tree = {"a": jnp.full(5, size, dtype), "b": jnp.full((2, 2), -2 * size, dtype)}
        want = size * math.sqrt(21 / 9)
        assert float(rms_norm(tree)) == pytest.approx(want, rel=1e-5)
        assert float(max_norm(tree)) == pytest.approx(2 * size, rel=1e-6)


def test_a_norm_of_what_is_not_finite():
    assert float(rms_norm(jnp.zeros(3))) == 0
    assert float(rms_norm(jnp.asarray([1.0, jnp.inf]))) == math.inf
    assert math.isnan(float(rms_norm(jnp.asarray([1.0, jnp.nan]))))


def test_magnitudes_are_those_of_the_blocks():
    """Of fields in root mean square over rows; of few numbers exactly."""
    rng = np.random.default_rng(1)
    block = rng.normal(size=(30, 30))
    fields = {"a": jnp.zeros(30), "b": jnp.zeros(30)}
    found = Components(fields).magnitudes(
        lambda v: {"a": block @ v["a"] + 1e-6 * v["b"], "b": 1e9 * v["a"]}
    )
    rows = np.sqrt(np.mean(np.sum(block**2, 1)))
    np.testing.assert_allclose(found[0, 0], rows, rtol=0.3)
    np.testing.assert_allclose([found[0, 1], found[1, 0], found[1, 1]], [1e-6, 1e9, 0.0])
    numbers = jnp.zeros(4)
    small = block[:4, :4]
    found = Components(numbers).magnitudes(lambda v: small @ v)
    np.testing.assert_allclose(found, abs(small), rtol=1e-14)


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=3), st.floats(-100, 100))
@EACH
def test_a_balance_does_not_depend_on_units(units, scale):
    rng = np.random.default_rng(2)
    magnitudes, right = jnp.asarray(rng.uniform(0.1, 2.0, (3, 3))), jnp.asarray([1.0, 0.0, 1e-3])
    unit, factor = 10.0 ** np.asarray(units), 10.0**scale
    rows, own = balanced(magnitudes, right)
    # equations in other units, and the right-hand side times a number
    equations = jnp.asarray(unit)
    scaled, scaled_own = balanced(equations[:, None] * magnitudes, factor * equations * right)
    np.testing.assert_allclose(scaled, factor * unit * rows, rtol=1e-10)
    np.testing.assert_allclose(scaled_own, unit * own, rtol=1e-10)


@pytest.mark.slow
def test_a_product_that_its_reactant_drives_quadratically():
    """Robertson's kinetics from a pure reactant: all other species start at 0."""

    def rates(t, y, _):
        slow, fast, back = 0.04 * y[0], 3e7 * y[1] ** 2, 1e4 * y[1] * y[2]
        return jnp.stack([-slow + back, slow - fast - back, fast])

    result = rollout(
        VectorField(rates),
        jnp.asarray([1.0, 0.0, 0.0]),
        [0.0, 0.4, 40.0],
        dt=AdaptiveStep(rtol=1e-5),
        stepper=KenCarp4(),
    )
    # Hairer and Wanner, "Solving Ordinary Differential Equations II", section IV.10
    np.testing.assert_allclose(result.u[1], [0.98517211, 3.3863954e-5, 0.014794022], rtol=1e-5)
    np.testing.assert_allclose(result.u[2], [0.7158271, 9.1855e-6, 0.2841637], rtol=1e-4)


@pytest.mark.slow
def test_a_component_that_a_smooth_one_drives_by_a_derivative():
    """Random signs, which estimate the drive, give 1e4 times what a smooth field does."""
    n, dt = 128, 1e-3
    x = (np.arange(n) + 0.5) / n
    laplacian = np.diag(-2.0 * np.ones(n)) + np.eye(n, k=1) + np.eye(n, k=-1)
    laplacian[0, 0] = laplacian[-1, -1] = -1
    laplacian *= n**2
    matrix = np.block(
        [
            [np.eye(n) - dt * laplacian, np.zeros((n, n))],
            [-dt * laplacian, (1 + dt) * np.eye(n)],
        ]
    )
    a0, weights = np.exp(-30 * (x - 0.4) ** 2), np.cos(3 * x)

    def residual(z, a0):
        a, b = z
        spread = dt * jnp.asarray(laplacian) @ a
        return a - a0 - spread, (1 + dt) * b - spread

    def loss(a0):
        solver = NewtonKrylov(linear_solver=BiCGStab(max_steps=2000))
        z, status = root(residual, (a0, jnp.zeros(n)), a0, solver=solver)
        return weights @ z[1], (z, status)

    gradient, (z, status) = jax.grad(loss, has_aux=True)(jnp.asarray(a0))
    assert status.converged
    exact = np.linalg.solve(matrix, np.concatenate([a0, np.zeros(n)]))
    adjoint = np.linalg.solve(matrix.T, np.concatenate([np.zeros(n), weights]))
    for found, right in ((np.concatenate(z)[n:], exact[n:]), (gradient, adjoint[:n])):
        assert np.linalg.norm(found - right) < 1e-6 * np.linalg.norm(right)


@pytest.mark.parametrize("size", [1e28, 1e30])
def test_terms_beyond_the_range_of_numbers_hide_no_residual(size):
    """Stiffness times the unknown is more than float32 has."""
    n, stiffness = 64, 1e10
    rough = 1e-3 * np.random.default_rng(0).normal(size=n)
    right = jnp.asarray(size * (1 + rough), jnp.float32)

    def residual(z, right):
        spread = (jnp.roll(z, 1) - z) - (z - jnp.roll(z, -1))
        return (z - right) - jnp.float32(stiffness) * spread

    z, status = root(residual, right, right)
    off = np.abs(np.asarray(z, np.float64) / size - 1 - rough.mean()).max()
    assert off < 5e-4 or not status.converged


@pytest.mark.slow
@pytest.mark.parametrize("solver", [NewtonKrylov(), Anderson(), Picard()], ids=type)
def test_each_component_has_the_round_off_of_its_own_precision(solver):
    def residual(z, _):
        a, b = z
        return a - 1 - 0.1 * jnp.sin(b.astype(a.dtype)), b - 2 - 0.1 * jnp.sin(a).astype(b.dtype)

    z, status = root(residual, (jnp.zeros(20), jnp.zeros(20, jnp.float32)), solver=solver)
    assert status.converged
    assert [x.dtype for x in z] == [jnp.float64, jnp.float32]
    left = residual(z, None)
    assert np.abs(left[0]).max() < 1e-6
    assert np.abs(left[1]).max() < 1e-5
