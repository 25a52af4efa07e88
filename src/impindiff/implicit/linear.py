"""One matrix-free linear solve, judged by its true residual."""

import dataclasses
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit.pytree import (
    all_finite,
    result_dtype,
    rms_norm,
    tree_add,
    tree_scale,
    tree_subtract,
    tree_where,
)

LinearMap = Callable[[PyTree], PyTree]
Preconditioner = Callable[[PyTree, PyTree], LinearMap]
"""`preconditioner(z, args)` returns a linear map that approximates the inverse of dF/dz there.

It must be made of JAX operations that `jax.linear_transpose` accepts: adjoint solves use its
transpose.
"""

DEFAULT_MAX_STEPS = 200


def default_linear_solver() -> lx.AbstractLinearSolver:
    """BiCGStab: short recurrences, so its memory does not grow with its iterations."""
    return lx.BiCGStab(rtol=0.0, atol=1e-6, norm=rms_norm, max_steps=DEFAULT_MAX_STEPS)


def krylov_solve(
    matvec: LinearMap,
    b: PyTree[Float[Array, "..."]],
    solver: lx.AbstractLinearSolver,
    rtol: Float[Array, ""] | float,
    preconditioner: LinearMap | None = None,
) -> tuple[PyTree[Float[Array, "..."]], Int[Array, ""], Bool[Array, ""]]:
    """Solve A x = b to a relative residual of about `rtol`; returns (x, iterations, success).

    The right-hand side is first scaled to root mean square 1 and the solver's own tolerances (if
    it has any) are replaced by `rtol` on that scale: Lineax compares residual and tolerance entry
    by entry, which for a right-hand side with zeros asks for more, or less, than was meant. A
    right-hand side that is not finite is replaced by zero, so that a lost sample of a batch does
    not keep its neighbours iterating.
    """
    scale = rms_norm(b)
    usable = (scale > 0) & jnp.isfinite(scale)
    safe_scale = jnp.where(usable, scale, 1.0)
    unit = tree_where(usable, tree_scale(1 / safe_scale, b), jax.tree.map(jnp.zeros_like, b))

    if {"rtol", "atol"} <= {field.name for field in dataclasses.fields(solver)}:
        dtype = result_dtype(b)
        solver = dataclasses.replace(solver, rtol=0.0, atol=jnp.asarray(rtol, dtype))  # pyright: ignore[reportCallIssue]
        if any(field.name == "norm" for field in dataclasses.fields(solver)):
            solver = dataclasses.replace(solver, norm=rms_norm)  # pyright: ignore[reportCallIssue]
    structure = jax.eval_shape(lambda: b)
    # Lineax's CG accepts only operators that are declared definite: choosing CG is the caller's
    # promise that this one is.
    tags = lx.positive_semidefinite_tag if isinstance(solver, lx.CG) else ()
    operator = lx.FunctionLinearOperator(matvec, structure, tags)
    options = {}
    if preconditioner is not None:
        options["preconditioner"] = lx.FunctionLinearOperator(preconditioner, structure, tags)
    solution = lx.linear_solve(operator, unit, solver, options=options, throw=False)
    steps = solution.stats.get("num_steps", 1)
    success = solution.result == lx.RESULTS.successful
    return tree_scale(safe_scale, solution.value), jnp.asarray(steps, jnp.int32), success


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
    max_refinements: int = 3,
) -> LinearSolution:
    """Solve A x = b until the *true* relative residual ||b - A x|| / ||b|| meets `rtol`.

    A Krylov method watches a residual that it updates by recurrence and that drifts from the true
    one; iterative refinement (solve again for what is left) closes the gap, and restarts a
    method that broke down.
    """
    scale = rms_norm(b)
    scale = jnp.where(scale > 0, scale, 1.0)

    def unfinished(carry):
        _, left, _, count = carry
        size = rms_norm(left)
        return (size > rtol * scale) & jnp.isfinite(size) & (count < max_refinements)

    def refine(carry):
        x, left, iterations, count = carry
        # half: the solution of the correction is added in finite precision
        wanted = jnp.clip(0.5 * rtol * scale / rms_norm(left), max=0.5)
        correction, steps, _ = krylov_solve(matvec, left, solver, wanted, preconditioner)
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

    zero = jax.tree.map(jnp.zeros_like, b)
    start = (zero, b, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    x, left, iterations, _ = jax.lax.while_loop(unfinished, refine, start)
    residual = rms_norm(left) / scale
    return LinearSolution(x, residual, iterations, all_finite(x) & (residual <= rtol))
