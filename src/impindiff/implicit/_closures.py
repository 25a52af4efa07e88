"""Functions that close over values which JAX is about to transform."""

from contextlib import AbstractContextManager, nullcontext
from types import FunctionType
from typing import Any, TypeVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from impindiff.implicit.linear import LinearMap, Preconditioner

T = TypeVar("T")


def holds_closure_over_tracer(tree: PyTree[Any]) -> bool:
    """True if a leaf is a plain function that closes over a tracer, directly or indirectly."""
    functions = [leaf for leaf in jax.tree.leaves(tree) if isinstance(leaf, FunctionType)]
    cells = [cell.cell_contents for f in functions for cell in f.__closure__ or ()]
    if any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(cells)):
        return True
    return bool(cells) and holds_closure_over_tracer(cells)


def evaluated_at_once() -> AbstractContextManager[Any]:
    """Context in which operations on numbers give numbers, also while `jax.jit` traces."""
    # the context of JAX slows down tracing inside of it several times
    tracing = isinstance(jnp.asarray(np.zeros(())), jax.core.Tracer)
    return jax.ensure_compile_time_eval() if tracing else nullcontext()


def known_numbers(tree: T) -> T | None:
    """The tree with numbers in place of values that are only differentiated; None if traced.

    To be called in the context `evaluated_at_once`.
    """
    if holds_closure_over_tracer(tree):
        return None

    def number(leaf: Any) -> Any:
        return jax.lax.stop_gradient(leaf) if isinstance(leaf, jax.core.Tracer) else leaf

    found = jax.tree.map(number, tree)
    traced = any(isinstance(leaf, jax.core.Tracer) for leaf in jax.tree.leaves(found))
    return None if traced else found


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
