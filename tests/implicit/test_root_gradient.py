"""Derivatives of the root: against differences, against unrolling, against each other."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import pytest

from helpers import central_difference_error, dot, normal_like, relative_difference
from impindiff.implicit import AbstractAdjoint, NewtonKrylov, Unrolled, root
from problems import CUBIC, TIGHT, TIGHT_ADJOINT, TWO_FIELDS, Problem

DIRECTIONS = 20
SHORT = NewtonKrylov(rtol=1e-14, atol=1e-15, max_iterations=12)


class Derivatives(NamedTuple):
    """Everything about one problem, compiled once and shared by the tests below."""

    problem: Problem
    loss: Any
    gradient: Any
    products: Any


def make_derivatives(problem: Problem) -> Derivatives:
    def solution(args, adjoint: AbstractAdjoint = TIGHT_ADJOINT, solver=TIGHT):
        return root(problem.residual, problem.z0, args, solver=solver, adjoint=adjoint)[0]

    def of_solution(z):
        leaves = jax.tree.leaves(z)
        return sum(jnp.sum(jnp.sin(leaf) + leaf**2) for leaf in leaves)

    def loss(args):
        return of_solution(solution(args))

    def unrolled_loss(args):
        return of_solution(solution(args, adjoint=Unrolled(), solver=SHORT))

    @jax.jit
    def products(args, v, w):
        """J v, J^T w, the Hessian of the loss times v in two ways, the unrolled gradient."""
        _, forward = jax.jvp(solution, (args,), (v,))
        _, pullback = jax.vjp(solution, args)
        gradient_along = lambda args: inner(jax.grad(loss)(args), v)  # noqa: E731
        hessian = (
            jax.jvp(jax.grad(loss), (args,), (v,))[1],
            jax.grad(gradient_along)(args),
        )
        return forward, pullback(w)[0], hessian, jax.grad(unrolled_loss)(args)

    return Derivatives(problem, jax.jit(loss), jax.jit(jax.grad(loss)), products)


def inner(a, b):
    return sum(jnp.vdot(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.fixture(scope="module", params=[CUBIC, TWO_FIELDS], ids=["cubic", "two fields"])
def derivatives(request):
    return make_derivatives(request.param)


@pytest.fixture(scope="module")
def products(derivatives):
    """(v, w, another v, products with v and w, products with the other v and w)."""
    args = derivatives.problem.args
    v, other = normal_like(1, args), normal_like(2, args)
    w = normal_like(3, derivatives.problem.z0)
    return v, w, other, derivatives.products(args, v, w), derivatives.products(args, other, w)


@pytest.mark.few(1)
def test_gradient_against_central_differences(derivatives):
    args = derivatives.problem.args
    gradient = derivatives.gradient(args)
    for seed in range(DIRECTIONS):
        direction = normal_like(seed, args)
        slope = jnp.asarray(dot(gradient, direction))
        assert central_difference_error(derivatives.loss, args, direction, slope) < 1e-6


@pytest.mark.slow
def test_gradient_equals_that_of_the_unrolled_solver(derivatives, products):
    *_, (_, _, _, unrolled), _ = products
    assert relative_difference(derivatives.gradient(derivatives.problem.args), unrolled) < 1e-9


@pytest.mark.slow
def test_forward_and_reverse_mode_are_transposes(products):
    v, w, _, (forward, reverse, *_), _ = products
    assert dot(forward, w) == pytest.approx(dot(v, reverse), rel=1e-10)
    assert abs(dot(forward, w)) > 1e-3


@pytest.mark.slow
def test_hessian_against_differences_of_gradients(derivatives, products):
    v, _, _, (_, _, hessian_v, _), _ = products
    args = derivatives.problem.args
    assert central_difference_error(derivatives.gradient, args, v, hessian_v[0]) < 1e-6


@pytest.mark.slow
def test_hessian_is_symmetric_and_the_same_in_both_modes(products):
    v, _, other, (_, _, of_v, _), (_, _, of_other, _) = products
    forward_over_reverse, reverse_over_reverse = of_v
    assert relative_difference(reverse_over_reverse, forward_over_reverse) < 1e-8
    assert dot(of_v[0], other) == pytest.approx(dot(v, of_other[0]), rel=1e-9)
