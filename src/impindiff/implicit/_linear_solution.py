"""The solution of a linear system, of which JAX traces only the solve that is run.

`jax.lax.custom_linear_solve` traces a solve, the transposed solve and the product at once, wherever
it stands. A gradient runs the transposed solve alone, and tracing a preconditioned Krylov loop
takes longer than running it on a small grid. Here each is traced when a program with it is lowered.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import equinox as eqx
import jax
from jax.extend.core import Primitive
from jax.interpreters import ad, batching, mlir
from jaxtyping import Array, PyTree

from impindiff.implicit._batching import axis_first, over_axis

Product = Callable[[Any, Any], Any]
"""`product(operands, v)` is A v, for the A that the operands define."""

Solve = Callable[..., Any]
"""`solve(operands, b, transpose=...)` is A^{-1} b, or A^{-T} b."""


class _System(NamedTuple):
    """Product and solve, as functions of lists of arrays."""

    product: Product
    solve: Solve


def linear_solution(
    operands: PyTree[Any], b: PyTree[Array], product: Product, solve: Solve
) -> PyTree[Array]:
    """The x with A x = b by `solve`, differentiable in b and in the operands, in every order.

    By implicit differentiation: A dx = db - dA x. Neither function may close over an array; arrays
    are operands. Leaves of operands that are not arrays are passed through.
    """
    leaves, structure = jax.tree.flatten(b)
    arrays, static = eqx.partition(operands, eqx.is_array)
    arrays, form = jax.tree.flatten(arrays)

    def combined(arrays: Sequence[Array]) -> Any:
        return eqx.combine(jax.tree.unflatten(form, arrays), static)

    def product_of_leaves(arrays, v):
        return jax.tree.leaves(product(combined(arrays), jax.tree.unflatten(structure, v)))

    def solve_leaves(arrays, b, *, transpose):
        b = jax.tree.unflatten(structure, b)
        return jax.tree.leaves(solve(combined(arrays), b, transpose=transpose))

    system = _System(product_of_leaves, solve_leaves)
    found = _solution_p.bind(*leaves, *arrays, count=len(leaves), system=system, transpose=False)
    return jax.tree.unflatten(structure, found)


def _solved(*values: Array, count: int, system: _System, transpose: bool) -> list[Array]:
    return system.solve(values[count:], list(values[:count]), transpose=transpose)


def _times(system: _System, transpose: bool, operands: Sequence[Array], v: list[Array]) -> Any:
    """A v, or A^T v."""
    if not transpose:
        return system.product(operands, v)
    return jax.linear_transpose(partial(system.product, operands), v)(v)[0]


def _pushed_forward(primals, tangents, *, count: int, system: _System, transpose: bool):
    bind = partial(_solution_p.bind, count=count, system=system, transpose=transpose)
    operands, moved = primals[count:], tangents[count:]
    x = bind(*primals)
    right = list(map(ad.instantiate_zeros, tangents[:count]))
    if not all(isinstance(dot, ad.Zero) for dot in moved):
        still = [isinstance(dot, ad.Zero) for dot in moved]
        known, free = (
            [None if zero is flag else a for a, zero in zip(operands, still, strict=True)]
            for flag in (False, True)
        )

        def product_with(free):
            pairs = zip(known, free, strict=True)
            return _times(system, transpose, [b if a is None else a for a, b in pairs], list(x))

        dots = [None if zero else dot for dot, zero in zip(moved, still, strict=True)]
        _, change = jax.jvp(product_with, (free,), (dots,))
        right = [r - c for r, c in zip(right, change, strict=True)]
    return x, bind(*right, *operands)


def _transposed(cts, *values, count: int, system: _System, transpose: bool):
    linear = list(map(ad.is_undefined_primal, values[:count]))
    cts = map(ad.instantiate_zeros, cts)
    found = _solution_p.bind(
        *cts, *values[count:], count=count, system=system, transpose=not transpose
    )
    own = [x if wanted else None for x, wanted in zip(found, linear, strict=True)]
    return [*own, *[None] * (len(values) - count)]


def _batched(axis, values, dims, *, count: int, system: _System, transpose: bool):
    how = {"count": count, "transpose": transpose}
    if all(dim is None for dim in dims):
        return _solution_p.bind(*values, system=system, **how), [None] * count
    values, axes = axis_first(axis, values, dims, count)

    def product(operands, v):
        return over_axis(axis, system.product, (axes[count:], 0))(list(operands), v)

    def solve(operands, b, *, transpose):
        of_one = partial(system.solve, transpose=transpose)
        return over_axis(axis, of_one, (axes[count:], 0))(list(operands), b)

    return _solution_p.bind(*values, system=_System(product, solve), **how), [0] * count


def _run(*values, **how):
    return jax.jit(partial(_solved, **how))(*values)


_solution_p = Primitive("linear_solution")
_solution_p.multiple_results = True
_solution_p.def_impl(_run)
_solution_p.def_abstract_eval(lambda *values, count, system, transpose: list(values[:count]))
ad.primitive_jvps[_solution_p] = _pushed_forward
ad.primitive_transposes[_solution_p] = _transposed
batching.fancy_primitive_batchers[_solution_p] = _batched
mlir.register_lowering(_solution_p, mlir.lower_fun(_solved, multiple_results=True))
