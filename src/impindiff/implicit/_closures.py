"""Functions that close over values which JAX is about to transform."""

from types import FunctionType
from typing import Any

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.implicit.linear import LinearMap, Preconditioner


def holds_closure_over_tracer(tree: PyTree[Any]) -> bool:
    """True if a leaf is a plain function that closes over a tracer, directly or indirectly."""
    functions = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, FunctionType)]
    cells = [cell.cell_contents for f in functions for cell in f.__closure__ or ()]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(cells)):
        return True
    return bool(cells) and holds_closure_over_tracer(cells)


class HoistedPreconditioner(eqx.Module):
    """A preconditioner whose closed-over arrays are leaves, usable after its trace has ended.

    It is traced once. Linearised in the vector, it is set up once per solve, as without hoisting.
    """

    applied: Any

    @classmethod
    def of(
        cls, preconditioner: Preconditioner, z0: PyTree, args: PyTree
    ) -> "HoistedPreconditioner":
        """Hoist a preconditioner for z and args like these."""

        def applied(z, args, v):
            return preconditioner(z, args)(v)

        return cls(eqx.filter_closure_convert(applied, z0, args, z0))

    def __call__(self, z: PyTree, args: PyTree) -> LinearMap:
        """Build the linear map (see `Preconditioner`)."""
        nothing = jax.tree.map(jnp.zeros_like, z)
        return jax.linearize(lambda v: self.applied(z, args, v), nothing)[1]
