"""Interface of the nonlinear solvers of implicit layers."""

import abc
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PyTree

from impindiff.errors import InputError
from impindiff.implicit._status import Status
from impindiff.implicit.components import ROUND_OFF, Components
from impindiff.implicit.pytree import rms_norm, tree_where

Residual = Callable[[PyTree, PyTree], PyTree]


def tolerances(
    rtol: float | None,
    atol: float | None,
    reference: Float[Array, " components"],
    terms: Float[Array, " components"],
    first_terms: Float[Array, " components"] | float = 0.0,
    *,
    eps: Float[np.ndarray, " components"],
) -> Float[Array, " components"]:
    """Tolerance of each component's residual: rtol reference + atol.

    - `rtol`: default eps**0.5.
    - `atol`: default round-off, 8 eps times the size of the terms of the equation. Growth of the
      terms since the start, `first_terms`, counts only as far as round-off stays below eps**0.5 of
      the reference: a diverging unknown would hide its residual.
    - `eps`: of each component's precision.

    A tolerance that is not finite becomes zero, since it would accept every residual.
    """
    # JAX hoists an array as an argument of the program, which is then differentiated like others
    unit = jax.lax.stop_gradient(jnp.asarray(eps, terms.dtype))
    wanted = jnp.asarray(unit**0.5 if rtol is None else rtol, terms.dtype) * reference
    if atol is not None:
        return _finite(wanted) + jnp.asarray(atol, terms.dtype)
    most = jnp.where(reference > 0, unit**0.5 * reference, jnp.inf)
    grown = jnp.minimum(ROUND_OFF * unit * terms, most)
    return _finite(wanted) + _finite(jnp.maximum(grown, ROUND_OFF * unit * first_terms))


def require_tolerances(solver: str, rtol: Any, atol: Any) -> None:
    """Raise `InputError` for a tolerance that is neither None nor numbers of 0 or more."""
    for name, given in (("rtol", rtol), ("atol", atol)):
        if given is None or isinstance(given, jax.core.Tracer):
            continue
        known = np.asarray(given)
        if known.dtype.kind not in "iuf" or not np.all(known >= 0):
            raise InputError(
                f"{solver}: {name} is {given!r:.60}; expected a number of 0 or more, or None for "
                "the default"
            )


def _finite(target: Float[Array, " components"]) -> Float[Array, " components"]:
    return jnp.where(jnp.isfinite(target), target, 0.0)


class AbstractRootSolver(eqx.Module):
    """Solver for a root z with F(z) = 0.

    A solution is accepted when the true residual of every component i (a leaf of z, or an entry if
    z has at most 16) satisfies ||F_i(z)|| <= rtol R_i + atol, in root mean squares. R_i is the size
    of F_i(z0), or of the other components' terms in it. By default atol is the round-off of F_i, a
    few eps times the size of its terms, so the criterion is invariant to scaling of the unknown or
    the equations.
    """

    rtol: eqx.AbstractVar[float | None]
    atol: eqx.AbstractVar[float | None]
    max_iterations: eqx.AbstractVar[int]

    @abc.abstractmethod
    def solve(
        self,
        residual: Residual,
        z0: PyTree,
        args: PyTree,
        *,
        guess: PyTree | None = None,
        unrolled: bool = False,
    ) -> tuple[PyTree, Status]:
        """Solve `residual(z, args) = 0`.

        The iteration starts at `guess` if that has the smaller residual, else at `z0`; the
        tolerance always refers to ||F(z0)||, so that a good guess saves work rather than adding
        digits. With `unrolled=True` every loop has a fixed length, as reverse-mode differentiation
        requires (and stores every iterate).
        """


class Start(NamedTuple):
    """The start of an iteration; see `AbstractRootSolver.solve`.

    - `z`: the point.
    - `at_z0`: sizes of F(z0), if it had to be evaluated.
    - `reduction`: the residual at the point over that at z0.
    """

    z: PyTree[Float[Array, "..."]]
    at_z0: Float[Array, " components"] | None
    reduction: Float[Array, ""] | float


def better_start(function: Callable[[PyTree], PyTree], z0: PyTree, guess: PyTree | None) -> Start:
    """The better of z0 and the guess."""
    if guess is None:
        return Start(z0, None, 1.0)
    at_z0, at_guess = (jax.lax.stop_gradient(function(point)) for point in (z0, guess))
    # a comparison with NaN is false: an unusable guess is rejected
    size, size_of_guess = rms_norm(at_z0), rms_norm(at_guess)
    better = size_of_guess < size
    reduction = jnp.where(better, size_of_guess / jnp.where(better, size, 1.0), 1.0)
    return Start(tree_where(better, guess, z0), Components(z0).sizes(at_z0), reduction)
