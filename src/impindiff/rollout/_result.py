"""A trajectory with its solver statistics, and the error for a failed one."""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import numpy as np
from jaxtyping import Array, Float, Int, PyTree

from impindiff.errors import FailureCode, SolverError
from impindiff.implicit import Outcome, Status
from impindiff.rollout._checkpointing import AbstractCheckpointing
from impindiff.rollout._method import Method, reason
from impindiff.rollout._schedule import known_times
from impindiff.support.html_tables import html_table


class Rollout(eqx.Module):
    """The result of `rollout`.

    - `u`: the trajectory, a pytree like u0 with a leading axis of `len(times)`; `u[0]` is u0 with
      its algebraic components (mass 0) solved for.
    - `times`: the output times.
    - `stats`: a `Status` whose arrays have shape (steps, *batch): `converged`, `iterations`,
      `linear_iterations`, `residual`, ...
    - `checkpointing`: the schedule used.
    - `step_times`: the start time of each step, and the last one's end; shape (steps + 1,).
    - `rejected_steps`: number of repeated adaptive steps; None for fixed steps.
    - `method`: description of the method, for advice when a solve fails.
    """

    u: PyTree[Float[Array, "..."]]
    times: Float[Array, " outputs"]
    stats: Status
    step_times: Float[Array, " steps_and_one"]
    checkpointing: AbstractCheckpointing
    rejected_steps: Int[Array, ""] | None = None
    method: Method | None = eqx.field(static=True, default=None)

    def raise_for_failure(self) -> None:
        """Raise `SolverError` for the first step that failed, if any.

        The message names the step, its time, the sample, the field and its residual. Only outside
        `jax.jit`: the statistics must be concrete.
        """
        failure = failure_of(self)
        if failure is not None:
            raise failure

    def _repr_html_(self) -> str:
        times = np.asarray(self.times)
        leaves = zip(leaf_names(self.u), jax.tree.leaves(self.u), strict=True)
        rows = [(f"u{name.removeprefix('u')}", f"{x.shape} {x.dtype}") for name, x in leaves]
        span = f"{times.size}, t = {times[0]:.6g} to {times[-1]:.6g}"
        failure = str(failure_of(self) or "none")
        return html_table(
            "Rollout",
            [*rows, ("times", span), *self.stats.rows(), ("failure", failure)],
        )


def leaf_names(tree: PyTree[Any]) -> list[str]:
    """The path of each leaf, such as "['gas']"; "u" for a lone array."""
    paths = jax.tree_util.tree_flatten_with_path(tree)[0]
    return [jax.tree_util.keystr(path) or "u" for path, _ in paths]


def failure_of(result: Rollout) -> SolverError | None:
    """The error of the first failed step of a rollout; None if every solve converged.

    Its advice fits the method used, where known.
    """
    steps = np.asarray(result.stats.converged).shape[0]
    steady = result.method is not None and result.method.steady
    times = known_times(result.step_times)

    def place(first: tuple[int, ...]) -> str:
        step = first[0]
        if times is None:
            return "steady state" if steady else f"step {step + 1} of {steps}"
        if steady:
            return f"steady state at t = {times[step + 1]:.6g}"
        return f"step {step + 1} of {steps} (t = {times[step]:.6g} to {times[step + 1]:.6g})"

    return failed_solve(result.stats, leaf_names(result.u), result.method, place, axes=1)


def failed_solve(
    stats: Status,
    names: list[str],
    method: Method | None,
    place: Callable[[tuple[int, ...]], str],
    *,
    axes: int = 0,
) -> SolverError | None:
    """The error of the first failed solve; None if every one converged.

    - `names`: of the state's leaves; `place`: from the index of the solve to where it was.
    - `axes`: leading axes of the statistics that are not the batch's.
    """
    failed = ~np.asarray(stats.converged)
    if not failed.any():
        return None
    first = tuple(int(i) for i in np.argwhere(failed)[0])
    sample = first[axes:]
    outcome = jax.tree.map(lambda a: np.asarray(np.asarray(a)[first]), stats.outcome)
    residual = float(np.asarray(stats.residual)[first])
    name = names[int(np.asarray(stats.worst_leaf)[first])]
    of_sample = f", sample {sample[0] if len(sample) == 1 else sample}" if sample else ""
    samples = sorted({tuple(int(i) for i in index[axes:]) for index in np.argwhere(failed)})
    others = ""
    if len(samples) > 1:
        indices = [s[0] if len(s) == 1 else s for s in samples]
        shown = ", ".join(map(str, indices[:8])) + (", ..." if len(indices) > 8 else "")
        others = f"; samples that failed: {shown}"
    halvings = int(np.asarray(stats.halvings)[first])
    halved = f", halved {halvings} time{'s' * (halvings > 1)}" if halvings else ""
    iterations = int(np.asarray(stats.iterations)[first])
    message = (
        f"{place(first)}{of_sample}{halved}: field {name}, residual {residual:.3g} after "
        f"{iterations} iterations: {reason(outcome, method)}{others}"
    )
    return SolverError(message, code=_code_of(outcome))


def _code_of(outcome: Outcome) -> FailureCode:
    of_solves = [code for code in FailureCode if hasattr(Outcome, code.name)]
    return next(code for code in of_solves if outcome == getattr(Outcome, code.name))
