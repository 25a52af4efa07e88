"""Every solver finds the root of every problem, and says truly how far it got."""

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest
from jax.flatten_util import ravel_pytree

from helpers import relative_difference
from impindiff import InputError
from impindiff.implicit import Anderson, NewtonKrylov, Outcome, Picard, root
from problems import (
    BADLY_SCALED,
    CUBIC,
    NONSYMMETRIC,
    SYMMETRIC,
    TWO_FIELDS,
    cubic_residual,
    inverse_of,
    linear_residual,
    reference_root,
    two_fields_residual,
)

BICGSTAB = NewtonKrylov()
GMRES = NewtonKrylov(linear_solver=lx.GMRES(rtol=1e-6, atol=1e-6))
CG = NewtonKrylov(linear_solver=lx.CG(rtol=1e-6, atol=1e-6))
DENSE_NEWTON = optx.Newton(rtol=1e-9, atol=1e-9)
KRYLOV_NEWTON = optx.Newton(rtol=1e-9, atol=1e-9, linear_solver=lx.BiCGStab(rtol=1e-10, atol=1e-10))


def preconditioned(residual):
    return NewtonKrylov(preconditioner=inverse_of(residual, weaken=0.2))


TABLE = [
    ("BiCGStab", BICGSTAB, NONSYMMETRIC),
    ("BiCGStab", BICGSTAB, SYMMETRIC),
    ("BiCGStab", BICGSTAB, BADLY_SCALED),
    ("BiCGStab", BICGSTAB, CUBIC),
    ("BiCGStab", BICGSTAB, TWO_FIELDS),
    ("GMRES", GMRES, BADLY_SCALED),
    ("GMRES", GMRES, CUBIC),
    ("CG", CG, SYMMETRIC),
    ("preconditioned", preconditioned(linear_residual), BADLY_SCALED),
    ("preconditioned", preconditioned(two_fields_residual), TWO_FIELDS),
    ("optimistix.Newton, LU", DENSE_NEWTON, NONSYMMETRIC),
    ("optimistix.Newton, LU", DENSE_NEWTON, TWO_FIELDS),
    ("optimistix.Newton, BiCGStab", KRYLOV_NEWTON, CUBIC),
]


@pytest.mark.few(2)
@pytest.mark.parametrize(
    ("solver", "problem"),
    [pytest.param(solver, p, id=f"{name} on {p.name}") for name, solver, p in TABLE],
)
def test_the_root_is_found_and_the_status_is_true(solver, problem):
    z, status = jax.jit(lambda args: root(problem.residual, problem.z0, args, solver=solver))(
        problem.args
    )
    assert jax.tree.structure(z) == jax.tree.structure(problem.z0)
    assert status.converged
    assert bool(status.outcome == Outcome.converged)
    assert relative_difference(z, reference_root(problem)) < 1e-6

    size = rms(problem.residual(z, problem.args))
    first = rms(problem.residual(problem.z0, problem.args))
    eps = np.finfo(float).eps
    assert size <= eps**0.75 + eps**0.5 * first
    # Two evaluations of one residual differ by round-off, of the size of its terms.
    assert float(status.residual) == pytest.approx(size, rel=1e-6, abs=1e-13 * first)
    if isinstance(solver, NewtonKrylov):
        assert status.linear_iterations >= status.iterations
        if problem.affine:
            assert status.iterations == 1
        else:
            assert status.iterations > 1


def rms(tree) -> float:
    return float(jnp.sqrt(jnp.mean(ravel_pytree(tree)[0] ** 2)))


@pytest.mark.slow
def test_a_better_preconditioner_needs_fewer_krylov_iterations():
    def krylov_iterations(solver):
        _, status = root(linear_residual, BADLY_SCALED.z0, BADLY_SCALED.args, solver=solver)
        return int(status.linear_iterations)

    exact = NewtonKrylov(preconditioner=inverse_of(linear_residual))
    assert krylov_iterations(exact) == 1
    assert krylov_iterations(BICGSTAB) >= 5


@pytest.mark.slow
def test_tolerances_are_those_asked_for():
    def distance(rtol):
        solver = NewtonKrylov(rtol=rtol, atol=0.0)
        _z, status = root(cubic_residual, CUBIC.z0, CUBIC.args, solver=solver)
        assert status.converged
        return float(status.residual) / rms(cubic_residual(CUBIC.z0, CUBIC.args)), status.iterations

    loose, few = distance(1e-2)
    tight, many = distance(1e-13)
    assert 1e-6 < loose <= 1e-2
    assert tight <= 1e-13
    assert few < many


def test_a_guess_that_is_the_root_stays():
    z = reference_root(CUBIC)
    again, status = root(cubic_residual, z, CUBIC.args)
    assert status.converged
    assert status.iterations == 1
    np.testing.assert_allclose(again, z, rtol=0, atol=1e-14)


@pytest.mark.few(1)
@pytest.mark.parametrize("solver", [BICGSTAB, GMRES, CG], ids=["BiCGStab", "GMRES", "CG"])
@pytest.mark.parametrize("factor", [1.0, -2.0])
def test_a_multiple_of_the_identity_is_solved(solver, factor):
    """The Krylov residual becomes exactly zero halfway through the first iteration: no 0/0."""
    right = jnp.asarray([1.0, -2.0, 0.3])
    z, status = root(lambda z, _: factor * z - right, jnp.zeros(3), solver=solver)
    assert status.converged
    np.testing.assert_allclose(z, right / factor, rtol=1e-12)


@pytest.mark.slow
def test_units_do_not_change_the_work():
    """Neither those of the equations nor those of the unknown."""
    matrix, right = NONSYMMETRIC.args

    def krylov_iterations(equation_unit, unknown_unit):
        args = (equation_unit / unknown_unit * matrix, equation_unit * right)
        solver = NewtonKrylov(atol=0.0)
        z, status = root(linear_residual, NONSYMMETRIC.z0, args, solver=solver)
        assert status.converged
        assert relative_difference(z / unknown_unit, reference_root(NONSYMMETRIC)) < 1e-6
        return int(status.linear_iterations)

    usual = krylov_iterations(1.0, 1.0)
    assert krylov_iterations(1e-9, 1.0) == usual
    assert krylov_iterations(1.0, 1e7) == usual


@pytest.mark.wrong_types
@pytest.mark.parametrize("kind", [NewtonKrylov, Picard, Anderson])
@pytest.mark.parametrize("atol", [-1.0, float("nan"), {"a": 1e-3}, "1e-6", 1j])
def test_a_tolerance_that_cannot_be_is_refused(kind, atol):
    with pytest.raises(InputError, match=f"{kind.__name__}: atol is .*; expected a number of 0"):
        kind(atol=atol)
