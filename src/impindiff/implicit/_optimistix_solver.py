"""Adapters from Optimistix solvers, and ours with that interface, to implicit layers."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.implicit._fixed_point_iteration import AbstractFixedPointIteration
from impindiff.implicit._status import Outcome, Status
from impindiff.implicit._unrolled import bounded_loop
from impindiff.implicit.components import Components
from impindiff.implicit.pytree import largest_leaf, rms_norm, tree_subtract
from impindiff.implicit.solver import AbstractRootSolver, Residual, better_start

_MAX_STEPS = 256  # Optimistix's own default
# two evaluations of one residual differ by this much, far above round-off
_ROUNDING = 1.01


class OptimistixRoot(AbstractRootSolver):
    """Run an Optimistix root finder; convergence is Optimistix's own verdict and a finite result.

    `optimistix.Newton` and `optimistix.Chord` form a dense Jacobian unless they are given a Krylov
    linear solver.
    """

    finder: optx.AbstractRootFinder
    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = _MAX_STEPS

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
        if unrolled:
            raise InputError(
                "adjoint=Unrolled() needs one of this package's solvers, such as NewtonKrylov; "
                f"got optimistix.{type(self.finder).__name__}"
            )
        start = better_start(lambda z: residual(z, args), z0, guess).z
        solution = optx.root_find(
            residual, self.finder, start, args, max_steps=self.max_iterations, throw=False
        )
        z = solution.value
        outcome = _outcome(solution.result)
        return z, _status(residual(z, args), outcome, solution.stats["num_steps"])


class FixedPointRoot(AbstractRootSolver):
    """Run a fixed-point solver (`Picard`, `Anderson`, Optimistix's) on g(z) = z - F(z).

    Convergence is the solver's own verdict and a finite result. The solver is driven through
    Optimistix's interface, in a loop that can also be unrolled.
    """

    iteration: optx.AbstractFixedPointSolver
    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = _MAX_STEPS

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
        solver = self.iteration

        def g(z, args):
            return tree_subtract(z, residual(z, args)), None

        start, reference, _ = better_start(lambda z: residual(z, args), z0, guess)
        options: dict[str, Any] = {} if reference is None else {"reference": reference}
        structure = jax.eval_shape(lambda: z0)
        state = solver.init(g, start, args, options, structure, None, frozenset())
        dynamic, static = eqx.partition(state, eqx.is_array)

        def terminate(z, dynamic):
            state = eqx.combine(dynamic, static)
            return solver.terminate(g, z, args, options, state, frozenset())

        def unfinished(carry):
            z, dynamic, _ = carry
            return ~terminate(z, dynamic)[0]

        def step(carry):
            z, dynamic, count = carry
            state = eqx.combine(dynamic, static)
            z, state, _ = solver.step(g, z, args, options, state, frozenset())
            return z, eqx.filter(state, eqx.is_array), count + 1

        first = (start, dynamic, jnp.zeros((), jnp.int32))
        z, dynamic, count = bounded_loop(
            unfinished, step, first, self.max_iterations, unrolled=unrolled
        )
        done, result = terminate(z, dynamic)
        result = optx.RESULTS.where(done, result, optx.RESULTS.nonlinear_max_steps_reached)
        state = eqx.combine(dynamic, static)
        z, _, _ = solver.postprocess(g, z, None, args, options, state, frozenset(), result)
        value = jax.lax.stop_gradient(residual(z, args))
        if isinstance(solver, AbstractFixedPointIteration):
            outcome = solver.outcome(state)
            # z - (z - F(z)) loses F where z is huge, so the iteration's residual is inaccurate
            sizes = Components(value).sizes(value, solver.norm)
            lost = (outcome == Outcome.converged) & jnp.any(sizes > _ROUNDING * state.target)
            outcome = Outcome.where(lost, Outcome.stagnated, outcome)
        else:
            outcome = _outcome(result)
        return z, _status(value, outcome, count)


def adapted(
    solver: AbstractRootSolver | optx.AbstractRootFinder | optx.AbstractFixedPointSolver,
) -> AbstractRootSolver:
    """The solver itself, or an adapter for one with Optimistix's interface."""
    if isinstance(solver, optx.Bisection):
        raise InputError(
            "solver: optimistix.Bisection needs the ends of an interval around one scalar unknown; "
            "expected NewtonKrylov, optimistix.Newton, or another root finder of any dimension"
        )
    if isinstance(solver, optx.AbstractRootFinder):
        return OptimistixRoot(finder=solver)
    if isinstance(solver, optx.AbstractFixedPointSolver):
        steps = getattr(solver, "max_iterations", _MAX_STEPS)
        return FixedPointRoot(iteration=solver, max_iterations=steps)
    if not isinstance(solver, AbstractRootSolver):
        raise InputError(
            f"solver: {type(solver).__name__} is no root finder; expected NewtonKrylov, Picard, "
            "Anderson, or a root finder or fixed-point solver of Optimistix's (the minimum of a "
            "least-squares method need not be a root)"
        )
    return solver


def _outcome(result: optx.RESULTS) -> Outcome:
    results = optx.RESULTS
    outcome = Outcome.where(
        result == results.nonlinear_divergence, Outcome.diverged, Outcome.max_iterations
    )
    outcome = Outcome.where(result == results.nonfinite, Outcome.not_finite, outcome)
    return Outcome.where(result == results.successful, Outcome.converged, outcome)


def _status(value: PyTree, outcome: Outcome, steps: Any) -> Status:
    """The status of a solve that ended with the residual `value`."""
    size = rms_norm(value)
    outcome = Outcome.where(jnp.isfinite(size), outcome, Outcome.not_finite)
    steps = jnp.asarray(steps, jnp.int32)
    return Status(
        converged=outcome == Outcome.converged,
        iterations=steps,
        linear_iterations=jnp.zeros_like(steps),
        residual=size,
        worst_leaf=largest_leaf(value),
        outcome=outcome,
        halvings=jnp.zeros_like(steps),
    )
