"""Automatic choice of a preconditioner, by the sizes of a step's terms and a model of costs."""

import dataclasses
import functools
import itertools
import math
from typing import Any, NamedTuple, TypeVar

import equinox as eqx
import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, PyTree

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.implicit import NewtonKrylov, Preconditioner, evaluated_at_once, known_numbers
from impindiff.implicit.pytree import result_dtype
from impindiff.operators import Elliptic
from impindiff.preconditioners._jacobi import Jacobi
from impindiff.preconditioners._multigrid import Multigrid
from impindiff.preconditioners.components import component_matrix, grid_of, of_content
from impindiff.preconditioners.stages import first_stage
from impindiff.steppers import (
    AbstractStepper,
    HybridModel,
    ImplicitStepper,
    SteadyState,
    stage_residual,
)

S = TypeVar("S", bound=AbstractStepper)

# Costs on two cores of a CPU in float64, fitted to the numbers that benchmarks/automatic_choice.py
# stores. Every training step solves the steps of a rollout and their adjoints.
_TRAINING_STEPS = 200
_SOLVES = 2
# iterations: for each square root of the condition number; for each cell that is passed in a step
# where advection dominates, and at most for each cell along an axis
_PER_ROOT, _PER_COURANT, _PER_CELL = 5.3, 16.0, 5.0
# the condition number is at most the square of the cells along an axis over this: in a step, where
# the smoothest modes hardly change, and of a steady state, which they determine
_OF_STEP, _OF_STEADY = 3.7, 1.9
# with multigrid: at most where nothing drifts, and for each doubling of the cells passed
_FEW, _PER_DOUBLING = 3.0, 0.7
# seconds of an iteration, and of one with a multigrid cycle; of its set-up in each solve; and what
# each cell adds
_ITERATION, _ITERATION_CELL = 1e-6, 7e-9
_CYCLE, _CYCLE_CELL = 12e-6, 40e-9
_SET_UP, _SET_UP_CELL = 25e-6, 115e-9
# a diagonal is set up by as many products as a few iterations have
_DIAGONAL_SET_UP = 5.0
# seconds to compile what a preconditioner adds for a component: a diagonal; cycles in two
# dimensions, with each halving of the cells along an axis (as the square of the dimensions)
_COMPILE_DIAGONAL = 1.0
_COMPILE_CYCLE, _COMPILE_LEVEL = -3.0, 1.8
# an implicit step is longer than an explicit one, which has less than 1
_ASSUMED_EXCHANGE = 10.0
# an estimate of more iterations than this part of the limit is taken for a solve that fails
_SURE = 0.5
# the largest effect of two components on each other that still has an inverse
_STRONGEST = 1 - 1e-6


@dataclasses.dataclass(frozen=True)
class AutomaticChoice:
    """The preconditioner that "auto" stands for.

    - `preconditioner`: the one chosen; None for none.
    - `name`: as it is written in Python, or "none".
    - `why`: the reason.
    """

    preconditioner: Preconditioner | None
    name: str
    why: str

    def __str__(self) -> str:
        """The name and the reason."""
        return f"{self.name} ({self.why})"


class _Terms(NamedTuple):
    """Sizes of the terms in the equation of a step, each the largest of all components.

    - `exchange`, `courant`: D dt / dx^2 and |v| dt / dx.
    - `condition`: the sum of a row's absolute entries, over the smallest that is left of a row
      without exchange; `of_cells`: the same within each row.
    - `feedback`: the product of the effects of two components on each other, within a cell, over
      that of their effects on themselves.
    - `driven`: a component depends on one before it.
    """

    exchange: float
    courant: float
    condition: float
    of_cells: float
    feedback: float
    driven: bool

    @property
    def drift(self) -> float:
        """The Courant number times P / (1 + P), P the cell Peclet number: diffusion smooths."""
        total = self.courant + self.exchange
        return self.courant * self.courant / total if total > 0 else 0.0

    def of_steady(self, cells: tuple[int, ...]) -> "_Terms":
        """The terms of a step in which the smoothest modes decay: a longer one costs no more."""
        peclet = self.courant / self.exchange if self.exchange > 0 else math.inf
        exchange = (max(cells) / _OF_STEADY) ** 2 / (4 * len(cells))
        return self._replace(exchange=exchange, courant=min(peclet, max(cells)) * exchange)


class _Estimate(NamedTuple):
    """Iterations of a solve, and seconds of a training run."""

    iterations: float
    seconds: float


def asks_for_choice(stepper: AbstractStepper) -> bool:
    """True for a stepper whose preconditioner is "auto"."""
    solver = getattr(stepper, "solver", None)
    return isinstance(solver, NewtonKrylov) and isinstance(solver.preconditioner, str)


def with_choice(stepper: S, choice: AutomaticChoice) -> S:
    """The stepper with the preconditioner chosen."""

    def where(stepper: Any) -> Any:
        return stepper.solver.preconditioner

    return eqx.tree_at(where, stepper, choice.preconditioner)


def choose_preconditioner(
    stepper: ImplicitStepper,
    model: HybridModel,
    u0: PyTree[ArrayLike],
    dt: float | None,
    *,
    t: Any = 0.0,
    steps: int = 1,
    batch_ndim: int = 0,
) -> AutomaticChoice:
    """Choose no preconditioner, `Jacobi` or `Multigrid` for training through a step's equation.

    The choice is the one with the shortest estimated time of 200 training steps, compilation
    included. Without preconditioner, Krylov iterations grow with the square root of the exchange
    D dt / dx^2 and, where the Peclet number is not small, with the Courant number, at most in
    proportion to the cells along an axis. `Multigrid` needs a few, each of which costs as much as
    several others, and its program takes seconds more to compile. `Jacobi` suits reactions that are
    faster than a step. `FastDiagonalization` is not chosen: equal coefficients need not be equal
    after training.

    The arguments alone decide, not the machine or measured times, so a run that is repeated or
    resumed takes the same.

    **Arguments:**

    - `stepper`: an implicit one, whose solver is `NewtonKrylov`.
    - `u0`: the initial state; of a batch, the first sample counts.
    - `dt`: the longest step; None if unknown.
    - `t`: the time of u0.
    - `steps`: number of steps of a rollout.
    - `batch_ndim`: number of leading axes of samples.

    Where model, state or step are traced, as inside `jax.jit`, or the step is unknown, diffusion
    with an exchange D dt / dx^2 of 10 is assumed.

    **Raises:** `InputError` for a stepper without `NewtonKrylov`.

    Cost: some 2 ndim + 3 products with the Jacobian per component, in a small program.
    """
    if not isinstance(stepper, ImplicitStepper) or not isinstance(stepper.solver, NewtonKrylov):
        raise InputError(
            f"preconditioner='auto': {type(stepper).__name__} takes no preconditioner; expected an "
            "implicit stepper with the solver NewtonKrylov"
        )
    grid = getattr(model, "grid", None)
    shapes = [np.shape(leaf) for leaf in jax.tree.leaves(u0)]
    cells = grid.cells if isinstance(grid, Grid) else None
    fields = tuple(i for i, shape in enumerate(shapes) if shape[batch_ndim:] == cells)
    if not isinstance(grid, Grid) or not fields:
        return AutomaticChoice(None, "none", "no component of the state is a field on a grid")
    steady, found = isinstance(stepper, SteadyState), None
    with evaluated_at_once():
        given = known_numbers((stepper, model, jax.tree.map(jnp.asarray, u0), dt, t))
        if given is not None and dt is not None:
            found = _measured(*given, fields, batch_ndim)
    terms = _assumed(grid.ndim, steady=steady) if found is None else found
    terms = terms.of_steady(grid.cells) if steady else terms
    samples = math.prod(shapes[0][:batch_ndim])
    estimate = _Estimator(
        terms,
        grid.cells,
        smoothest=_OF_STEADY if steady else _OF_STEP,
        components=len(fields),
        unknowns=len(fields) * samples * math.prod(grid.cells),
        solves=_TRAINING_STEPS * _SOLVES * steps * stepper.solves_per_step,
        most=getattr(stepper.solver.linear_solver, "max_steps", None) or math.inf,
    )
    blocks, lower = len(fields) > 1, terms.driven
    jacobi = "Jacobi(blocks=True)" if blocks else "Jacobi()"
    multigrid = "Multigrid(coupling='lower')" if lower else "Multigrid()"
    candidates: dict[str, tuple[Preconditioner | None, _Estimate]] = {
        "none": (None, estimate.plain()),
        jacobi: (Jacobi(blocks=blocks), estimate.diagonal()),
        multigrid: (Multigrid(coupling="lower" if lower else "diagonal"), estimate.multigrid()),
    }
    name = min(candidates, key=lambda name: candidates[name][1].seconds)
    size = "sizes unknown" if found is None else "steady"
    if not steady:
        by = "assumed" if found is None else "at most"
        size = f"D dt/dx^2 {by} {terms.exchange:.2g}"
    estimates = ", ".join(
        f"{other} {of.seconds:.2g} s with {of.iterations:.0f} iterations a solve"
        for other, (_, of) in candidates.items()
    )
    why = f"{size}; estimates for {_TRAINING_STEPS} training steps: {estimates}"
    return AutomaticChoice(candidates[name][0], name, why)


@dataclasses.dataclass(frozen=True)
class _Estimator:
    """The model of costs.

    - `smoothest`: `_OF_STEP` or `_OF_STEADY`.
    - `unknowns`: of all samples; `solves`: of a training run.
    - `most`: iterations after which a solve fails.
    """

    terms: _Terms
    cells: tuple[int, ...]
    smoothest: float
    components: int
    unknowns: int
    solves: int
    most: float

    def plain(self) -> _Estimate:
        """No preconditioner."""
        iterations = self._iterations(self.terms.condition * self._of_feedback())
        return self._sum(0.0, 0.0, iterations, self._iteration())

    def diagonal(self) -> _Estimate:
        """The inverse of the diagonal, or of the blocks of cells."""
        iterations, each = self._iterations(self.terms.of_cells), self._iteration()
        compilation = self.components * _COMPILE_DIAGONAL
        return self._sum(compilation, _DIAGONAL_SET_UP * each, iterations, each)

    def multigrid(self) -> _Estimate:
        """Multigrid cycles."""
        terms, most = self.terms, max(self.cells)
        iterations = min(1 + math.log10(max(terms.condition, 1.0)), _FEW)
        iterations += _PER_DOUBLING * math.log2(1 + min(terms.drift, most))
        iterations *= self._of_feedback() ** 0.5
        compilation = _COMPILE_CYCLE + _COMPILE_LEVEL * math.log2(most)
        compilation = max(compilation * (len(self.cells) / 2) ** 2, _COMPILE_DIAGONAL)
        return self._sum(
            self.components * compilation,
            self.components * _SET_UP + self.unknowns * _SET_UP_CELL,
            iterations,
            self.components * _CYCLE + self.unknowns * _CYCLE_CELL,
        )

    def _of_feedback(self) -> float:
        """Condition number of two components that act on each other within a cell."""
        root = self.terms.feedback**0.5
        return (1 + root) / (1 - root)

    def _iterations(self, condition: float) -> float:
        longest = max(self.cells)
        condition = 1 / (1 / max(condition, 1.0) + (self.smoothest / longest) ** 2)
        passed, most = _PER_COURANT * self.terms.drift, _PER_CELL * longest
        return _PER_ROOT * condition**0.5 + passed * most / math.hypot(passed, most)

    def _iteration(self) -> float:
        return self.components * _ITERATION + self.unknowns * _ITERATION_CELL

    def _sum(self, compilation: float, set_up: float, iterations: float, each: float) -> _Estimate:
        seconds = compilation + self.solves * (set_up + iterations * each)
        return _Estimate(iterations, seconds if iterations <= _SURE * self.most else math.inf)


def _assumed(ndim: int, *, steady: bool) -> _Terms:
    """The terms of diffusion where numbers are not known."""
    condition = math.inf if steady else 1 + 4 * ndim * _ASSUMED_EXCHANGE
    return _Terms(_ASSUMED_EXCHANGE, 0.0, condition, condition, 0.0, driven=False)


def _measured(
    stepper: ImplicitStepper,
    model: HybridModel,
    u0: PyTree[Array],
    dt: Any,
    t: Any,
    fields: tuple[int, ...],
    batch_ndim: int,
) -> _Terms | None:
    """The terms of these components; None where they are not finite."""
    dtype = result_dtype(u0)
    now, step = jnp.asarray(t, dtype), jnp.asarray(dt, dtype)
    matrices, diagonals, *columns = _products(stepper, model, u0, now, step, fields, batch_ndim)
    with np.errstate(divide="ignore", invalid="ignore"):
        feedback, driven = _couplings(*columns)
        each = [_terms_of(*of) for of in zip(matrices, diagonals, strict=True)]
        # the maximum of NumPy's passes on what is not a number
        exchange, courant, condition, of_cells = (float(x) for x in np.max(each, axis=0))
        found = _Terms(exchange, courant, condition, of_cells, feedback, driven)
    # the condition number of a steady state may be infinite
    finite = math.isfinite(found.exchange + found.courant + found.feedback)
    return found if finite and not math.isnan(found.condition + found.of_cells) else None


# little is run, so it is compiled without the optimisations that take half of the time
_jitted: Any = eqx.filter_jit


@functools.partial(_jitted, compiler_options={"xla_backend_optimization_level": 0})
def _products(
    stepper: ImplicitStepper,
    model: HybridModel,
    u0: PyTree[Array],
    t: Float[Array, ""],
    dt: Float[Array, ""],
    fields: tuple[int, ...],
    batch_ndim: int,
) -> tuple[list[Elliptic], list[Array], list[list[Array]], list[list[Array]]]:
    """Extract the matrix of each component, its diagonal, and its effects on each.

    Effects are those of ones, and of an uneven vector; none of a single component.
    """
    u = jax.tree.map(lambda leaf: leaf[(0,) * batch_ndim], u0)
    stage = first_stage(stepper, model, u, t, dt, batch_ndim)
    grid = grid_of(stage, "preconditioner='auto'")

    def residual(z: PyTree) -> PyTree:
        return stage_residual(z, stage)

    matrices = [component_matrix(residual, u, i, grid) for i in fields]
    diagonals = [matrix.main_diagonal() for matrix in matrices]
    if len(fields) == 1:
        return matrices, diagonals, [], []
    leaves, structure = jax.tree.flatten(u)
    _, jacobian = jax.linearize(residual, u)

    def column(j: int, values: np.ndarray) -> list[Array]:
        seeds = [jnp.zeros_like(leaf) for leaf in leaves]
        seeds[j] = jnp.asarray(values, leaves[j].dtype)
        products = jax.tree.leaves(jacobian(jax.tree.unflatten(structure, seeds)))
        return [products[i] for i in fields]

    # a vector that no difference between cells maps to 0
    uneven = np.random.default_rng(0).normal(size=grid.cells)
    sums = [column(j, np.ones(grid.cells)) for j in fields]
    return matrices, diagonals, sums, [column(j, uneven) for j in fields]


def _terms_of(matrix: Elliptic, diagonal: Array) -> tuple[float, float, float, float]:
    """`exchange`, `courant`, `condition` and `of_cells` of one component."""
    own = np.abs(np.asarray(matrix.reaction))
    if matrix.volumes is not None:
        own = own / np.asarray(matrix.volumes)
    # what leaves a cell counts in the diagonal, and once more in the cells beside it
    rows = 2 * np.abs(np.asarray(diagonal)) - own
    exchange, drift = (
        max(float(np.max(of_content(x.inner, matrix, i), initial=0)) for i, x in enumerate(faces))
        for faces in (matrix.faces, matrix.drift or matrix.faces)
    )
    return exchange, 2 * drift, float(np.max(rows) / np.min(own)), float(np.max(rows / own))


def _couplings(sums: list[list[Array]], products: list[list[Array]]) -> tuple[float, bool]:
    """`feedback` and `driven` of all components."""
    feedback, driven = 0.0, False
    for j, k in itertools.combinations(range(len(sums)), 2):
        both, own = (
            np.abs(np.asarray(a) * np.asarray(b))
            for a, b in ((sums[j][k], sums[k][j]), (sums[j][j], sums[k][k]))
        )
        feedback = max(feedback, float(np.max(np.where(both > 0, both / own, 0.0))))
        driven |= bool(np.any(np.asarray(products[j][k]) != 0))
    return min(feedback, _STRONGEST), driven
