"""Newton's method with a matrix-free Krylov solve in each iteration.

Differences from the textbook: the linear tolerance follows Eisenstat and Walker (1996, choice 2),
which avoids oversolving in early iterations; a residual that is affine in the unknown is detected
when traced and then solved to the final tolerance at once, in one iteration; steps that do not
reduce the residual are shortened (backtracking); convergence is judged by the true residual,
evaluated anew after each update.
"""

from collections.abc import Callable
from typing import Literal, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.errors import InputError
from impindiff.implicit._affine import is_affine
from impindiff.implicit._bicgstab import BiCGStab
from impindiff.implicit._general import require_general
from impindiff.implicit._status import Outcome, Status
from impindiff.implicit._unrolled import bounded_loop
from impindiff.implicit.components import (
    Components,
    as_divisors,
    balanced,
    ratio_to,
    size_of_terms,
)
from impindiff.implicit.linear import Balance, Preconditioner, krylov_solve
from impindiff.implicit.precision import InPrecisions, lowered
from impindiff.implicit.pytree import (
    all_finite,
    axpy,
    result_dtype,
    rms_norm,
    tree_subtract,
    tree_where,
)
from impindiff.implicit.solver import (
    AbstractRootSolver,
    Residual,
    better_start,
    require_tolerances,
    tolerances,
)

# Eisenstat & Walker 1996, choice 2: eta_k = gamma (||F_k|| / ||F_{k-1}||)^2, at most eta_max.
_EW_GAMMA = 0.9
_EW_MAX = 0.1
# accept a step of length s if it reduces ||F|| by at least this fraction of s
_SUFFICIENT = 1e-4
_MAX_BACKTRACKS = 10
# tightest tolerance of a Krylov solve, in eps: later iterations reduce the rest
_EXACTEST = 4.0
# without a line search the residual may grow temporarily; beyond this factor it has diverged
_GROWTH = 1e4


class _Iterate(eqx.Module):
    """State of the iteration.

    - `at_first`: sizes of F(z0), by components; `reference`: sizes that `rtol` refers to, these or
      those of the other components' terms; `excess`: the largest size over its target.
    - `reduction`: the residual after the last iteration over that before it, in balanced units.
    """

    z: PyTree[Float[Array, "..."]]
    size: Float[Array, ""]
    first_size: Float[Array, ""]
    at_first: Float[Array, " components"]
    reference: Float[Array, " components"]
    excess: Float[Array, ""]
    reduction: Float[Array, ""]
    iterations: Int[Array, ""]
    linear_iterations: Int[Array, ""]
    linear_failure: Bool[Array, ""]
    exhausted: Bool[Array, ""]
    stuck: Bool[Array, ""]
    worst_leaf: Int[Array, ""]


class NewtonKrylov(AbstractRootSolver):
    """Newton's method z_{k+1} = z_k - s_k (dF/dz)^{-1} F(z_k), with a Krylov linear solver.

    The Jacobian is never formed: its action is `jax.linearize`d once per iteration.

    - `rtol`, `atol`: accept when the true residual of each component falls to rtol R_i + atol,
      where R_i is its first size; see `AbstractRootSolver`. Default rtol: eps**0.5 of the unknown's
      precision (1.5e-8 in float64, 3.5e-4 in float32). Default atol: the round-off of each
      equation, 8 eps times the size of its terms; a number is in the units of F.
    - `max_iterations`: of Newton. A linear problem takes one.
    - `linear_solver`: a Lineax solver; default `BiCGStab` with at most 200 steps; `lineax.GMRES`
      where that breaks down, `lineax.CG` where the Jacobian is symmetric positive definite. Its
      `max_steps` is kept; its tolerances are replaced by those each iteration needs.
    - `preconditioner`: `preconditioner(z, args)` returns a linear map v -> M v with M close to
      (dF/dz)^{-1}; the adjoint solve uses its transpose. "auto": `rollout`, `steady` and training
      choose none, `Jacobi` or `Multigrid` (see `choose_preconditioner`).
    - `krylov_precision`: "float32" runs the linear solves of a float64 problem, forward and
      adjoint, and their preconditioners in float32: half the memory traffic. Residuals and
      tolerances stay in float64; the next Newton iteration (or refinement of the adjoint) reduces
      the remaining error, so linear problems take two or three. Not under `Unrolled`.
    - `damping`: the step length s_k tried first, in (0, 1].
    - `line_search`: shorten steps until ||F|| decreases (Armijo's condition, lengths from a
      quadratic model of ||F||^2); costs nothing where the first length is taken. Under `Unrolled`
      there is none.

    The outcome distinguishes a residual that cannot be reduced further (`stagnated`) from one that
    grows (`diverged`, possible only without line search) and from too few iterations.

    Source: Knoll and Keyes, "Jacobian-free Newton-Krylov methods", J. Comput. Phys. 193 (2004);
    Eisenstat and Walker, "Choosing the forcing terms in an inexact Newton method" (1996).
    """

    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 20
    linear_solver: lx.AbstractLinearSolver = eqx.field(default_factory=BiCGStab)
    preconditioner: Preconditioner | Literal["auto"] | None = None
    damping: float = 1.0
    line_search: bool = True
    krylov_precision: Literal["float32"] | None = None

    def __check_init__(self) -> None:
        require_general(self.linear_solver, "NewtonKrylov")
        require_tolerances("NewtonKrylov", self.rtol, self.atol)
        if not isinstance(self.preconditioner, str):
            return
        if self.preconditioner != "auto":
            raise InputError(
                f"NewtonKrylov: preconditioner is {self.preconditioner!r}; expected 'auto', None, "
                "or a preconditioner such as Multigrid()"
            )
        if isinstance(self.linear_solver, lx.CG):
            raise InputError(
                "NewtonKrylov: preconditioner='auto' with conjugate gradients, which need a "
                "symmetric one; give Multigrid(symmetric=True), or leave linear_solver out"
            )

    def solve(
        self,
        residual: Residual,
        z0: PyTree,
        args: PyTree,
        *,
        guess: PyTree | None = None,
        unrolled: bool = False,
    ) -> tuple[PyTree, Status]:
        """Solve `residual(z, args) = 0`; see `AbstractRootSolver.solve`."""
        preconditioner = self.preconditioner
        if isinstance(preconditioner, str):
            raise InputError(
                "NewtonKrylov: preconditioner='auto' is chosen by rollout, steady and training, "
                "for a model's step; expected a preconditioner or None here"
            )

        def function(z):
            return residual(z, args)

        longest = getattr(self.linear_solver, "max_steps", None) or jnp.iinfo(jnp.int32).max
        affine = is_affine(function, z0)
        components = Components(z0)
        size_of_z0 = components.sizes(jax.lax.stop_gradient(z0))
        z_start, at_z0, closer = better_start(function, z0, guess)

        def unfinished(it: _Iterate):
            going = (it.excess > 1) & jnp.isfinite(it.size) & ~it.stuck
            return (it.iterations == 0) | (going & (it.size < _GROWTH * it.first_size))

        def newton_step(it: _Iterate) -> _Iterate:
            value, jacobian = jax.linearize(function, it.z)
            value_now = jax.lax.stop_gradient(value)
            size, sizes = rms_norm(value_now), components.sizes(value_now)
            magnitudes = components.magnitudes(jacobian)
            first = it.iterations == 0
            first_size = jnp.where(first, size, it.first_size)
            driven, own = balanced(magnitudes, sizes)
            reference = driven if at_z0 is None else balanced(magnitudes, at_z0)[0]
            reference = jnp.where(first, reference, it.reference)
            rows = as_divisors(driven)

            def target(z, reference) -> Float[Array, " components"]:
                first_terms, terms = (
                    size_of_terms(magnitudes, unknown)
                    for unknown in (size_of_z0, jnp.maximum(size_of_z0, components.sizes(z)))
                )
                return tolerances(
                    self.rtol, self.atol, reference, terms, first_terms, eps=components.eps
                )

            def judged(z, value) -> _Judged:
                """Evaluate a point by the sizes of its terms; `merit` is its balanced residual."""
                now = components.sizes(value)
                return _Judged(rms_norm(value), rms_norm(now / rows), now, target(z, reference))

            here = judged(jax.lax.stop_gradient(it.z), value_now)
            # slightly below the target: the update itself is rounded
            allowed = here.target / rows
            # an equation without initial driving terms has round-off as its only target
            part = float(jnp.finfo(size.dtype).eps) ** 0.5
            allowed = jnp.where(reference > 0, allowed, jnp.maximum(allowed, part))
            allowed = jnp.min(allowed) / components.number**0.5
            wanted = 0.9 * allowed / jnp.where(here.merit > 0, here.merit, 1.0)
            exact = jnp.maximum(wanted, _EXACTEST * float(jnp.finfo(size.dtype).eps))
            if affine:
                forcing = exact
            else:
                forcing = jnp.maximum(exact, jnp.minimum(_EW_MAX, _EW_GAMMA * it.reduction**2))
            forcing = jnp.minimum(forcing, 0.5)
            balance = Balance(components, driven, own)
            if isinstance(residual, InPrecisions) and not unrolled:
                lower, inverse = lowered(residual, it.z, args, preconditioner)
                update, steps, solved = lower.solve(
                    value, self.linear_solver, forcing, inverse, balance
                )
            else:
                inverse = None if preconditioner is None else preconditioner(it.z, args)
                update, steps, solved = krylov_solve(
                    jacobian,
                    value,
                    self.linear_solver,
                    forcing,
                    inverse,
                    balance,
                    unrolled=unrolled,
                )
            # an update with a NaN (breakdown) is rejected: the state is unchanged
            sound = all_finite(update)
            update = tree_where(sound, update, jax.tree.map(jnp.zeros_like, update))

            def after(length) -> _Judged:
                z = jax.lax.stop_gradient(axpy(-length, update, it.z))
                return judged(z, jax.lax.stop_gradient(function(z)))

            length = jnp.asarray(self.damping, size.dtype)
            if self.line_search and not unrolled:
                length, there = _shortened(after, length, here)
            else:
                there = after(length)
            reduced = length > 0
            there = tree_where(reduced, there, here)
            z = axpy(-length, update, it.z)
            at_first = jnp.where(first, sizes if at_z0 is None else at_z0, it.at_first)
            reference = components.measured(
                reference, at_first, jacobian, tree_subtract(z, z0), there.excess <= 1
            )
            there = there._replace(target=target(jax.lax.stop_gradient(z), reference))
            return _Iterate(
                z=z,
                size=there.size,
                first_size=first_size,
                at_first=at_first,
                reference=reference,
                excess=there.excess,
                reduction=there.merit / jnp.where(here.merit > 0, here.merit, 1.0),
                iterations=it.iterations + 1,
                linear_iterations=it.linear_iterations + steps,
                linear_failure=~solved,
                exhausted=steps >= longest,
                stuck=~(sound & reduced),
                worst_leaf=components.leaf_of(there.worst),
            )

        infinity = jnp.asarray(jnp.inf, result_dtype(z0))
        zero = jnp.zeros((), jnp.int32)
        false = jnp.zeros((), bool)
        start = _Iterate(
            z=z_start,
            size=infinity,
            first_size=infinity,
            at_first=jnp.zeros_like(size_of_z0),
            reference=jnp.zeros_like(size_of_z0),
            excess=infinity,
            # the first tolerance is eta_max times the fraction of the residual that a guess leaves:
            # Newton's method converges as much faster from there
            reduction=jnp.sqrt(_EW_MAX / _EW_GAMMA * closer) * jnp.ones_like(infinity),
            iterations=zero,
            linear_iterations=zero,
            linear_failure=false,
            exhausted=false,
            stuck=false,
            worst_leaf=zero,
        )
        end = bounded_loop(unfinished, newton_step, start, self.max_iterations, unrolled=unrolled)
        return end.z, _status_of(end)


class _Judged(NamedTuple):
    """The residual at a point: its size, its size in balanced units, and sizes by component."""

    size: Float[Array, ""]
    merit: Float[Array, ""]
    sizes: Float[Array, " components"]
    target: Float[Array, " components"]

    @property
    def ratios(self) -> Float[Array, " components"]:
        """Each component's size over its target; 0/0 is 0."""
        return ratio_to(self.sizes, self.target)

    @property
    def excess(self) -> Float[Array, ""]:
        """The largest of the ratios: at most 1 at a solution."""
        return jnp.max(self.ratios)

    @property
    def worst(self) -> Int[Array, ""]:
        """The component with the largest ratio; one that is not finite counts as the largest."""
        # one NaN can make all targets NaN
        known = jnp.nan_to_num(self.ratios, nan=0.0)
        return jnp.argmax(jnp.where(jnp.isfinite(self.sizes), known, jnp.inf))


def _shortened(
    after: Callable[[Float[Array, ""]], _Judged], length: Float[Array, ""], here: _Judged
) -> tuple[Float[Array, ""], _Judged]:
    """A step length, at most `length`, that reduces the residual enough, and the residual there.

    If there is none, the length is 0 and the iterate is unchanged. With components of different
    size one may be at its round-off while another still decreases: a reduction of the balanced
    residual counts, and so does one of the largest excess over the targets.
    """

    def searching(carry):
        *_, accepted, count = carry
        return ~accepted & (count < _MAX_BACKTRACKS)

    def body(carry):
        _, length, _, _, count = carry
        tried = after(length)
        enough = 1 - _SUFFICIENT * length
        reduced = (tried.merit <= enough * here.merit) | (tried.excess <= enough * here.excess)
        accepted = (reduced & jnp.isfinite(tried.size)) | (tried.excess <= 1)
        # The minimum of the parabola through phi(0), phi'(0) = -2 phi(0) and phi(length), where phi
        # = ||F||^2: the slope is that of Newton's direction.
        ratio = (tried.merit / jnp.where(here.merit > 0, here.merit, 1.0)) ** 2
        best = length**2 / (ratio - 1 + 2 * length)
        shorter = jnp.where(jnp.isfinite(ratio), best, 0.0)
        shorter = jnp.clip(shorter, 0.1 * length, 0.5 * length)
        return length, shorter, tried, accepted, count + 1

    start = (length, length, here, jnp.zeros((), bool), 0)
    taken, _, tried, accepted, _ = jax.lax.while_loop(searching, body, start)
    return jnp.where(accepted, taken, 0.0), tried


def _status_of(end: _Iterate) -> Status:
    converged = (end.excess <= 1) & jnp.isfinite(end.size)
    outcome = Outcome.where(end.stuck, Outcome.stagnated, Outcome.max_iterations)
    of_linear = Outcome.where(end.exhausted, Outcome.linear_failure, Outcome.linear_breakdown)
    outcome = Outcome.where(end.linear_failure, of_linear, outcome)
    lost = ~(end.size < _GROWTH * end.first_size)
    outcome = Outcome.where(lost, Outcome.diverged, outcome)
    outcome = Outcome.where(jnp.isfinite(end.first_size), outcome, Outcome.not_finite)
    return Status(
        converged=converged,
        iterations=end.iterations,
        linear_iterations=end.linear_iterations,
        residual=end.size,
        worst_leaf=end.worst_leaf,
        outcome=Outcome.where(converged, Outcome.converged, outcome),
        halvings=jnp.zeros_like(end.iterations),
    )
