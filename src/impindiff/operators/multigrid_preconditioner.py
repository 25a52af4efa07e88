"""Multigrid cycles as the preconditioner of an implicit layer."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.implicit.linear import LinearMap
from impindiff.operators.elliptic import Elliptic
from impindiff.operators.multigrid import multigrid


class MultigridPreconditioner(eqx.Module):
    """`multigrid` on each component of the state: a block-diagonal inverse.

    For a model u_t = div(D grad u), whose step of weight w has the matrix I - w div(D grad .):

        ipd.NewtonKrylov(
            preconditioner=ipd.MultigridPreconditioner(
                lambda z, stage: ipd.Elliptic.of(stage.weight * D, 1.0, grid)
            )
        )

    - `operator`: `operator(z, args)` gives, for one sample, a pytree like the state z with an
      `Elliptic` for each array, close to that component's part of dF/dz, or None where there is
      nothing to precondition. In steppers `args` is a `StageEquation`.
    - `cycles`: V-cycles an application.

    The adjoint solve takes the transpose, which is the map itself. Raises `InputError` where an
    `Elliptic` and its component differ in shape.
    """

    operator: Callable[[PyTree, Any], PyTree]
    cycles: int = 1

    def __call__(self, z: PyTree, args: Any) -> LinearMap:
        """The linear map v -> (dF/dz)^{-1} v at z, about; see `NewtonKrylov`."""
        leaves, structure = jax.tree.flatten(z)
        operators = structure.flatten_up_to(self.operator(z, args))
        inverses = [self._inverse(A, leaf) for A, leaf in zip(operators, leaves, strict=True)]

        def inverse(v: PyTree) -> PyTree:
            blocks = zip(inverses, jax.tree.leaves(v), strict=True)
            return jax.tree.unflatten(structure, [f(leaf) for f, leaf in blocks])

        return inverse

    def _inverse(self, operator: Elliptic | None, like: jax.Array) -> LinearMap:
        if operator is None:
            return lambda v: v
        if operator.shape != like.shape:
            raise InputError(
                f"MultigridPreconditioner: an Elliptic of shape {operator.shape} is given for a "
                f"component of the state of shape {like.shape}; one sample's are to be equal."
            )
        in_its_precision = jax.tree.map(lambda x: jnp.asarray(x, like.dtype), operator)
        return multigrid(in_its_precision, cycles=self.cycles)
