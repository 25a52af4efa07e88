"""The solution of a linear system against that of dense matrices, in value and every derivative."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.implicit._linear_solution import linear_solution

A = jnp.asarray(np.random.default_rng(0).normal(size=(4, 4)) + 4 * np.eye(4))
B = jnp.asarray(np.random.default_rng(1).normal(size=4))


def solution(A, b):
    def product(operands, v):
        return operands @ v

    def solve(operands, b, *, transpose):
        return jnp.linalg.solve(operands.T if transpose else operands, b)

    return linear_solution(A, b, product, solve)


WAYS = {
    "value": lambda f: f(A, B),
    "jacfwd": lambda f: jax.jacfwd(f, (0, 1))(A, B),
    "jacrev": lambda f: jax.jacrev(f, (0, 1))(A, B),
    "jacfwd(jacrev)": lambda f: jax.jacfwd(jax.jacrev(f, (0, 1)), (0, 1))(A, B),
    "jacrev(jacrev)": lambda f: jax.jacrev(jax.jacrev(f, (0, 1)), (0, 1))(A, B),
    "batch of right-hand sides": lambda f: jax.vmap(f, (None, 0))(A, jnp.stack([B, 2 * B])),
    "batch of matrices": lambda f: jax.vmap(f, (2, None))(jnp.stack([A, A.T], axis=2), B),
    "derivative of a batch": lambda f: jax.jacrev(jax.vmap(f, (0, None)))(jnp.stack([A, A.T]), B),
    "batch of derivatives": lambda f: jax.vmap(jax.jacrev(f), (0, None))(jnp.stack([A, A.T]), B),
    "in a loop": lambda f: jax.jacrev(
        lambda A: jax.lax.scan(lambda x, _: (f(A, x), None), B, length=3)[0]
    )(A),
}


@pytest.mark.parametrize("jit", [False, True])
@pytest.mark.parametrize("way", WAYS)
def test_it_is_that_of_a_dense_solve(way, jit):
    def of(f):
        return jax.jit(lambda: WAYS[way](f))() if jit else WAYS[way](f)

    found, exact = of(solution), of(jnp.linalg.solve)
    for ours, dense in zip(*map(jax.tree.leaves, (found, exact)), strict=True):
        np.testing.assert_allclose(ours, dense, rtol=1e-10, atol=1e-12)


def test_only_the_solve_that_runs_is_traced():
    traced = []

    def solve(operands, b, *, transpose):
        traced.append(transpose)
        return b / operands

    def loss(b):
        return jnp.sum(linear_solution(jnp.full(4, 2.0), b, lambda a, v: a * v, solve) ** 2)

    jax.jit(loss).lower(B)
    assert traced == [False]
    traced.clear()
    # linear in b: its derivative is the transposed solve of 2 x, and x is needed for that
    jax.jit(jax.grad(loss)).lower(B)
    assert traced == [False, True]
