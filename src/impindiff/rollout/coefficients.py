"""Latent fields, evaluated before the time loop and never inside a solver."""

from typing import Any

import equinox as eqx
import jax
import jax.extend.core
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from impindiff.rollout.schedule import Schedule
from impindiff.steppers import HybridModel

# What the evaluation of latent fields for many times may keep for its backward pass. Beyond it the
# times are gone through in chunks, each of which is evaluated a second time going backwards.
_CHUNK_BYTES = 2**29


def depends_on_time(model: HybridModel, t: Any) -> bool:
    """Whether any output of `model.latent(t)` is computed from t.

    Read off the traced program, so it also sees dependence without a derivative (a switch at a
    given time); what cannot be told apart counts as dependent.
    """
    jaxpr = jax.make_jaxpr(model.latent)(t).jaxpr
    tainted = set(jaxpr.invars)

    def any_tainted(variables):
        return any(not isinstance(v, jax.extend.core.Literal) and v in tainted for v in variables)

    for equation in jaxpr.eqns:
        if any_tainted(equation.invars):
            tainted.update(equation.outvars)
    return any_tainted(jaxpr.outvars)


def evaluate_latents(
    model: HybridModel, schedule: Schedule, nodes: tuple[float, ...]
) -> tuple[PyTree[Any], tuple[PyTree[Any], ...] | None]:
    """The latent at the initial time, and per node the latents of all steps (leading axis).

    The second is None if the latent does not depend on time: the first then serves everywhere.
    Times that several steps or nodes share are evaluated once, all of them in one batched pass, or
    in chunks where that would need too much memory.
    """
    t0 = jnp.asarray(schedule.starts[0])
    if not depends_on_time(model, t0):
        return model.latent(t0), None
    starts, lengths = jnp.asarray(schedule.starts), jnp.asarray(schedule.lengths)
    # The start of a step is the end of the one before: both nodes share one evaluation.
    interior = [c for c in nodes if c not in (0.0, 1.0)]
    ends = jnp.append(starts, starts[-1] + lengths[-1])
    needed = jnp.concatenate([ends, *(starts + c * lengths for c in interior)])
    table = _evaluated(model, needed)
    steps = schedule.steps

    def of_node(c):
        first = {0.0: 0, 1.0: 1}.get(c)
        if first is None:
            first = steps + 1 + interior.index(c) * steps
        return jax.tree.map(lambda leaf: leaf[first : first + steps], table)

    initial = jax.tree.map(lambda leaf: leaf[0], table)
    return initial, tuple(of_node(c) for c in nodes)


def _evaluated(model: HybridModel, needed: Array) -> PyTree[Any]:
    """`model.latent` at all the times (leading axis)."""
    chunk = _chunk_length(model, needed)
    if chunk >= needed.shape[0]:
        return jax.vmap(model.latent)(needed)
    return jax.lax.map(eqx.filter_checkpoint(model.latent), needed, batch_size=chunk)


def _chunk_length(model: HybridModel, needed: Array) -> int:
    """How many times may be evaluated at once: what all intermediate results together allow.

    What does not depend on t (a network pass that all times share) is not counted.
    """

    def bytes_of(times: int) -> int:
        shape = jax.ShapeDtypeStruct((times,), needed.dtype)
        jaxpr = jax.make_jaxpr(jax.vmap(model.latent))(shape).jaxpr
        shapes = [v.aval for equation in jaxpr.eqns for v in equation.outvars]
        return sum(a.size * a.dtype.itemsize for a in shapes if hasattr(a, "size"))

    per_time = max(bytes_of(2) - bytes_of(1), 1)
    return max(_CHUNK_BYTES // per_time, 1)
