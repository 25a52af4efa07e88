"""Fixed-point iterations z = g(z), as Optimistix solvers; the plain one is `Picard`.

Differences from Optimistix's `FixedPointIteration`: convergence is judged by the residual of the
point that is *returned*, component by component, and an iteration that grows or stagnates is
stopped with that outcome instead of using up its steps.
"""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import optimistix as optx
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit._status import Outcome
from impindiff.implicit.components import Components, ratio_to
from impindiff.implicit.pytree import (
    axpy,
    result_dtype,
    rms_norm,
    tree_subtract,
    tree_where,
)
from impindiff.implicit.solver import require_tolerances, tolerances

# iterations without a new smallest residual after which the iteration has stagnated
_PATIENCE = 50


class Progress(eqx.Module):
    """State of a fixed-point iteration, and the memory of its method.

    - `first`: each component's first change that was not zero: the reference of `rtol`.
    - `unknown`, `first_unknown`: the size of each component, now and at the start.
    - `sizes`, `target`: of the change g(z) - z, and the tolerance of each component.
    - `size`: the largest of `sizes` over `first`.
    """

    first: Float[Array, " components"]
    unknown: Float[Array, " components"]
    first_unknown: Float[Array, " components"]
    sizes: Float[Array, " components"]
    target: Float[Array, " components"]
    started: Bool[Array, ""]
    size: Float[Array, ""]
    best: PyTree[Float[Array, "..."]]
    best_size: Float[Array, ""]
    since_best: Int[Array, ""]
    memory: PyTree[Any]

    @property
    def met(self) -> Bool[Array, ""]:
        """True if every component has reached its tolerance."""
        reached = jnp.all(self.sizes <= self.target) & jnp.all(jnp.isfinite(self.sizes))
        return self.started & reached


class AbstractFixedPointIteration(optx.AbstractFixedPointSolver):
    """Common base of the iterations; a subclass defines the next point.

    A point is accepted, and then returned itself, when the change f = g(z) - z of every component i
    (a leaf of z, or an entry if z has at most 16) satisfies ||f_i|| <= rtol ||f_i(z0)|| + atol; by
    default atol is round-off, 8 eps times the size of the component.
    """

    rtol: eqx.AbstractVar[Any]
    atol: eqx.AbstractVar[Any]
    norm: eqx.AbstractVar[Callable[[PyTree], Array]]
    max_iterations: eqx.AbstractVar[int]
    growth: eqx.AbstractVar[float]

    def __check_init__(self) -> None:
        require_tolerances(type(self).__name__, self.rtol, self.atol)

    @abc.abstractmethod
    def start(self, y: PyTree) -> PyTree[Any]:
        """The initial memory of the method."""

    @abc.abstractmethod
    def propose(self, y: PyTree, change: PyTree, progress: Progress) -> tuple[PyTree, PyTree[Any]]:
        """(next point, memory); `change` is g(y) - y, `progress` includes it."""

    @abc.abstractmethod
    def gave_up(self, progress: Progress) -> Bool[Array, ""]:
        """True if the residual has grown beyond recovery."""

    def init(
        self,
        fn: Any,
        y: PyTree,
        args: PyTree,
        options: dict[str, Any],
        f_struct: PyTree,
        aux_struct: PyTree,
        tags: frozenset[object],
    ) -> Progress:
        """Initial state; see `optimistix.AbstractIterativeSolver`."""
        del fn, args, options, f_struct, aux_struct, tags
        infinity = jnp.asarray(jnp.inf, result_dtype(y))
        zeros = jnp.zeros_like(Components(y).sizes(y))
        return Progress(
            first=zeros,
            unknown=zeros,
            first_unknown=zeros,
            sizes=zeros,
            target=zeros,
            started=jnp.zeros((), bool),
            size=infinity,
            best=y,
            best_size=infinity,
            since_best=jnp.zeros((), jnp.int32),
            memory=self.start(y),
        )

    def step(
        self,
        fn: Any,
        y: PyTree,
        args: PyTree,
        options: dict[str, Any],
        state: Progress,
        tags: frozenset[object],
    ) -> tuple[PyTree, Progress, Any]:
        """One evaluation of g; see `optimistix.AbstractIterativeSolver`.

        The option `reference` overrides the sizes that `rtol` refers to, by default the first
        change's.
        """
        del tags
        value, aux = fn(y, args)
        change = tree_subtract(value, y)
        components = Components(y)

        def sizes_of(tree: PyTree) -> Float[Array, " components"]:
            return components.sizes(jax.lax.stop_gradient(tree), self.norm)

        sizes = sizes_of(change)
        reference = jnp.where(state.started, state.first, options.get("reference", sizes))
        first = jnp.where(reference > 0, reference, sizes)
        unknown = jnp.maximum(sizes_of(y), sizes_of(value))
        first_unknown = jnp.where(state.started, state.first_unknown, unknown)
        size = jnp.max(ratio_to(sizes, first))
        better = size < state.best_size
        progress = Progress(
            first=first,
            unknown=unknown,
            first_unknown=first_unknown,
            sizes=sizes,
            target=tolerances(
                self.rtol, self.atol, first, unknown, first_unknown, eps=components.eps
            ),
            started=jnp.ones((), bool),
            size=size,
            best=tree_where(better, y, state.best),
            best_size=jnp.where(better, size, state.best_size),
            since_best=jnp.where(better, 0, state.since_best + 1),
            memory=state.memory,
        )
        proposed, memory = self.propose(y, change, progress)
        progress = eqx.tree_at(
            lambda p: p.memory, progress, memory, is_leaf=lambda leaf: leaf is None
        )
        return tree_where(progress.met, y, proposed), progress, aux

    def terminate(
        self,
        fn: Any,
        y: PyTree,
        args: PyTree,
        options: dict[str, Any],
        state: Progress,
        tags: frozenset[object],
    ) -> tuple[Bool[Array, ""], optx.RESULTS]:
        """(finished, result); see `optimistix.AbstractIterativeSolver`."""
        del fn, y, args, options, tags
        outcome = self.outcome(state)
        going = outcome == Outcome.max_iterations
        converged = outcome == Outcome.converged
        results = optx.RESULTS
        fine = going | converged
        return ~going, results.where(fine, results.successful, results.nonlinear_divergence)

    def outcome(self, state: Progress) -> Outcome:
        """The reason of the end; `max_iterations` while there is no reason to stop."""
        stalled = state.since_best >= _PATIENCE
        grown = self.gave_up(state) | (stalled & (state.size > 2 * state.best_size))
        outcome = Outcome.where(stalled, Outcome.stagnated, Outcome.max_iterations)
        outcome = Outcome.where(grown, Outcome.diverged, outcome)
        lost = ~jnp.all(jnp.isfinite(state.first))
        outcome = Outcome.where(lost, Outcome.not_finite, outcome)
        return Outcome.where(state.met, Outcome.converged, outcome)

    def postprocess(
        self,
        fn: Any,
        y: PyTree,
        aux: Any,
        args: PyTree,
        options: dict[str, Any],
        state: Progress,
        tags: frozenset[object],
        result: optx.RESULTS,
    ) -> tuple[PyTree, Any, dict[str, Any]]:
        """The accepted point, or that with the smallest residual.

        See `optimistix.AbstractIterativeSolver`.
        """
        del fn, args, options, tags, result
        return tree_where(state.met, y, state.best), aux, {}


class Picard(AbstractFixedPointIteration):
    """Damped fixed-point iteration z_{k+1} = z_k + relaxation (g(z_k) - z_k).

    Converges, linearly, where the spectral radius of (1 - relaxation) I + relaxation dg/dz is below
    1: for a time step z = u + w f(z) and relaxation 1 where w times the stiffness is, so where an
    explicit step would be stable.

    - `rtol`, `atol`: see `AbstractFixedPointIteration`; default rtol eps**0.5.
    - `max_iterations`: an iteration costs one evaluation of g.
    - `relaxation`: below 1 damps, and allows dg/dz eigenvalues of real part below -1.
    - `growth`: the iteration counts as diverged once the residual exceeds the smallest one seen by
      this factor, or is not finite.

    This is an Optimistix solver: it also runs under `optimistix.fixed_point`.
    """

    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 500
    relaxation: float = 1.0
    growth: float = 1e3
    norm: Callable[[PyTree], Array] = rms_norm

    def start(self, y: PyTree) -> None:
        """No memory."""
        del y

    def propose(self, y: PyTree, change: PyTree, progress: Progress) -> tuple[PyTree, None]:
        """Propose the next point by the formula above."""
        del progress
        return axpy(self.relaxation, change, y), None

    def gave_up(self, progress: Progress) -> Bool[Array, ""]:
        """True if the residual has grown by `growth`, or is not finite."""
        finite = jnp.isfinite(progress.size) | ~progress.started
        return ~finite | (progress.size > self.growth * progress.best_size)
