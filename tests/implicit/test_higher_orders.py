"""Derivatives of roots and fixed points beyond the first, in loops too."""

import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

from impindiff.implicit import (
    AbstractAdjoint,
    Anderson,
    ImplicitAdjoint,
    JacobianFree,
    NewtonKrylov,
    Picard,
    fixed_point,
    root,
)

ADJOINT = ImplicitAdjoint(rtol=1e-12)
SOLVERS = {
    "float32": NewtonKrylov(1e-13, 1e-15, krylov_precision="float32"),
    "preconditioned": NewtonKrylov(
        1e-14, 1e-15, preconditioner=lambda z, a: lambda v: v / (1 + a * z)
    ),
    "Anderson": Anderson(1e-14, 1e-15),
    "Optimistix": optx.Newton(1e-14, 1e-14),
}
COMPOSITIONS = {
    "jacfwd(jacrev)": (2, jax.hessian),
    "jacrev(jacfwd)": (2, lambda f: jax.jacrev(jax.jacfwd(f))),
    "grad(grad)": (2, lambda f: jax.grad(jax.grad(f))),
    "jvp(grad(grad))": (3, lambda f: jax.jacfwd(jax.grad(jax.grad(f)))),
}
STRENGTHS = jnp.asarray([0.4, 0.7])


def step(before, a, solver, rule: AbstractAdjoint = ADJOINT):
    """z + a z^2 / 2 = before."""
    z, _ = root(lambda z, a: z + a * z**2 / 2 - before, before, a, solver=solver, adjoint=rule)
    return z


def exact(before, a):
    return 2 * before / (1 + jnp.sqrt(1 + 2 * a * before))


def in_a_loop(a, step):
    def body(carry, _):
        new = step(carry, a)
        return new, new[0]

    return jnp.sum(jax.lax.scan(body, jnp.ones(1), length=3)[1])


def derivatives(name, function):
    return jax.jit(jax.vmap(COMPOSITIONS[name][1](function)))(STRENGTHS)


@pytest.mark.few(1)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_every_composition_in_a_loop(composition):
    found = derivatives(
        composition, lambda a: in_a_loop(a, lambda z, a: step(z, a, Picard(1e-14, 1e-15)))
    )
    order = COMPOSITIONS[composition][0]
    derivative = jax.grad(jax.grad(lambda a: in_a_loop(a, exact)))
    right = jax.vmap(derivative if order == 2 else jax.grad(derivative))(STRENGTHS)
    np.testing.assert_allclose(found, right, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", SOLVERS)
def test_every_solver(name):
    found = derivatives(
        "jacfwd(jacrev)", lambda a: in_a_loop(a, lambda z, a: step(z, a, SOLVERS[name]))
    )
    right = jax.vmap(jax.hessian(lambda a: in_a_loop(a, exact)))(STRENGTHS)
    np.testing.assert_allclose(found, right, rtol=1e-8)


@pytest.mark.slow
def test_a_fixed_point():
    """z = cos(a z), of which a function is differentiated that closes over a."""

    def point(a):
        z0 = jnp.asarray(0.5)
        solver = Picard(1e-14, 1e-15)
        return fixed_point(lambda z, _: jnp.cos(a * z), z0, solver=solver, adjoint=ADJOINT)[0]

    h = 1e-3
    slopes = jax.vmap(jax.grad(point))(0.8 + h * jnp.asarray([-2.0, -1.0, 1.0, 2.0]))
    right = float(jnp.dot(jnp.asarray([1.0, -8.0, 8.0, -1.0]), slopes)) / (12 * h)
    assert float(jax.hessian(point)(0.8)) == pytest.approx(right, rel=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("composition", "terms"), [("jacfwd(jacrev)", 2), ("jacrev(jacfwd)", 0), ("grad(grad)", 2)]
)
def test_a_biased_rule_has_the_second_derivative_of_its_own(composition, terms):
    """dz/da = -B F_a with B = sum (1 - A)^i; its derivative moves z by the same rule."""
    solver = Picard(1e-14, 1e-15)

    def slope(z, a):
        jacobian = 1 + a * z
        series = sum((1 - jacobian) ** i for i in range(terms + 1))
        return -series * z**2 / 2

    def found(a):
        return step(jnp.ones(1), a, solver, JacobianFree(terms))[0]

    a, z = STRENGTHS, exact(1.0, STRENGTHS)
    of_z, of_a = jax.vmap(jax.grad(slope, argnums=(0, 1)))(z, a)
    np.testing.assert_allclose(jax.vmap(jax.grad(found))(a), slope(z, a), rtol=1e-9)
    right = of_a + of_z * slope(z, a)
    np.testing.assert_allclose(derivatives(composition, found), right, rtol=1e-9)


@pytest.mark.slow
def test_a_preconditioner_may_close_over_what_is_differentiated():
    """It changes nothing; neither does a function in `args` that it calls."""

    def point(a):
        def inverse(z, args):
            return lambda v: v / (1 + a + args["slope"](z))

        solver = NewtonKrylov(1e-14, 1e-15, preconditioner=inverse)
        args = {"slope": lambda z: a * z}
        return in_a_loop(a, lambda z0, a: root(
            lambda z, args: z + args["slope"](z) * z / 2 - z0, z0, args,
            solver=solver, adjoint=ADJOINT,
        )[0])  # fmt: skip

    right = jax.hessian(lambda a: in_a_loop(a, exact))(0.7)
    assert float(jax.jit(jax.hessian(point))(0.7)) == pytest.approx(float(right), rel=1e-9)
