"""Refusal of orders of differentiation that a custom backward pass does not support.

Both are the identity. JAX's own errors for these cases (of custom_vjp and of while loops) do not
mention the rollout, and arise during compilation, without a line of the user's code.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import PyTree

from impindiff.errors import InputError

_NO_FORWARD = (
    "Binomial: forward mode (jax.jvp, jax.jacfwd, jax.linearize) through the steps; expected "
    "reverse mode, or forward over reverse mode as in jax.hessian. Use StoreStates() or Segments()"
)
_NO_SECOND_REVERSE = (
    "Binomial: reverse mode over reverse mode (jax.grad of jax.grad); expected forward over "
    "reverse mode, such as jax.hessian or jax.jvp of jax.grad. Or use StoreStates() or Segments()"
)


def no_forward_mode(tree: PyTree[Any]) -> PyTree[Any]:
    """The tree; raises `InputError` once a tangent of it is needed, not only its transpose."""
    return _mapped(_no_forward_p, tree)


def no_reverse_mode(tree: PyTree[Any]) -> PyTree[Any]:
    """The tree; raises `InputError` once it is differentiated in reverse mode."""
    return _mapped(_no_reverse_p, tree)


def _mapped(primitive: Primitive, tree: PyTree[Any]) -> PyTree[Any]:
    return jax.tree.map(lambda x: primitive.bind(x) if eqx.is_inexact_array(x) else x, tree)


def _refused(message: str) -> Callable[..., Any]:
    def refuse(*operands: Any, **options: Any) -> Any:
        raise InputError(message)

    return refuse


def _identity(name: str, refuse_in: str, message: str) -> Primitive:
    """An identity primitive that disappears when differentiated, and acts on the tangent alone."""
    refuse = _refused(message)
    identity, of_tangent = Primitive(name), Primitive(f"{name}_of_tangent")
    for primitive in (identity, of_tangent):
        primitive.def_impl(lambda x, *_: x)
        primitive.def_abstract_eval(lambda x, *_: x)
        mlir.register_lowering(primitive, lambda context, x, *_: [x])

    def pushed_forward(primals, tangents):
        (x,), (dx,) = primals, tangents
        # includes x, so that a second derivative in x arrives here before JAX's own error
        return x, dx if isinstance(dx, ad.Zero) else of_tangent.bind(dx, x)

    def batched(operands, dims):
        return identity.bind(*operands), *dims

    ad.primitive_jvps[identity] = pushed_forward
    batching.primitive_batchers[identity] = batched
    if refuse_in == "forward":
        of_tangent.def_impl(refuse)
        mlir.register_lowering(of_tangent, refuse)
        batching.primitive_batchers[of_tangent] = refuse
        ad.primitive_jvps[of_tangent] = refuse
        ad.primitive_transposes[of_tangent] = lambda ct, dx, x: [ct, None]
    else:
        batching.primitive_batchers[of_tangent] = _batched_tangent(of_tangent)
        ad.primitive_jvps[of_tangent] = _linear_in_the_first(of_tangent)
        ad.primitive_transposes[of_tangent] = refuse
    return identity


def _batched_tangent(of_tangent: Primitive) -> Callable[..., Any]:
    def batched(operands, dims):
        dx, x = (
            a if d is None else jnp.moveaxis(a, d, 0) for a, d in zip(operands, dims, strict=True)
        )
        return of_tangent.bind(dx, x), None if dims[0] is None else 0

    return batched


def _linear_in_the_first(of_tangent: Primitive) -> Callable[..., Any]:
    def pushed_forward(primals, tangents):
        dx, x = primals
        ddx, _ = tangents
        moved = ddx if isinstance(ddx, ad.Zero) else of_tangent.bind(ddx, x)
        return of_tangent.bind(dx, x), moved

    return pushed_forward


_no_forward_p = _identity("no_forward_mode", "forward", _NO_FORWARD)
_no_reverse_p = _identity("no_reverse_mode", "reverse", _NO_SECOND_REVERSE)
