"""One matrix-free linear solve, judged by its true residual."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit.bicgstab import BiCGStab, bicgstab
from impindiff.implicit.pytree import (
    all_finite,
    max_norm,
    result_dtype,
    rms_norm,
    tree_add,
    tree_cast,
    tree_cast_like,
    tree_scale,
    tree_subtract,
    tree_where,
    without_tangents,
)

LinearMap = Callable[[PyTree], PyTree]
Preconditioner = Callable[[PyTree, PyTree], LinearMap]
"""`preconditioner(z, args)` returns a linear map that approximates the inverse of dF/dz there.

It must be made of JAX operations that `jax.linear_transpose` accepts: adjoint solves use its
transpose.
"""


def krylov_solve(
    matvec: LinearMap,
    b: PyTree[Float[Array, "..."]],
    solver: lx.AbstractLinearSolver,
    rtol: Float[Array, ""] | float,
    preconditioner: LinearMap | None = None,
    *,
    unrolled: bool = False,
) -> tuple[PyTree[Float[Array, "..."]], Int[Array, ""], Bool[Array, ""]]:
    """Solve A x = b to a relative residual of about `rtol`; returns (x, iterations, success).

    The right-hand side is first scaled to root mean square 1, and the solver's own tolerances (if
    it has any) are replaced by `rtol` on that scale: Lineax compares residual and tolerance entry
    by entry, which for a right-hand side with zeros asks for more, or less, than was meant. A
    right-hand side that is not finite is replaced by zero, so that a lost sample of a batch does
    not keep its neighbours iterating.

    `unrolled`, the method is `bicgstab` whatever `solver` is, since no other can be differentiated
    through; of `solver` only `max_steps` counts.
    """
    scale = rms_norm(jax.lax.stop_gradient(b))
    usable = (scale > 0) & jnp.isfinite(scale)
    safe_scale = jnp.where(usable, scale, 1.0)
    unit = tree_where(usable, tree_scale(1 / safe_scale, b), jax.tree.map(jnp.zeros_like, b))

    if unrolled:
        max_steps = getattr(solver, "max_steps", None) or BiCGStab().max_steps
        x, steps, success = bicgstab(matvec, unit, rtol, max_steps, preconditioner, unrolled=True)
        return tree_scale(safe_scale, x), steps, success

    wanted = jnp.asarray(rtol, result_dtype(b))
    own = {field.name for field in dataclasses.fields(solver)}
    replaced = {"rtol": 0.0, "atol": wanted} if "atol" in own else {"rtol": wanted}
    replaced |= {"norm": rms_norm}
    changes: dict[str, Any] = {name: replaced[name] for name in own & set(replaced)}
    solver = dataclasses.replace(solver, **changes)
    structure = jax.eval_shape(lambda: b)
    # Lineax's CG accepts only operators that are declared definite: choosing CG is the caller's
    # promise that this one is.
    tags = lx.positive_semidefinite_tag if isinstance(solver, lx.CG) else ()
    operator = lx.FunctionLinearOperator(matvec, structure, tags)
    options = {}
    if preconditioner is not None:
        # whatever it closes over: how well it approximates is nothing that a solution depends on
        options["preconditioner"] = without_tangents(
            lx.FunctionLinearOperator(preconditioner, structure, tags)
        )
    solution = lx.linear_solve(operator, unit, solver, options=options, throw=False)
    steps = solution.stats.get("num_steps", 1)
    success = solution.result == lx.RESULTS.successful
    return tree_scale(safe_scale, solution.value), jnp.asarray(steps, jnp.int32), success


class LowerPrecision(NamedTuple):
    """A linear map in a lower precision than that of the equation which it belongs to."""

    matvec: LinearMap
    dtype: DTypeLike

    def solve(
        self,
        b: PyTree[Float[Array, "..."]],
        solver: lx.AbstractLinearSolver,
        rtol: Float[Array, ""] | float,
        preconditioner: LinearMap | None = None,
    ) -> tuple[PyTree[Float[Array, "..."]], Int[Array, ""], Bool[Array, ""]]:
        """`krylov_solve` in that precision, as far as it goes; x is given back in b's."""
        least = 100 * float(jnp.finfo(self.dtype).eps)
        # scaled in b's precision: what is left of a solve may be too small for the lower one
        size = rms_norm(b)
        size = jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)
        lowered = tree_cast(tree_scale(1 / size, b), self.dtype)
        wanted = jnp.asarray(jnp.clip(rtol, least, 0.5), self.dtype)
        x, steps, success = krylov_solve(self.matvec, lowered, solver, wanted, preconditioner)
        return tree_scale(size, tree_cast_like(x, b)), steps, success


class LinearSolution(NamedTuple):
    """`value` with the relative true residual that it leaves."""

    value: PyTree[Float[Array, "..."]]
    residual: Float[Array, ""]
    iterations: Int[Array, ""]
    converged: Bool[Array, ""]


def refined_solve(
    matvec: LinearMap,
    b: PyTree[Float[Array, "..."]],
    solver: lx.AbstractLinearSolver,
    rtol: float,
    preconditioner: LinearMap | None = None,
    *,
    max_refinements: int = 3,
    lower: LowerPrecision | None = None,
    start: PyTree[Float[Array, "..."]] | None = None,
) -> LinearSolution:
    """Solve A x = b until the *true* relative residual ||b - A x|| / ||b|| meets `rtol`.

    A Krylov method watches a residual that it updates by recurrence and that drifts from the true
    one; iterative refinement (solve again for what is left) closes the gap, and restarts a
    method that broke down. The largest entry of b is made 1 beforehand: a norm squares the
    entries, which in float32 leaves the range of numbers for those beyond 1e19 or below 1e-19.

    - `lower`: A in a lower precision, in which corrections are then sought, `preconditioner` being
      in that precision too; x and what it leaves are kept in that of b. It may take twice as many
      refinements.
    - `start`: where to start, if less is left there than of b.

    Source: Carson and Higham, "Accelerating the solution of linear systems by iterative refinement
    in three precisions", SIAM J. Sci. Comput. 40 (2018).
    """
    if lower is not None:
        max_refinements *= 2
    size = max_norm(b)
    size = jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)
    b = jax.tree.map(lambda leaf: leaf / jnp.asarray(size, leaf.dtype), b)
    scale = rms_norm(b)
    scale = jnp.where(scale > 0, scale, 1.0)

    def unfinished(carry):
        _, left, _, count = carry
        size = rms_norm(left)
        return (size > rtol * scale) & jnp.isfinite(size) & (count < max_refinements)

    def refine(carry):
        x, left, iterations, count = carry
        # a little below the target: rounding adds to what the recurrence shows
        wanted = jnp.clip(0.9 * rtol * scale / rms_norm(left), max=0.5)
        if lower is None:
            correction, steps, _ = krylov_solve(matvec, left, solver, wanted, preconditioner)
        else:
            correction, steps, _ = lower.solve(left, solver, wanted, preconditioner)
        candidate = tree_add(x, correction)
        remainder = tree_subtract(b, matvec(candidate))
        # a correction that made things worse (breakdown) is not taken
        better = rms_norm(remainder) < rms_norm(left)
        return (
            tree_where(better, candidate, x),
            tree_where(better, remainder, left),
            iterations + steps,
            count + 1,
        )

    x, left = jax.tree.map(jnp.zeros_like, b), b
    if start is not None:
        guess = jax.tree.map(lambda leaf: leaf / jnp.asarray(size, leaf.dtype), start)
        remainder = tree_subtract(b, matvec(guess))
        better = rms_norm(remainder) < rms_norm(b)
        x, left = tree_where(better, guess, x), tree_where(better, remainder, b)
    none = jnp.zeros((), jnp.int32)
    x, left, iterations, _ = jax.lax.while_loop(unfinished, refine, (x, left, none, none))
    residual = rms_norm(left) / scale
    converged = all_finite(x) & (residual <= rtol)
    return LinearSolution(tree_scale(size, x), residual, iterations, converged)
