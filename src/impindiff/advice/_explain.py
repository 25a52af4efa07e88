"""Choice of a preconditioner by trial on the equation of a step."""

import dataclasses
import html
import statistics
import time

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from impindiff.advice._component import Component, describe, largest_explicit_step
from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.implicit import NewtonKrylov
from impindiff.implicit.linear import Preconditioner, refined_solve
from impindiff.implicit.precision import linearised
from impindiff.implicit.pytree import result_dtype, rms_norm
from impindiff.preconditioners import (
    AutomaticChoice,
    FastDiagonalization,
    Jacobi,
    Multigrid,
    choose_preconditioner,
)
from impindiff.preconditioners.components import grid_of
from impindiff.preconditioners.stages import first_stage, one_sample
from impindiff.steppers import (
    AbstractStepper,
    HybridModel,
    ImplicitStepper,
    StageEquation,
    stage_residual,
)

_REPEATS = 3
# a choice must be this much faster than a simpler one
_WORTH_IT = 0.9
# default step, as a multiple of an explicit method's largest
_EXPLICIT_STEPS = 100.0


@dataclasses.dataclass(frozen=True)
class Candidate:
    """A preconditioner, and the cost of the step's linear solve with it.

    `iterations` (and `adjoint`, of the transposed solve) are None where the solve failed; `seconds`
    is the median time of the forward solve, with the construction of the preconditioner.
    """

    name: str
    preconditioner: Preconditioner | None
    iterations: int | None
    adjoint: int | None
    seconds: float


@dataclasses.dataclass(frozen=True)
class Explanation:
    """The result of `explain`, printed as a page.

    - `components`: summaries of the matrix of each component of the state.
    - `candidates`: the preconditioners tried.
    - `choice`: the candidate taken.
    - `stepper`: the given one with that preconditioner.
    - `automatic`: what `NewtonKrylov(preconditioner="auto")` takes, and why.
    - `domain`: size of the grid's domain and the condition on its boundary, if it has one.
    """

    title: str
    components: tuple[Component, ...]
    candidates: tuple[Candidate, ...]
    choice: Candidate
    why: str
    stepper: ImplicitStepper
    automatic: AutomaticChoice
    domain: str = ""

    def __str__(self) -> str:
        """Format the page."""
        lines = [self.title, *([self.domain] if self.domain else [])]
        for component in self.components:
            lines += component.lines()
        lines.append(f"{'preconditioner':<32}{'iterations':>11}{'adjoint':>9}{'seconds':>10}")
        for c in self.candidates:
            counts = ["failed" if n is None else str(n) for n in (c.iterations, c.adjoint)]
            mark = "  <- taken" if c is self.choice else ""
            lines.append(f"{c.name:<32}{counts[0]:>11}{counts[1]:>9}{c.seconds:>10.2g}{mark}")
        return "\n".join([*lines, self.why, f"preconditioner='auto' takes {self.automatic}"])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def explain(
    stepper: AbstractStepper,
    model: HybridModel,
    u0: PyTree | None = None,
    dt: float | None = None,
    *,
    t: float = 0.0,
    steps: int = 20,
) -> Explanation:
    """Try preconditioners on the linear system of a step, and choose one.

        found = ipd.explain(ipd.CrankNicolson(), model, u0, dt=0.01)
        print(found)
        result = ipd.rollout(model, u0, times, stepper=found.stepper)

    The system is that of the first Newton iteration of the first stage of the step from (t, u0).
    Each candidate solves it, forward and transposed, to the solver's tolerance, and is timed on
    this machine; the choice depends on the machine and on dt. The fastest is taken, or a simpler
    one if it is nearly as fast. Compilation does not count, unlike for the automatic choice of
    `NewtonKrylov(preconditioner="auto")`, which is shown too and measures nothing.

    **Arguments:**

    - `stepper`: an implicit one, with `NewtonKrylov` as its solver, whose Krylov method is used.
      Its own preconditioner, if any, is tried too.
    - `model`: with a `grid`.
    - `u0`: the state; the first sample of a batch is used. Default: one field of zeros.
    - `dt`: the step, in the model's unit of time. Default: 100 times the largest of forward Euler.
    - `t`: its time.
    - `steps`: of a rollout, for the automatic choice.

    **Raises:** `InputError` for an explicit stepper, a solver that takes no preconditioner, and a
    model without grid.
    """
    u = one_sample(model, u0)
    now = jnp.asarray(t, jnp.result_type(float))
    if dt is None:
        unit = first_stage(stepper, model, u, now, jnp.ones_like(now))
        step = _EXPLICIT_STEPS * largest_explicit_step(u, unit)
    else:
        step = dt
    stage = first_stage(stepper, model, u, now, jnp.asarray(step, now.dtype))
    assert isinstance(stepper, ImplicitStepper)
    solver = stepper.solver
    if not isinstance(solver, NewtonKrylov):
        raise InputError(
            f"explain: {type(solver).__name__} takes no preconditioner; expected NewtonKrylov"
        )
    components, grid = describe(u, stage), grid_of(stage, "explain")
    # "auto" stands for one of those that are tried anyway
    own = None if isinstance(solver.preconditioner, str) else solver.preconditioner
    candidates = tuple(
        _tried(name, preconditioner, solver, u, stage)
        for name, preconditioner in _candidates(len(components), own, grid)
    )
    given = u if u0 is None else u0
    automatic = choose_preconditioner(
        stepper,
        model,
        given,
        float(step),
        t=t,
        steps=steps,
        batch_ndim=np.ndim(jax.tree.leaves(given)[0]) - np.ndim(jax.tree.leaves(u)[0]),
    )
    choice = _chosen(candidates)
    title = (
        f"{type(stepper).__name__} on {type(model).__name__}, one step of {float(step):.3g} from "
        f"t = {t:g}" + ("" if dt else " (no dt given: 100 times forward Euler's largest)")
    )
    better = eqx.tree_at(
        lambda s: s.solver.preconditioner,
        stepper,
        choice.preconditioner,
        is_leaf=lambda x: x is None,
    )
    why = _reason(choice, candidates, components)
    return Explanation(title, components, candidates, choice, why, better, automatic, _domain(grid))


def _domain(grid: Grid) -> str:
    if grid.domain is None:
        return ""
    fractions = np.asarray(grid.domain.volumes)
    cut = int(((fractions > 0) & (fractions < 1)).sum())
    shape = "whole cells, from a mask" if grid.domain.staircase else f"{cut} of them cut"
    return (
        f"domain: {int((fractions > 0).sum())} of {fractions.size} cells inside ({shape}), "
        f"{fractions.mean():.1%} of the box; {type(grid.embedded).__name__} on its boundary"
    )


def _candidates(
    components: int, own: Preconditioner | None, grid: Grid
) -> list[tuple[str, Preconditioner | None]]:
    several = components > 1
    found: list[tuple[str, Preconditioner | None]] = [
        ("none", None),
        ("Jacobi(blocks=True)" if several else "Jacobi()", Jacobi(blocks=several)),
        *([] if grid.domain else [("FastDiagonalization()", FastDiagonalization())]),
        ("Multigrid()", Multigrid()),
    ]
    if several:
        found.append(("Multigrid(coupling='lower')", Multigrid(coupling="lower")))
    if own is not None and own not in [preconditioner for _, preconditioner in found]:
        found.append((f"the solver's own {type(own).__name__}", own))
    return found


def _tried(
    name: str,
    preconditioner: Preconditioner | None,
    solver: NewtonKrylov,
    u: PyTree,
    stage: StageEquation,
) -> Candidate:
    rtol = solver.rtol
    if rtol is None:
        rtol = float(jnp.finfo(result_dtype(u)).eps) ** 0.5  # `NewtonKrylov`'s default
    b = stage_residual(u, stage)
    if not float(rms_norm(b)) > 0:
        rng = np.random.default_rng(0)
        b = jax.tree.map(lambda x: jnp.asarray(rng.normal(size=x.shape), x.dtype), b)

    def solve(transpose: bool):
        @eqx.filter_jit
        def run(u, stage, b):
            matvec, inverse = linearised(
                stage_residual, u, stage, preconditioner, transpose=transpose
            )
            found = refined_solve(matvec, b, solver.linear_solver, rtol, inverse)
            return found.iterations, found.converged

        return run

    def counted(transpose: bool) -> tuple[int | None, float]:
        run = solve(transpose)
        iterations, converged = run(u, stage, b)
        taken = []
        for _ in range(_REPEATS):
            start = time.perf_counter()
            jax.block_until_ready(run(u, stage, b))
            taken.append(time.perf_counter() - start)
        return int(iterations) if converged else None, statistics.median(taken)

    iterations, seconds = counted(False)
    adjoint, _ = counted(True)
    return Candidate(name, preconditioner, iterations, adjoint, seconds)


def _chosen(candidates: tuple[Candidate, ...]) -> Candidate:
    solved = [c for c in candidates if c.iterations is not None and c.adjoint is not None]
    best = (solved or list(candidates))[0]
    for candidate in solved[1:]:
        if candidate.seconds < _WORTH_IT * best.seconds:
            best = candidate
    return best


def _reason(
    choice: Candidate, candidates: tuple[Candidate, ...], components: tuple[Component, ...]
) -> str:
    if choice.iterations is None or choice.adjoint is None:
        return (
            "None of them solves this system: a smaller dt, or a user-defined preconditioner (see "
            "NewtonKrylov), made perhaps for a simpler model (`simplify`)."
        )
    plain = candidates[0]
    stiffest = max((c.exchange for c in components), default=0.0)
    if choice is plain:
        return (
            f"Without: a cell exchanges {stiffest:.2g} of its content a step with a neighbour, and "
            f"{plain.iterations} iterations cost less than a preconditioner that saves them. It is "
            "needed once dt, or the number of cells, is larger."
        )
    if plain.iterations is None:
        return f"{choice.name}: without a preconditioner the solve fails."
    return (
        f"{choice.name}: {plain.seconds / choice.seconds:.1f} x faster than without, where a cell "
        f"exchanges {stiffest:.2g} of its content a step with a neighbour."
    )
