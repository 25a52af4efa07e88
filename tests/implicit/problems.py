"""Small systems F(z, args) = 0 of every kind that the implicit layer must solve."""

from collections.abc import Callable
from functools import cache
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import PyTree

from impindiff.implicit import ImplicitAdjoint, NewtonKrylov

N = 6
_rng = np.random.default_rng(0)
_MATRIX = jnp.asarray(3 * np.eye(N) + 0.4 * _rng.normal(size=(N, N)))
_RIGHT = jnp.asarray(_rng.normal(size=N))
_UNITS = jnp.asarray(np.logspace(-2, 2, N))

# Tight enough, forward and backward, for derivatives to be compared to many digits.
TIGHT = NewtonKrylov(rtol=1e-13, atol=1e-14)
TIGHT_ADJOINT = ImplicitAdjoint(rtol=1e-12)


class Problem(NamedTuple):
    name: str
    residual: Callable[[Any, Any], Any]
    z0: PyTree
    args: PyTree
    affine: bool


def linear_residual(z, args):
    matrix, right = args
    return matrix @ z - right


def cubic_residual(z, args):
    strength, right = args
    return z + strength * z**3 + 0.3 * jnp.roll(z, 1) - right


def two_fields_residual(z, args):
    """Leaves of different shapes, coupled both ways; `q`'s equation does not know `strength`."""
    strength, right = args
    p, q = z["p"], z["q"]
    return {
        "p": p + strength * p**3 + 0.2 * jnp.mean(q) - right["p"],
        "q": 2 * q + 0.1 * jnp.sum(p) * jnp.arange(1.0, 4.0) - right["q"],
    }


NONSYMMETRIC = Problem(
    "nonsymmetric", linear_residual, jnp.zeros(N), (_MATRIX, _RIGHT), affine=True
)
SYMMETRIC = Problem(
    "symmetric positive definite",
    linear_residual,
    jnp.zeros(N),
    (_MATRIX.T @ _MATRIX + jnp.eye(N), _RIGHT),
    affine=True,
)
# Equations in units from 1e-2 to 1e2: the Jacobian's condition number is above 1e4.
BADLY_SCALED = Problem(
    "badly scaled",
    linear_residual,
    jnp.zeros(N),
    (_UNITS[:, None] * _MATRIX, _UNITS * _RIGHT),
    affine=True,
)
CUBIC = Problem("cubic", cubic_residual, jnp.zeros(N), (jnp.asarray(0.5), 2 * _RIGHT), affine=False)
TWO_FIELDS = Problem(
    "two fields",
    two_fields_residual,
    {"p": jnp.zeros((2, 2)), "q": jnp.zeros(3)},
    (
        jnp.asarray(0.7),
        {"p": jnp.asarray(_rng.normal(size=(2, 2))), "q": jnp.asarray(_rng.normal(size=3))},
    ),
    affine=False,
)


def dense_jacobian(residual, z: PyTree, args: PyTree) -> jax.Array:
    """dF/dz as a matrix, in the order of `ravel_pytree`."""
    flat, unravel = ravel_pytree(z)
    return jax.jacobian(lambda v: ravel_pytree(residual(unravel(v), args))[0])(flat)


def reference_root(problem: Problem) -> PyTree:
    """The root by Newton's method with dense matrices: nothing shared with the library."""
    return _reference_roots()[problem.name]


@cache
def _reference_roots() -> dict[str, PyTree]:
    roots = {}
    for problem in (NONSYMMETRIC, SYMMETRIC, BADLY_SCALED, CUBIC, TWO_FIELDS):
        z, unravel = ravel_pytree(problem.z0)

        @jax.jit
        def linearised(z, problem=problem, unravel=unravel):
            value = problem.residual(unravel(z), problem.args)
            return ravel_pytree(value)[0], dense_jacobian(
                problem.residual, unravel(z), problem.args
            )

        for _ in range(50):
            value, matrix = (np.asarray(a) for a in linearised(z))
            z = z - np.linalg.solve(matrix, value)
        roots[problem.name] = unravel(jnp.asarray(z))
    return roots


def inverse_of(residual, weaken: float = 0.0):
    """A preconditioner: (J + weaken diag J)^{-1} by dense matrices, exact for `weaken=0`."""

    def preconditioner(z, args):
        flat, unravel = ravel_pytree(z)
        matrix = dense_jacobian(residual, z, args)
        matrix = matrix + weaken * jnp.diag(jnp.diag(matrix))
        inverse = jnp.linalg.inv(matrix)
        del flat
        return lambda v: unravel(inverse @ ravel_pytree(v)[0])

    return preconditioner
