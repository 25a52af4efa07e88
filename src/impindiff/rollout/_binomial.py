"""Binomial checkpointing: a loop whose backward pass needs a fixed number of stored states.

The schedule (which states to store, which steps to recompute) is that of Griewank and Walther
(2000), from the package checkpoint_schedules. It is converted to tables that one `lax.scan`
processes, from the last step to the first: load a state, run forward to the step, differentiate it.
The size of the compiled program does not depend on the number of steps. Equinox's checkpointed loop
(`equinox.internal`) is similar, for an unknown number of steps; it is not public, and the number of
recomputations is not available.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from checkpoint_schedules import Copy, Forward, Move, MultistageCheckpointSchedule, Reverse
from jaxtyping import Array, Int, PyTree

from impindiff.rollout._refusals import no_forward_mode, no_reverse_mode

# no slot: reading or writing it is skipped
_NONE = -1


class _Plan(NamedTuple):
    """The schedule as tables, by step (all but the last).

    - `stored_in`: the slot that the first sweep stores the state in before the step.
    - `load`, `start`: before differentiating the step, load this slot, the state before the step
      `start`, and run forward from there.
    - `store_before`, `store_in`: steps before which the state is stored during that run, and their
      slots, all runs in one list; those of a run begin at `first_store` and end with `_NONE`.
    """

    slots: int
    stored_in: Int[np.ndarray, " steps"]
    load: Int[np.ndarray, " steps"]
    start: Int[np.ndarray, " steps"]
    first_store: Int[np.ndarray, " steps"]
    store_before: Int[np.ndarray, " stores"]
    store_in: Int[np.ndarray, " stores"]


@functools.lru_cache(maxsize=16)
def _plan(steps: int, slots: int) -> _Plan:
    """The plan for all steps but the last, which is differentiated first."""
    slots = min(slots, steps - 1)
    stored_in, load, start, first_store = (np.full(steps - 1, _NONE, np.int32) for _ in range(4))
    stores: list[tuple[int, int]] = []
    slot_of: dict[int, int] = {}
    free = list(range(slots - 1, -1, -1))
    loaded = (_NONE, _NONE, _NONE)
    first_sweep = True
    for action in MultistageCheckpointSchedule(steps, slots, 0):
        if isinstance(action, Forward) and action.write_ics:
            slot_of[action.n0] = free.pop()
            if first_sweep:
                stored_in[action.n0] = slot_of[action.n0]
            else:
                stores.append((action.n0, slot_of[action.n0]))
        elif isinstance(action, Copy | Move):
            loaded = (slot_of[action.n], action.n, len(stores))
            if isinstance(action, Move):
                free.append(slot_of.pop(action.n))
        elif isinstance(action, Reverse):
            if not first_sweep:
                load[action.n0], start[action.n0], first_store[action.n0] = loaded
                stores.append((_NONE, _NONE))
            first_sweep = False
            if action.n0 == 0:
                break
    store_before, store_in = np.asarray(stores, np.int32).T
    return _Plan(slots, stored_in, load, start, first_store, store_before, store_in)


def binomial_scan(
    step: Callable[..., Any],
    slots: int,
    parameters: PyTree[Any],
    carry: PyTree[Any],
    xs: PyTree[Any],
    outputs: Int[Array, " steps"],
    number: int,
) -> tuple[PyTree[Any], PyTree[Any], PyTree[Any]]:
    """Scan all steps but the last: (carry, states at the outputs reached, statistics).

    The states have room for all `number` output times, zeros where none was reached.
    """
    head = jax.tree.map(lambda leaf: leaf[:-1], xs)
    plan = _plan(len(outputs), slots)
    # index of the output that each step writes: none, unless it reaches an output time
    writes = jnp.where(jnp.diff(outputs) > 0, outputs[:-1], _NONE)
    # values closed over by the step become parameters, to be differentiated like these
    converted = eqx.filter_closure_convert(step, parameters, carry, _get(head, 0))
    differentiated = no_forward_mode(((converted, parameters), carry, head))
    reached, stats = _run(differentiated, _call, plan, writes, number)
    return *reached, stats


def _call(parameters: Any, carry: PyTree[Any], x: PyTree[Any]) -> tuple[PyTree[Any], PyTree[Any]]:
    step, others = parameters
    return step(others, carry, x)


@eqx.filter_custom_vjp
def _run(differentiated, step, plan, writes, number):
    parameters, carry, xs = differentiated
    del plan
    saved = _empty(number, carry[0])

    def body(carried, x):
        carry, saved = carried
        carry, stats = step(parameters, carry, x[0])
        return (carry, _set(saved, x[1], carry[0])), stats

    return jax.lax.scan(body, (carry, saved), (xs, writes))


@_run.def_fwd
def _run_forward(perturbed, differentiated, step, plan, writes, number):
    del perturbed
    parameters, carry, xs = differentiated

    def body(carried, x):
        carry, saved, stored = carried
        x, output, slot = x
        stored = _set(stored, slot, carry)
        carry, stats = step(parameters, carry, x)
        return (carry, _set(saved, output, carry[0]), stored), stats

    stored = _empty(plan.slots, carry)
    saved = _empty(number, carry[0])
    (carry, saved, stored), stats = jax.lax.scan(
        body, (carry, saved, stored), (xs, writes, jnp.asarray(plan.stored_in))
    )
    return ((carry, saved), stats), stored


@_run.def_bwd
def _run_backward(stored, cotangent, perturbed, differentiated, step, plan, writes, number):
    del perturbed, number
    parameters, carry, xs = differentiated
    (carry_bar, saved_bar), _ = cotangent
    free_parameters, fixed_parameters = eqx.partition(parameters, eqx.is_inexact_array)
    free_xs, fixed_xs = eqx.partition(xs, eqx.is_inexact_array)
    carry_bar = _zeros_for_none(carry_bar, carry)
    store_before, store_in = jnp.asarray(plan.store_before), jnp.asarray(plan.store_in)

    def go_back(state, row):
        stored, bar, parameters_bar = state
        n, x, fixed_x, write, load, start, first_store = row

        def go_on(m, state):
            stored, carry, store = state
            here = store_before[store] == m
            stored = _set(stored, jnp.where(here, store_in[store], _NONE), carry)
            carry, _ = step(parameters, carry, _get(xs, m))
            return stored, carry, store + here.astype(store.dtype)

        state = (stored, _get(stored, load), first_store)
        stored, before, _ = jax.lax.fori_loop(start, n, go_on, state)

        def carried_on(free_parameters, carry, x):
            combined = eqx.combine(free_parameters, fixed_parameters)
            return step(combined, carry, eqx.combine(x, fixed_x))[0]

        _, pull_back = jax.vjp(carried_on, free_parameters, before, x)
        saved_here = _zeros_for_none(_get(saved_bar, write), before[0])
        reached = jax.tree.map(lambda b, s: b + jnp.where(write == _NONE, 0, s), bar[0], saved_here)
        of_parameters, bar, of_x = pull_back((reached, bar[1]))
        return (stored, bar, jax.tree.map(jnp.add, parameters_bar, of_parameters)), of_x

    number = len(plan.load)
    by_step = (np.arange(number, dtype=np.int32), free_xs, fixed_xs, writes, *plan[2:5])
    start = (stored, carry_bar, jax.tree.map(jnp.zeros_like, free_parameters))
    (_, bar, parameters_bar), xs_bar = jax.lax.scan(go_back, start, by_step, reverse=True)
    return no_reverse_mode((parameters_bar, bar, xs_bar))


def _empty(number: int, like: PyTree[Any]) -> PyTree[Any]:
    """Zeros with an additional leading axis of length `number`."""
    return jax.tree.map(lambda leaf: jnp.zeros((number, *leaf.shape), leaf.dtype), like)


def _get(stored: PyTree[Any], slot: Any) -> PyTree[Any]:
    """The entry of a slot (any, for `_NONE`)."""
    return jax.tree.map(lambda leaf: leaf[slot], stored)


def _set(stored: PyTree[Any], slot: Any, value: PyTree[Any]) -> PyTree[Any]:
    """Write the value to a slot; unchanged for `_NONE`."""

    def put(leaf, new):
        beyond = jnp.where(slot == _NONE, leaf.shape[0], slot)
        return leaf.at[beyond].set(new, mode="drop")

    return jax.tree.map(put, stored, value)


def _zeros_for_none(cotangent: PyTree[Any], like: PyTree[Any]) -> PyTree[Any]:
    """Replace None, Equinox's cotangent of unused values, by zeros."""

    def fill(leaf, bar):
        return jnp.zeros_like(leaf) if bar is None and leaf is not None else bar

    return jax.tree.map(fill, like, cotangent, is_leaf=lambda leaf: leaf is None)
