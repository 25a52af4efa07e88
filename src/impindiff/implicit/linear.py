"""One matrix-free linear solve, judged by its true residual."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax as lx
from jax.typing import DTypeLike
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit._bicgstab import BiCGStab, bicgstab
from impindiff.implicit.components import (
    Components,
    as_divisors,
    balanced,
    ratio_to,
    size_of_terms,
)
from impindiff.implicit.pytree import (
    all_finite,
    max_norm,
    result_dtype,
    rms_norm,
    tree_add,
    tree_cast_like,
    tree_scale,
    tree_subtract,
    tree_where,
    without_tangents,
)
from impindiff.implicit.solver import tolerances

LinearMap = Callable[[PyTree], PyTree]
Preconditioner = Callable[[PyTree, PyTree], LinearMap]
"""`preconditioner(z, args)` returns a linear map that approximates the inverse of dF/dz there.

It must be made of JAX operations that `jax.linear_transpose` accepts: adjoint solves use its
transpose.
"""


class Balance(NamedTuple):
    """Sizes that balance A x = b: the system solved is R^{-1} A C y = R^{-1} b, and x = C y.

    - `rows`, `own`: R, and U in C = R / U, one number per component; see `balanced`.
    """

    components: Components
    rows: Float[Array, " components"]
    own: Float[Array, " components"]

    @classmethod
    def of(cls, matvec: LinearMap, b: PyTree[Float[Array, "..."]]) -> "Balance":
        """The balance of A x = b; see `balanced`. Cost: one product with A per component."""
        components = Components(b)
        sizes = components.sizes(jax.lax.stop_gradient(b))
        return cls(components, *balanced(components.magnitudes(matvec), sizes))

    def system(
        self,
        matvec: LinearMap,
        preconditioner: LinearMap | None,
        solver: lx.AbstractLinearSolver,
    ) -> tuple[LinearMap, LinearMap, LinearMap | None, LinearMap]:
        """(b -> R^{-1} b, the balanced A, its preconditioner, y -> x).

        A system of one component needs only its right-hand side scaled, and A too if no
        preconditioner normalises it.
        """
        times = self.components.times
        # conjugate gradients need the original, symmetric A
        if self.components.number == 1 or isinstance(solver, lx.CG):
            size = jnp.full_like(self.rows, jnp.max(as_divisors(self.rows)))
            # in two factors: XLA turns (R / U) / R into R / (U R), whose divisor can overflow
            unit = jnp.full_like(size, 1.0 if preconditioner else jnp.max(1 / self.own))

            def scaled(y: PyTree) -> PyTree:
                return matvec(times(unit, y))

            return (
                lambda b: times(1 / size, b),
                matvec if preconditioner else scaled,
                preconditioner,
                lambda y: times(size * unit, y),
            )

        weights = jnp.asarray(self.components.weights(), self.rows.dtype)
        rows = jax.lax.stop_gradient(as_divisors(self.rows) / weights)
        columns = rows / self.own
        inverse = preconditioner or (lambda v: v)
        # a preconditioner in a lower precision cannot represent the range of the unknown's units
        unit = rows / jnp.max(rows)
        return (
            lambda b: times(1 / rows, b),
            lambda y: times(1 / rows, matvec(times(columns, y))),
            None
            if preconditioner is None
            else lambda v: times(self.own / unit, inverse(times(unit, v))),
            lambda y: times(columns, y),
        )


def krylov_solve(
    matvec: LinearMap,
    b: PyTree[Float[Array, "..."]],
    solver: lx.AbstractLinearSolver,
    rtol: Float[Array, ""] | float,
    preconditioner: LinearMap | None = None,
    balance: Balance | None = None,
    *,
    unrolled: bool = False,
) -> tuple[PyTree[Float[Array, "..."]], Int[Array, ""], Bool[Array, ""]]:
    """Solve A x = b to a relative residual of about `rtol`; returns (x, iterations, success).

    The system is balanced first, its right-hand side scaled to root mean square 1, and the solver's
    own tolerances (if any) are replaced by `rtol` on that scale: Lineax compares residual and
    tolerance entrywise, which for a right-hand side with zeros is stricter, or looser, than
    intended. A right-hand side that is not finite is replaced by zero, so that a failed sample of a
    batch does not prolong its neighbours' iterations.

    - `balance`: default that of this system, at one more product per component.

    If `unrolled`, the method is always `bicgstab`, since other solvers cannot be differentiated
    through; of `solver` only `max_steps` applies.
    """
    balance = Balance.of(matvec, b) if balance is None else balance
    into, matvec, preconditioner, out = balance.system(matvec, preconditioner, solver)
    unit = into(b)
    scale = rms_norm(jax.lax.stop_gradient(unit))
    usable = (scale > 0) & jnp.isfinite(scale)
    safe_scale = jnp.where(usable, scale, 1.0)
    unit = tree_where(usable, tree_scale(1 / safe_scale, unit), jax.tree.map(jnp.zeros_like, b))

    def back(y: PyTree) -> PyTree:
        return out(tree_scale(safe_scale, y))

    if unrolled:
        max_steps = getattr(solver, "max_steps", None) or BiCGStab().max_steps
        x, steps, success = bicgstab(matvec, unit, rtol, max_steps, preconditioner, unrolled=True)
        return back(x), steps, success

    wanted = jax.lax.stop_gradient(jnp.asarray(rtol, result_dtype(b)))
    own = {field.name for field in dataclasses.fields(solver)}
    replaced = {"rtol": 0.0, "atol": wanted} if "atol" in own else {"rtol": wanted}
    replaced |= {"norm": rms_norm}
    changes: dict[str, Any] = {name: replaced[name] for name in own & set(replaced)}
    solver = dataclasses.replace(solver, **changes)
    structure = jax.eval_shape(lambda: b)
    # Lineax's CG accepts only operators declared definite: by choosing CG the caller asserts that.
    tags = lx.positive_semidefinite_tag if isinstance(solver, lx.CG) else ()
    operator = lx.FunctionLinearOperator(matvec, structure, tags)
    options = {}
    if preconditioner is not None:
        # no tangents, those of closed-over values included: the solution does not depend on the
        # preconditioner
        options["preconditioner"] = without_tangents(
            lx.FunctionLinearOperator(preconditioner, structure, tags)
        )
    solution = lx.linear_solve(operator, unit, solver, options=options, throw=False)
    steps = solution.stats.get("num_steps", 1)
    success = solution.result == lx.RESULTS.successful
    return back(solution.value), jnp.asarray(steps, jnp.int32), success


class LowerPrecision(NamedTuple):
    """A linear map in a lower precision than its equation's."""

    matvec: LinearMap
    dtype: DTypeLike

    def solve(
        self,
        b: PyTree[Float[Array, "..."]],
        solver: lx.AbstractLinearSolver,
        rtol: Float[Array, ""] | float,
        preconditioner: LinearMap | None,
        balance: Balance,
    ) -> tuple[PyTree[Float[Array, "..."]], Int[Array, ""], Bool[Array, ""]]:
        """Apply `krylov_solve`, down to 100 eps of that precision; x is returned in b's."""
        least = 100 * float(jnp.finfo(self.dtype).eps)
        # scaled in b's precision: a remaining residual may underflow in the lower one
        size = jnp.max(as_divisors(balance.rows))
        rows, own = (balance.rows / size).astype(self.dtype), balance.own.astype(self.dtype)
        lowered = jax.tree.map(lambda x: (x / size.astype(x.dtype)).astype(self.dtype), b)
        wanted = jnp.asarray(jnp.clip(rtol, least, 0.5), self.dtype)
        in_lower = Balance(Components(lowered), rows, own)
        x, steps, success = krylov_solve(
            self.matvec, lowered, solver, wanted, preconditioner, in_lower
        )
        return tree_scale(size, tree_cast_like(x, b)), steps, success


class LinearSolution(NamedTuple):
    """A solution `value` with its relative true residual."""

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
    """Solve A x = b until the *true* residual of every component i meets its tolerance.

    ||b - A x||_i <= rtol R_i + 8 eps T_i: R_i is the size of b_i, or of the other components' terms
    in its row, T_i that of all terms of the row, whose round-off cannot be reduced further.

    A Krylov method monitors a residual that it updates by recurrence and that drifts from the true
    one; iterative refinement (another solve for the remaining residual) closes the gap, and
    restarts a method that broke down.

    - `lower`: A in a lower precision, used for corrections, with `preconditioner` in that precision
      too; x and the residual stay in b's precision. It is allowed twice as many refinements.
    - `start`: initial guess, used if its residual is smaller than b.

    Source: Carson and Higham, "Accelerating the solution of linear systems by iterative refinement
    in three precisions", SIAM J. Sci. Comput. 40 (2018).
    """
    if lower is not None:
        max_refinements *= 2
    size = max_norm(b)
    size = jnp.where((size > 0) & jnp.isfinite(size), size, 1.0)
    b = jax.tree.map(lambda leaf: leaf / jnp.asarray(size, leaf.dtype), b)
    components = Components(b)
    magnitudes = components.magnitudes(matvec)

    def excess(x, left, reference):
        """The largest ratio of a component's residual to its tolerance."""
        terms = size_of_terms(magnitudes, components.sizes(x))
        target = tolerances(rtol, None, reference, terms, eps=components.eps)
        return jnp.max(ratio_to(components.sizes(left), target))

    def unfinished(carry):
        x, left, reference, _, count = carry
        worst = excess(x, left, reference)
        return (worst > 1) & jnp.isfinite(worst) & (count < max_refinements)

    def refine(carry):
        x, left, reference, iterations, count = carry
        rows, own = balanced(magnitudes, components.sizes(left))
        balance, rows = Balance(components, rows, own), as_divisors(rows)
        # slightly below the target: the recurrence underestimates round-off
        allowed = jnp.min(rtol * reference / rows) / components.number**0.5
        wanted = jnp.clip(0.9 * allowed / rms_norm(components.sizes(left) / rows), max=0.5)
        if lower is None:
            correction, steps, _ = krylov_solve(
                matvec, left, solver, wanted, preconditioner, balance
            )
        else:
            correction, steps, _ = lower.solve(left, solver, wanted, preconditioner, balance)
        candidate = tree_add(x, correction)
        remainder = tree_subtract(b, matvec(candidate))
        # reject a correction that increased the residual (breakdown)
        better = rms_norm(components.sizes(remainder) / rows) < rms_norm(
            components.sizes(left) / rows
        )
        x = tree_where(better, candidate, x)
        left = tree_where(better, remainder, left)
        done = excess(x, left, reference) <= 1
        return (
            x,
            left,
            components.measured(reference, components.sizes(b), matvec, x, done),
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
    estimated = balanced(magnitudes, components.sizes(b))[0]
    start_from = (x, left, estimated, none, none)
    x, left, reference, iterations, _ = jax.lax.while_loop(unfinished, refine, start_from)
    scale = rms_norm(b)
    residual = rms_norm(left) / jnp.where(scale > 0, scale, 1.0)
    converged = all_finite(x) & (excess(x, left, reference) <= 1)
    return LinearSolution(tree_scale(size, x), residual, iterations, converged)
