"""What a nonlinear solver of an implicit layer is."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit.pytree import result_dtype, rms_norm, tree_where
from impindiff.implicit.status import Status

Residual = Callable[[PyTree, PyTree], PyTree]


def tolerance(
    rtol: float | None, atol: float | None, initial: Float[Array, ""], z0: PyTree
) -> Float[Array, ""]:
    """The residual to reach: atol + rtol initial, by default eps**0.75 and eps**0.5."""
    eps = float(jnp.finfo(result_dtype(z0)).eps)
    return (eps**0.75 if atol is None else atol) + (eps**0.5 if rtol is None else rtol) * initial


class AbstractRootSolver(eqx.Module):
    """Finds z with F(z) = 0.

    A solution is accepted when the true residual satisfies
    ||F(z)|| <= atol + rtol ||F(z0)||, with root-mean-square norms over all unknowns.
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
        digits. With `unrolled=True` every loop has a fixed length that reverse-mode differentiation
        can run backwards through (and stores every iterate).
        """


def better_start(
    function: Callable[[PyTree], PyTree], z0: PyTree, guess: PyTree | None
) -> tuple[PyTree, Float[Array, ""] | None]:
    """(where to start, ||F(z0)|| if it had to be evaluated); see `AbstractRootSolver.solve`."""
    if guess is None:
        return z0, None
    reference, size = (rms_norm(jax.lax.stop_gradient(function(point))) for point in (z0, guess))
    # a comparison with NaN is false: an unusable guess is not taken
    return tree_where(size < reference, guess, z0), reference
