"""Latent fields, evaluated before the time loop and never inside a solver."""

from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from impindiff.rollout._schedule import Schedule
from impindiff.steppers import HybridModel

# limit on the memory for the derivative of latent fields at many times; beyond it the times are
# evaluated in chunks, each of which is recomputed in the backward pass
_CHUNK_BYTES = 2**29


def depends_on_time(model: HybridModel, t: Any) -> bool:
    """True if any output of `model.latent(t)` depends on t.

    This is read off the traced program, so it includes dependence without a derivative (a switch at
    a given time); undecidable cases count as dependent.
    """
    jaxpr = jax.make_jaxpr(model.latent)(t).jaxpr
    tainted = set(jaxpr.invars)

    def any_tainted(variables):
        return any(not isinstance(v, jax.extend.core.Literal) and v in tainted for v in variables)

    for equation in jaxpr.eqns:
        if any_tainted(equation.invars):
            tainted.update(equation.outvars)
    return any_tainted(jaxpr.outvars)


class Latents(NamedTuple):
    """The latent fields of a rollout.

    - `initial`: at the initial time.
    - `of_nodes`: per node those of all steps (leading axis); None for a steady latent, given by
      `initial`.
    - `after_jumps`: those right after each jump (leading axis); None if not needed.
    """

    initial: PyTree[Any]
    of_nodes: tuple[PyTree[Any], ...] | None = None
    after_jumps: PyTree[Any] | None = None


def evaluate_latents(model: HybridModel, schedule: Schedule, nodes: tuple[float, ...]) -> Latents:
    """Evaluate the latent at the initial time, at the nodes of all steps, and after jumps.

    Times shared by several steps or nodes are evaluated once, all of them in one batched pass, or
    in chunks to limit memory. Those at a jump are evaluated on the step's side of it.
    """
    starts, lengths = jnp.asarray(schedule.starts), jnp.asarray(schedule.lengths)
    jumps, passed = schedule.jumps, schedule.passed

    def inside(t: Array) -> Array:
        """The times, one per step, on the step's side of every jump."""
        return t if jumps is None else jnp.clip(t, jumps.lower[passed], jumps.upper[passed])

    first = inside(starts)[:1]
    if not depends_on_time(model, first[0]):
        return Latents(model.latent(first[0]))
    # the start of a step is the end of the one before: both nodes share one evaluation
    interior = [c for c in nodes if c not in (0.0, 1.0)]
    ends = inside(jnp.append(starts[1:], schedule.end))
    after = starts[:0] if jumps is None else jumps.lower[1:]
    needed = [first, ends, after, *(inside(starts + c * lengths) for c in interior)]
    table = _evaluated(model, jnp.concatenate(needed))
    steps = schedule.steps

    def rows(first: int, count: int) -> PyTree[Array]:
        return jax.tree.map(lambda leaf: leaf[first : first + count], table)

    after_jumps = rows(steps + 1, len(after))

    def of_node(c: float) -> PyTree[Array]:
        if c == 1.0:
            return rows(1, steps)
        if c != 0.0:
            return rows(steps + 1 + len(after) + interior.index(c) * steps, steps)
        shared = rows(0, steps)
        if jumps is None or passed is None:
            return shared
        # a step that begins at a jump does not share the end of the one before
        behind, jump = jnp.append(False, jnp.diff(passed) > 0), passed - 1

        def chosen(own: Array, after: Array) -> Array:
            flags = behind.reshape(-1, *[1] * (own.ndim - 1))
            return jnp.where(flags, after[jump], own)

        return jax.tree.map(chosen, shared, after_jumps)

    initial = jax.tree.map(lambda leaf: leaf[0], table)
    return Latents(
        initial, tuple(of_node(c) for c in nodes), after_jumps if jumps is not None else None
    )


def _evaluated(model: HybridModel, needed: Array) -> PyTree[Any]:
    """Evaluate `model.latent` at all the times (leading axis)."""
    chunk = _chunk_length(model, needed)
    if chunk >= needed.shape[0]:
        return jax.vmap(model.latent)(needed)
    return jax.lax.map(eqx.filter_checkpoint(model.latent), needed, batch_size=chunk)


def _chunk_length(model: HybridModel, needed: Array) -> int:
    """Number of times to evaluate at once, limited by the memory of all intermediate results.

    Results independent of t (a network pass shared by all times) are not counted.
    """

    def bytes_of(times: int) -> int:
        shape = jax.ShapeDtypeStruct((times,), needed.dtype)
        jaxpr = jax.make_jaxpr(jax.vmap(model.latent))(shape).jaxpr
        shapes = [v.aval for equation in jaxpr.eqns for v in equation.outvars]
        return sum(a.size * a.dtype.itemsize for a in shapes if hasattr(a, "size"))

    per_time = max(bytes_of(2) - bytes_of(1), 1)
    return max(_CHUNK_BYTES // per_time, 1)
