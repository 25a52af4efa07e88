"""Optimistix's root finders as solvers of an implicit layer."""

import jax.numpy as jnp
import optimistix as optx
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.implicit.pytree import largest_leaf, rms_norm
from impindiff.implicit.solver import AbstractRootSolver, Residual
from impindiff.implicit.status import Outcome, Status


class OptimistixRoot(AbstractRootSolver):
    """Runs an Optimistix root finder; convergence is Optimistix's own verdict and a finite result.

    `optimistix.Newton` and `optimistix.Chord` form a dense Jacobian unless they are given a Krylov
    linear solver.
    """

    finder: optx.AbstractRootFinder
    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 256

    def solve(
        self, residual: Residual, z0: PyTree, args: PyTree, *, unrolled: bool = False
    ) -> tuple[PyTree, Status]:
        """Solve `residual(z, args) = 0` from `z0`; see `AbstractRootSolver.solve`."""
        if unrolled:
            raise InputError(
                "gradient=Unrolled() needs one of this package's solvers, such as NewtonKrylov; "
                f"got optimistix.{type(self.finder).__name__}"
            )
        solution = optx.root_find(
            residual, self.finder, z0, args, max_steps=self.max_iterations, throw=False
        )
        z = solution.value
        value = residual(z, args)
        size = rms_norm(value)
        finite = jnp.isfinite(size)
        converged = (solution.result == optx.RESULTS.successful) & finite
        steps = jnp.asarray(solution.stats["num_steps"], jnp.int32)
        outcome = Outcome.where(finite, Outcome.max_iterations, Outcome.not_finite)
        status = Status(
            converged=converged,
            iterations=steps,
            linear_iterations=jnp.zeros_like(steps),
            residual=size,
            worst_leaf=largest_leaf(value),
            outcome=Outcome.where(converged, Outcome.converged, outcome),
        )
        return z, status
