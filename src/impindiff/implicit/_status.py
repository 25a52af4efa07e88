"""Status of a solve: convergence, cost and reason of the end."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from impindiff.support.html_tables import html_table


class Outcome(eqx.Enumeration):
    """Reason for the end of a solve. Each member's message is written for the user."""

    converged = "converged"
    max_iterations = (
        "the nonlinear iteration reached max_iterations before its tolerance; try a smaller "
        "time step, a larger max_iterations, or a tolerance further above round-off"
    )
    linear_failure = (
        "the linear (Krylov) solver reached its max_steps; try a preconditioner (ipd.explain "
        "compares them), a larger max_steps, another linear_solver such as lineax.GMRES, or a "
        "smaller time step; a singular equation, such as a pressure whose level nothing fixes and "
        "whose sources do not sum to 0, has no solution"
    )
    linear_breakdown = (
        "the linear (Krylov) solver broke down: the Jacobian is singular (a component of mass 0 "
        "that its own equation does not contain, a level that nothing fixes), holds a NaN (a root "
        "or a power at 0), or does not suit the method; try a regular equation, another "
        "linear_solver such as lineax.GMRES, or a smaller time step"
    )
    stagnated = (
        "the residual could not be made smaller: there may be no root nearby, the Jacobian may be "
        "singular, or the tolerance lies below round-off; try a smaller time step, another first "
        "guess, or larger rtol and atol"
    )
    diverged = (
        "the residual grew instead of shrinking; try NewtonKrylov, a smaller relaxation or "
        "damping, or a smaller time step"
    )
    step_limit = (
        "adaptive steps ended before the last time; try a larger max_steps, or larger rtol and "
        "atol; steps that shrink without end mean a solution that leaves the range of numbers"
    )
    ill_posed = (
        "a diffusivity or a mass is negative, so that the smallest scales grow fastest and no "
        "finer grid gives a better answer; try what stays positive: ipd.Parameter(..., lower=0), "
        "ipd.BoundedField or ipd.PositiveClosure"
    )
    not_unique = (
        "the steady state is not unique: its equation leaves a level or a total undetermined "
        "(walls without flux, periodic axes), so there are many or none; try a Dirichlet or Robin "
        "condition, a term of the state itself, its mean subtracted in an equation of mass 0, or "
        "rollout, where the initial state has the total"
    )
    not_finite = (
        "the residual is NaN or infinite; try a smaller time step, or look for a NaN in the "
        "initial state or the coefficients"
    )
    times_decrease = (
        "the output times before it decrease or are not finite; expected times that increase"
    )


class Status(eqx.Module):
    """Statistics of one solve, or stacked over samples and steps.

    - `converged`: the true residual met the tolerance.
    - `iterations`: nonlinear (Newton or fixed-point) iterations.
    - `linear_iterations`: Krylov iterations, all Newton iterations together.
    - `residual`: root mean square of the true residual at the returned point, in its own units.
    - `worst_leaf`: index of the state's leaf with the largest residual.
    - `outcome`: the reason of the end, an `Outcome`.
    - `halvings`: of a time step: number of halvings before its solves converged. Iterations then
      count all attempts, and `residual` is the largest of the accepted parts.
    """

    converged: Bool[Array, "*shape"]
    iterations: Int[Array, "*shape"]
    linear_iterations: Int[Array, "*shape"]
    residual: Float[Array, "*shape"]
    worst_leaf: Int[Array, "*shape"]
    outcome: Outcome
    halvings: Int[Array, "*shape"]

    def combined(self) -> "Status":
        """One status for several solves that depend on each other, stacked along the first axis.

        Iterations are added; reason and place are those of the first failed solve, or of the
        largest residual if none failed.
        """
        failed = ~self.converged
        worst = jnp.where(jnp.any(failed, 0), jnp.argmax(failed, 0), jnp.argmax(self.residual, 0))

        def total(counts: Array) -> Array:
            return jnp.sum(counts, 0, dtype=counts.dtype)

        def there(stacked: Array) -> Array:
            return jnp.take_along_axis(stacked, worst[None], 0)[0]

        return Status(
            converged=jnp.all(self.converged, 0),
            iterations=total(self.iterations),
            linear_iterations=total(self.linear_iterations),
            residual=there(self.residual),
            worst_leaf=there(self.worst_leaf),
            outcome=jax.tree.map(there, self.outcome),
            halvings=total(self.halvings),
        )

    def rows(self) -> list[tuple[str, str]]:
        """Rows of a printed table: totals over all solves."""
        converged = np.asarray(self.converged)
        return [
            ("solves", str(converged.size)),
            ("converged", f"{int(converged.sum())} of {converged.size}"),
            ("iterations", str(int(np.sum(self.iterations)))),
            ("linear iterations", str(int(np.sum(self.linear_iterations)))),
            ("largest residual", f"{float(np.max(self.residual)):.3g}"),
            ("halvings of a step", str(int(np.sum(self.halvings)))),
        ]

    def _repr_html_(self) -> str:
        return html_table("Status", self.rows())
