"""Solvers of Optimistix and Lineax in an implicit layer: right, with their gradient, or refused."""

from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import optimistix as optx
import pytest

import impindiff as ipd

A = jnp.asarray([[4.0, 1.0, 0.0], [1.0, 3.0, 0.5], [0.0, 0.5, 2.0]])
B = jnp.asarray([1.0, 2.0, 3.0])
TIGHT: Any = {"rtol": 1e-10, "atol": 1e-12}


def residual(z, b):
    return A @ z + 0.1 * z**3 - b


def damped(z, b):
    return z - 0.2 * residual(z, b)


def value_and_gradient(layer, function, solver):
    def norm(b):
        z, status = layer(function, jnp.zeros(3), b, solver=solver)
        return jnp.sum(z**2), status.converged

    return jax.value_and_grad(norm, has_aux=True)(B)


EXPECTED = optx.root_find(residual, optx.Newton(rtol=1e-13, atol=1e-13), jnp.zeros(3), B).value
JACOBIAN = A + 0.3 * jnp.diag(EXPECTED**2)
SLOPE = jnp.linalg.solve(JACOBIAN.T, 2 * EXPECTED)


def newton(linear_solver):
    return ipd.NewtonKrylov(rtol=1e-12, linear_solver=linear_solver)


ACCEPTED = [
    (ipd.root, residual, optx.Newton(**TIGHT)),
    (ipd.root, residual, optx.Newton(linear_solver=lx.LU(), **TIGHT)),
    (ipd.root, residual, optx.Chord(**TIGHT)),
    (ipd.root, residual, optx.BestSoFarRootFinder(optx.Newton(**TIGHT))),
    (ipd.fixed_point, damped, optx.FixedPointIteration(**TIGHT)),
    (ipd.fixed_point, damped, optx.BestSoFarFixedPoint(optx.FixedPointIteration(**TIGHT))),
    (ipd.fixed_point, damped, optx.Newton(**TIGHT)),
    *(
        (ipd.root, residual, newton(linear_solver))
        for linear_solver in (
            lx.GMRES(**TIGHT),
            lx.BiCGStab(**TIGHT),
            lx.CG(**TIGHT),
            lx.Normal(lx.CG(**TIGHT)),
            lx.LU(),
            lx.QR(),
            lx.SVD(),
            lx.AutoLinearSolver(well_posed=None),
        )
    ),
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("layer", "function", "solver"),
    ACCEPTED,
    ids=lambda part: type(getattr(part, "linear_solver", part)).__name__,
)
def test_what_is_accepted_finds_the_root_and_its_gradient(layer, function, solver):
    (value, converged), slope = value_and_gradient(layer, function, solver)
    assert bool(converged)
    assert float(value) == pytest.approx(float(EXPECTED @ EXPECTED), rel=1e-9)
    np.testing.assert_allclose(slope, SLOPE, rtol=1e-8)


@pytest.mark.wrong_types
@pytest.mark.parametrize(
    "solver",
    [
        optx.Bisection(**TIGHT),
        optx.Dogleg(**TIGHT),
        optx.LevenbergMarquardt(**TIGHT),
        optx.BFGS(**TIGHT),
        lx.LU(),
        "newton",
    ],
    ids=lambda s: type(s).__name__,
)
def test_what_finds_no_root_is_refused(solver):
    with pytest.raises(ipd.InputError, match=r"solver: .*expected NewtonKrylov") as caught:
        ipd.root(residual, jnp.zeros(3), B, solver=solver)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "linear_solver", [lx.Diagonal(), lx.Triangular(), lx.Tridiagonal(), lx.Cholesky()]
)
@pytest.mark.parametrize("user", [newton, lambda s: ipd.ImplicitAdjoint(linear_solver=s)])
def test_linear_solvers_of_declared_structure_are_refused(user, linear_solver):
    with pytest.raises(ipd.InputError, match=r"structure is declared.*expected BiCGStab") as caught:
        user(linear_solver)
    assert "\n" not in str(caught.value)


@pytest.mark.wrong_types
def test_something_that_is_no_linear_solver_is_refused():
    with pytest.raises(ipd.InputError, match="linear_solver is 'gmres'; expected"):
        newton("gmres")
