"""What a nonlinear solver of an implicit layer is."""

import abc
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.implicit.pytree import result_dtype
from impindiff.implicit.status import Status

Residual = Callable[[PyTree, PyTree], PyTree]


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
        self, residual: Residual, z0: PyTree, args: PyTree, *, unrolled: bool
    ) -> tuple[PyTree, Status]:
        """Solve `residual(z, args) = 0` from `z0`.

        With `unrolled=True` every loop has a fixed length that reverse-mode differentiation can
        run backwards through (and stores every iterate).
        """

    def tolerance(self, initial: Float[Array, ""], z0: PyTree) -> Float[Array, ""]:
        """The residual to reach, given the size of the first one."""
        eps = float(jnp.finfo(result_dtype(z0)).eps)
        rtol = eps**0.5 if self.rtol is None else self.rtol
        atol = eps**0.75 if self.atol is None else self.atol
        return atol + rtol * initial
