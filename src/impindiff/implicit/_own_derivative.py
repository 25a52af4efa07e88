"""Values with a custom derivative that JAX's loops preserve.

`jax.custom_jvp` gives a function a custom derivative, but its rule is lost in a loop that is
differentiated in reverse mode: to hoist loop-invariant work, `jax.lax.scan` splits its body into
the part that depends on constants alone and the rest, and in this split JAX replaces each call that
has a rule by the function itself ("non-trivial partial evaluation is only performed to build linear
functions", `JaxprTrace.process_custom_jvp_call` in JAX 0.10). Differentiating the result again
differentiates the function, without the rule. For a root, which is a constant except for its rule,
all terms of a second derivative from the root's motion were lost. A primitive, as here, is never
replaced.
"""

from collections.abc import Callable, Sequence
from typing import Any

import equinox as eqx
import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree

from impindiff.implicit._batching import axis_first, over_axis

_Tangent = Callable[[Sequence[Array], Sequence[Array | None]], list[Array]]


def with_derivative(
    value: PyTree[Array],
    operands: PyTree[Any],
    derivative: Callable[[PyTree[Array], PyTree[Any], PyTree[Any]], PyTree[Array]],
) -> PyTree[Array]:
    """The value, with `derivative(value, operands, tangents)` as its tangent, in every order.

    - `value`: arrays; their computation is not differentiated.
    - `operands`: the inputs that they depend on. Leaves that are not arrays are passed through.
    - `derivative`: of the structure of `value`, linear in `tangents`, which are those of the
      operands, or None for constants; a function that closes over no array. It is differentiated
      itself in higher orders, and transposed in reverse mode.
    """
    leaves, structure = jax.tree.flatten(jax.lax.stop_gradient(value))
    arrays, static = eqx.partition(operands, eqx.is_array)
    arrays, form = jax.tree.flatten(arrays)
    count = len(leaves)

    def tangent(primals, tangents):
        value = jax.tree.unflatten(structure, primals[:count])
        operands = eqx.combine(jax.tree.unflatten(form, primals[count:]), static)
        moved = jax.tree.unflatten(form, tangents[count:])
        return jax.tree.leaves(derivative(value, operands, moved))

    found = _value_p.bind(*leaves, *arrays, count=count, tangent=tangent)
    return jax.tree.unflatten(structure, found)


def _pushed_forward(primals, tangents, *, count: int, tangent: _Tangent):
    found = _value_p.bind(*primals, count=count, tangent=tangent)
    still = [isinstance(dot, ad.Zero) for dot in tangents]
    if all(still[count:]):
        return found, [ad.Zero(x.to_tangent_aval()) for x in map(jax.typeof, found)]
    moved = [None if zero else dot for dot, zero in zip(tangents, still, strict=True)]
    # the value found, not the one given: it depends on the operands when this is differentiated
    return found, tangent([*found, *primals[count:]], moved)


def _batched(axis, operands, dims, *, count: int, tangent: _Tangent):
    if all(dim is None for dim in dims):
        return _value_p.bind(*operands, count=count, tangent=tangent), [None] * count
    operands, axes = axis_first(axis, operands, dims, count)

    def of_all(primals, tangents):
        along = [None if dot is None else a for dot, a in zip(tangents, axes, strict=True)]
        return over_axis(axis, tangent, (axes, along))(list(primals), list(tangents))

    return _value_p.bind(*operands, count=count, tangent=of_all), [0] * count


_value_p = Primitive("value_with_derivative")
_value_p.multiple_results = True
_value_p.def_impl(lambda *operands, count, tangent: list(operands[:count]))
_value_p.def_abstract_eval(lambda *operands, count, tangent: list(operands[:count]))
ad.primitive_jvps[_value_p] = _pushed_forward
batching.fancy_primitive_batchers[_value_p] = _batched
mlir.register_lowering(_value_p, lambda context, *operands, count, tangent: operands[:count])
