"""The equation of an implicit layer in a lower precision, for use in its linear solves."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.typing import DTypeLike
from jaxtyping import PyTree

from impindiff.implicit.linear import LinearMap, LowerPrecision, Preconditioner
from impindiff.implicit.pytree import result_dtype, tree_cast
from impindiff.implicit.solver import Residual


class InPrecisions(eqx.Module):
    """A residual that takes the unknown in either of two precisions, and returns F in it.

    Its parts are made for one precision each, as any function with a converted closure is.
    """

    own: Residual
    lower: Residual
    dtype: str = eqx.field(static=True)

    @classmethod
    def of(
        cls, residual: Residual, own: Residual, z0: PyTree, args: PyTree, dtype: DTypeLike
    ) -> "InPrecisions":
        """Build from a residual and its `eqx.filter_closure_convert` for z0 and args."""

        def in_lower(z, args):
            return tree_cast(residual(z, args), dtype)

        lowered = tree_cast((z0, args), dtype)
        return cls(own, eqx.filter_closure_convert(in_lower, *lowered), jnp.dtype(dtype).name)

    def __call__(self, z: PyTree, args: PyTree) -> PyTree:
        """F(z, args); in the lower precision if z is in it, args being cast."""
        if result_dtype(z).name != self.dtype:
            return self.own(z, args)
        return self.lower(z, tree_cast(args, self.dtype))


def linearised(
    residual: Residual,
    z: PyTree,
    args: PyTree,
    preconditioner: Preconditioner | None,
    *,
    transpose: bool = False,
) -> tuple[LinearMap, LinearMap | None]:
    """dF/dz at z, and its approximate inverse; or the transposes of both."""
    inverse = None if preconditioner is None else preconditioner(z, args)
    if not transpose:
        return jax.linearize(lambda z: residual(z, args), z)[1], inverse
    _, pullback = jax.vjp(lambda z: residual(z, args), z)
    if inverse is not None:
        transposed = jax.linear_transpose(inverse, z)
        inverse = lambda v: transposed(v)[0]  # noqa: E731
    return lambda w: pullback(w)[0], inverse


def lowered(
    residual: InPrecisions,
    z: PyTree,
    args: PyTree,
    preconditioner: Preconditioner | None,
    *,
    transpose: bool = False,
) -> tuple[LowerPrecision, LinearMap | None]:
    """Linearise in the lower precision (see `linearised`)."""
    z, args = tree_cast((z, args), residual.dtype)
    matvec, inverse = linearised(residual, z, args, preconditioner, transpose=transpose)
    return LowerPrecision(matvec, residual.dtype), inverse
