"""The method of a rollout in words, and advice for a failed solve."""

from typing import Any, NamedTuple

import jax.numpy as jnp

from impindiff.implicit import NewtonKrylov, Outcome
from impindiff.preconditioners import AutomaticChoice
from impindiff.rollout._adaptive import AdaptiveStep
from impindiff.steppers import AbstractStepper, ImplicitStepper, SteadyState


class Method(NamedTuple):
    """Properties of a rollout's method that advice depends on.

    - `solver`: name of the nonlinear solver, None for an explicit stepper; `max_iterations` its
      own, and `relaxed`, True if it has a relaxation.
    - `linear_solver`, `max_steps`, `preconditioner`, `line_search`: of `NewtonKrylov`; `automatic`:
      the preconditioner and the reason, if it was "auto".
    - `adaptive`: the limit of adaptive steps, None for fixed steps.
    - `steady`: True for a steady state, found through pseudo-time if `pseudo_time`.
    """

    dtype: str
    solver: str | None = None
    max_iterations: int | None = None
    relaxed: bool = False
    linear_solver: str | None = None
    max_steps: int | None = None
    preconditioner: str | None = None
    line_search: bool = False
    adaptive: int | None = None
    steady: bool = False
    pseudo_time: bool = False
    automatic: str | None = None

    @classmethod
    def of(
        cls,
        stepper: AbstractStepper,
        dt: Any,
        dtype: jnp.dtype,
        choice: AutomaticChoice | None = None,
    ) -> "Method":
        """The method from `rollout`'s arguments and the state's precision."""
        found = cls(dtype.name, adaptive=dt.max_steps if isinstance(dt, AdaptiveStep) else None)
        if not isinstance(stepper, ImplicitStepper):
            return found
        solver = stepper.solver
        found = found._replace(
            solver=type(solver).__name__,
            max_iterations=getattr(solver, "max_iterations", None),
            relaxed=hasattr(solver, "relaxation"),
            steady=isinstance(stepper, SteadyState),
            pseudo_time=isinstance(stepper, SteadyState) and stepper.pseudo_time is not None,
        )
        if not isinstance(solver, NewtonKrylov):
            return found
        inverse = solver.preconditioner
        return found._replace(
            linear_solver=type(solver.linear_solver).__name__,
            max_steps=getattr(solver.linear_solver, "max_steps", None),
            line_search=solver.line_search,
            automatic=None if choice is None else str(choice),
            preconditioner=None
            if inverse is None
            else getattr(inverse, "__name__", type(inverse).__name__),
        )


def reason(outcome: Outcome, method: Method | None) -> str:
    """The reason of a solve's end and remedies, without those already in use."""
    message = Outcome[outcome]
    tried = None if method is None else _to_try(outcome, method)
    if not tried:
        return message
    cause = message.partition("; try ")[0]
    return f"{cause}; try {', '.join(tried[:-1])}{', or ' if len(tried) > 1 else ''}{tried[-1]}"


def _to_try(outcome: Outcome, m: Method) -> list[str] | None:
    """Possible remedies, the likeliest first; None to use the outcome's own message."""
    gmres = [] if m.linear_solver == "GMRES" else ["linear_solver=lineax.GMRES(...)"]
    double = ["float64"] if m.dtype in ("float32", "float16", "bfloat16") else []
    # adaptive steps have been shortened already
    smaller = ["a smaller time step"] if m.adaptive is None else []
    if m.steady:
        smaller = ["another guess"] if m.pseudo_time else ["pseudo_time=ipd.PseudoTime()"]
    if outcome == Outcome.linear_failure:
        if m.preconditioner is None:
            other = ["a preconditioner (ipd.explain chooses one)"]
        else:
            other = [f"another preconditioner than {m.preconditioner} (ipd.explain compares them)"]
        longer = [f"max_steps of {m.linear_solver} above {m.max_steps}"] if m.max_steps else []
        regular = "a regular equation (is there a level that nothing fixes, with sources that do "
        return [*other, *longer, *gmres, *smaller, *double, regular + "not sum to 0?)"]
    if outcome == Outcome.linear_breakdown:
        without = [f"no preconditioner in place of {m.preconditioner}"] if m.preconditioner else []
        return ["a regular equation", *without, *gmres, *smaller, *double]
    if outcome == Outcome.max_iterations:
        known = m.max_iterations is not None
        more = [f"max_iterations of {m.solver} above {m.max_iterations}"] if known else []
        newton = [] if m.solver == "NewtonKrylov" else ["NewtonKrylov"]
        return [*more, *newton, *smaller, "a tolerance further above round-off"]
    if outcome == Outcome.stagnated:
        newton = [] if m.solver == "NewtonKrylov" else ["NewtonKrylov"]
        other = [] if m.steady and m.pseudo_time else ["another first guess"]
        return [*newton, *smaller, *double, *other, "larger rtol and atol"]
    if outcome == Outcome.diverged:
        if m.solver == "NewtonKrylov":
            search = [] if m.line_search else ["line_search=True"]
            return [*search, "a smaller damping", *smaller, *double]
        relaxation = [f"a smaller relaxation of {m.solver}"] if m.relaxed else []
        return ["NewtonKrylov", *relaxation, *smaller]
    if outcome == Outcome.not_finite and m.steady:
        return [*smaller, "a look for a NaN in the guess or the coefficients"]
    if outcome == Outcome.not_finite and m.solver is None:
        return [
            "a smaller time step" if smaller else "smaller rtol and atol",
            "an implicit stepper",
            "a look for a NaN in the initial state or the coefficients",
        ]
    return None
