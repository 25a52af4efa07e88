"""Newton's method with a matrix-free Krylov solve in each iteration.

Beside the textbook: the linear tolerance is chosen by Eisenstat and Walker (1996, choice 2), so
that early iterations are not solved more exactly than they deserve; a residual that is affine in
the unknown is recognised when traced and then solved to the final tolerance at once, in one
iteration; convergence is judged by the true residual, evaluated anew after each update.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit.affine import is_affine
from impindiff.implicit.bicgstab import BiCGStab
from impindiff.implicit.linear import (
    LinearMap,
    Preconditioner,
    krylov_solve,
)
from impindiff.implicit.pytree import (
    all_finite,
    largest_leaf,
    result_dtype,
    rms_norm,
    tree_subtract,
    tree_where,
)
from impindiff.implicit.solver import AbstractRootSolver, Residual
from impindiff.implicit.status import Outcome, Status
from impindiff.implicit.unrolled import bounded_loop

# Eisenstat & Walker 1996, choice 2: eta_k = gamma (||F_k|| / ||F_{k-1}||)^2, at most eta_max.
_EW_GAMMA = 0.9
_EW_MAX = 0.1


class _Iterate(eqx.Module):
    z: PyTree[Float[Array, "..."]]
    size: Float[Array, ""]
    previous_size: Float[Array, ""]
    target: Float[Array, ""]
    iterations: Int[Array, ""]
    linear_iterations: Int[Array, ""]
    linear_failure: Bool[Array, ""]
    worst_leaf: Int[Array, ""]


class NewtonKrylov(AbstractRootSolver):
    """z_{k+1} = z_k - (dF/dz)^{-1} F(z_k), the linear system solved by a Krylov method.

    The Jacobian is never formed: its action is `jax.linearize`d once per iteration.

    - `rtol`, `atol`: accept when ||F(z)|| <= atol + rtol ||F(z0)|| (root mean square, the true
      residual). Defaults: eps**0.5 and eps**0.75 of the unknown's precision (1.5e-8 and 1.8e-12 in
      float64, 3.5e-4 and 6.4e-6 in float32).
    - `max_iterations`: of Newton. A linear problem takes one.
    - `linear_solver`: a Lineax solver; default `BiCGStab` with at most 200 steps. Its
      `max_steps` is kept; its tolerances are replaced by those each iteration needs.
    - `preconditioner`: `preconditioner(z, args)` returns a linear map v -> M v with M close to
      (dF/dz)^{-1}; the adjoint solve uses its transpose.

    Source: Knoll and Keyes, "Jacobian-free Newton-Krylov methods", J. Comput. Phys. 193 (2004).
    """

    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 20
    linear_solver: lx.AbstractLinearSolver = eqx.field(default_factory=BiCGStab)
    preconditioner: Preconditioner | None = None

    def solve(
        self, residual: Residual, z0: PyTree, args: PyTree, *, unrolled: bool = False
    ) -> tuple[PyTree, Status]:
        """Solve `residual(z, args) = 0` from `z0`; see `AbstractRootSolver.solve`."""

        def function(z):
            return residual(z, args)

        affine = is_affine(function, z0)

        def unfinished(it: _Iterate):
            first = it.iterations == 0
            going = (it.size > it.target) & jnp.isfinite(it.size)
            if affine:
                # A linear solve that failed and did not help will not do better the next time. (One
                # that succeeded and did not help: piecewise linear, Newton goes on.)
                going &= (it.size < it.previous_size) | ~it.linear_failure
            return first | going

        def newton_step(it: _Iterate) -> _Iterate:
            value, jacobian = jax.linearize(function, it.z)
            size = rms_norm(jax.lax.stop_gradient(value))
            first = it.iterations == 0
            target = jnp.where(first, self.tolerance(size, z0), it.target)
            # a little below the target: the update itself is rounded
            exact = 0.9 * target / size
            if affine:
                forcing = exact
            else:
                ratio = jnp.where(first, 1.0, size / it.previous_size)
                forcing = jnp.maximum(exact, jnp.minimum(_EW_MAX, _EW_GAMMA * ratio**2))
            forcing = jnp.minimum(forcing, 0.5)
            update, steps, solved = self._linear_solve(
                jacobian, value, forcing, it.z, args, unrolled=unrolled
            )
            # an update with a NaN (breakdown) is not taken: the state stays what it was
            z = tree_where(all_finite(update), tree_subtract(it.z, update), it.z)
            new_value = jax.lax.stop_gradient(function(z))
            return _Iterate(
                z=z,
                size=rms_norm(new_value),
                previous_size=size,
                target=target,
                iterations=it.iterations + 1,
                linear_iterations=it.linear_iterations + steps,
                linear_failure=~solved,
                worst_leaf=largest_leaf(new_value),
            )

        infinity = jnp.asarray(jnp.inf, result_dtype(z0))
        zero = jnp.zeros((), jnp.int32)
        start = _Iterate(
            z=z0,
            size=infinity,
            previous_size=infinity,
            target=infinity,
            iterations=zero,
            linear_iterations=zero,
            linear_failure=jnp.zeros((), bool),
            worst_leaf=zero,
        )
        end = bounded_loop(unfinished, newton_step, start, self.max_iterations, unrolled=unrolled)
        converged = end.size <= end.target
        outcome = Outcome.where(end.linear_failure, Outcome.linear_failure, Outcome.max_iterations)
        outcome = Outcome.where(jnp.isfinite(end.size), outcome, Outcome.not_finite)
        outcome = Outcome.where(converged, Outcome.converged, outcome)
        status = Status(
            converged=converged,
            iterations=end.iterations,
            linear_iterations=end.linear_iterations,
            residual=end.size,
            worst_leaf=end.worst_leaf,
            outcome=outcome,
        )
        return end.z, status

    def _linear_solve(
        self,
        jacobian: LinearMap,
        value: PyTree,
        forcing: Float[Array, ""],
        z: PyTree,
        args: PyTree,
        *,
        unrolled: bool,
    ) -> tuple[PyTree, Int[Array, ""], Bool[Array, ""]]:
        inverse = None if self.preconditioner is None else self.preconditioner(z, args)
        return krylov_solve(
            jacobian, value, self.linear_solver, forcing, inverse, unrolled=unrolled
        )
