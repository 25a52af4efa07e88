"""A loop that goes backwards with a fixed number of stored states.

The schedule (which states to store, which steps to run again) is that of Griewank and Walther
(2000), taken from the package checkpoint_schedules. It is turned into a table of single steps,
forward or backward, that one `lax.scan` works through: the compiled program is as long for a
thousand steps as for ten. Equinox's checkpointed loop (`equinox.internal`) does a like thing for an
unknown number of steps; it is not public, and does not tell how often it will run a step.
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

# A slot that does not exist: reading or writing it is left out.
_NONE = -1


class _Plan(NamedTuple):
    """The schedule as tables.

    - `stored_in`: by step of the first sweep, the slot that its state is stored in beforehand.
    - `step`, `backward`, `load`, `store`: the backward sweep, an entry an operation: first load the
      state from a slot, then store it in one, then go through the step, forward or backward.
    """

    slots: int
    stored_in: Int[np.ndarray, " steps"]
    step: Int[np.ndarray, " operations"]
    backward: Int[np.ndarray, " operations"]
    load: Int[np.ndarray, " operations"]
    store: Int[np.ndarray, " operations"]


@functools.lru_cache(maxsize=16)
def _plan(steps: int, slots: int) -> _Plan:
    """The plan for all steps but the last, which ordinary differentiation goes through first."""
    slots = min(slots, steps - 1)
    stored_in = np.full(steps - 1, _NONE)
    slot_of: dict[int, int] = {}
    free = list(range(slots - 1, -1, -1))
    operations: list[list[int]] = []
    backward_sweep = False
    load = _NONE
    schedule = iter(MultistageCheckpointSchedule(steps, slots, 0))
    for action in schedule:
        if isinstance(action, Forward):
            store = _NONE
            if action.write_ics:
                store = slot_of[action.n0] = free.pop()
            if not backward_sweep:
                if store != _NONE:
                    stored_in[action.n0] = store
                continue
            # the step before a Reverse is the same as that: the derivative evaluates it
            end = action.n1 - 1 if action.write_adj_deps else action.n1
            for n in range(action.n0, end):
                operations.append([n, 0, load, store])
                load = store = _NONE
        elif isinstance(action, Copy | Move):
            load = slot_of[action.n]
            if isinstance(action, Move):
                free.append(slot_of.pop(action.n))
        elif isinstance(action, Reverse):
            if backward_sweep:
                operations.append([action.n0, 1, load, _NONE])
                load = _NONE
            backward_sweep = True
            if action.n0 == 0:
                break
    table = np.asarray(operations).T
    return _Plan(slots, stored_in, *table)


def binomial_scan(
    step: Callable[..., Any],
    slots: int,
    parameters: PyTree[Any],
    carry: PyTree[Any],
    saved: PyTree[Any],
    xs: PyTree[Any],
    outputs: Int[Array, " steps"],
) -> tuple[PyTree[Any], PyTree[Any], PyTree[Any]]:
    """All steps but the last: (carry, saved with the states at the outputs, statistics)."""
    head = jax.tree.map(lambda leaf: leaf[:-1], xs)
    plan = _plan(len(outputs), slots)
    # where each step writes: nowhere, unless it is the one that reaches the output time
    writes = jnp.where(jnp.diff(outputs) > 0, outputs[:-1], _NONE)
    reached, stats = _run((parameters, carry, head), step, plan, writes, saved)
    return *reached, stats


@eqx.filter_custom_vjp
def _run(differentiated, step, plan, writes, saved):
    parameters, carry, xs = differentiated
    del plan

    def body(carried, x):
        carry, saved = carried
        carry, stats = step(parameters, carry, x[0])
        return (carry, _set(saved, x[1], carry[0])), stats

    return jax.lax.scan(body, (carry, saved), (xs, writes))


@_run.def_fwd
def _run_forward(perturbed, differentiated, step, plan, writes, saved):
    del perturbed
    parameters, carry, xs = differentiated

    def body(carried, x):
        carry, saved, stored = carried
        x, output, slot = x
        stored = _set(stored, slot, carry)
        carry, stats = step(parameters, carry, x)
        return (carry, _set(saved, output, carry[0]), stored), stats

    stored = jax.tree.map(lambda leaf: jnp.zeros((plan.slots, *leaf.shape), leaf.dtype), carry)
    (carry, saved, stored), stats = jax.lax.scan(
        body, (carry, saved, stored), (xs, writes, jnp.asarray(plan.stored_in))
    )
    return ((carry, saved), stats), stored


@_run.def_bwd
def _run_backward(stored, cotangent, perturbed, differentiated, step, plan, writes, saved):
    del perturbed, saved
    parameters, carry, xs = differentiated
    (carry_bar, saved_bar), _ = cotangent
    free_parameters, fixed_parameters = eqx.partition(parameters, eqx.is_inexact_array)
    free_xs, fixed_xs = eqx.partition(xs, eqx.is_inexact_array)
    carry_bar = _zeros_for_none(carry_bar, carry)

    def operate(state, operation):
        work, stored, bar, parameters_bar, xs_bar = state
        n, backward, load, store = operation
        loaded = _get(stored, load)
        work = jax.tree.map(lambda new, old: jnp.where(load == _NONE, old, new), loaded, work)
        stored = _set(stored, store, work)
        x, fixed_x = (_get(of_steps, n) for of_steps in (free_xs, fixed_xs))
        saved_here = _zeros_for_none(jax.tree.map(lambda all: all[writes[n]], saved_bar), work[0])
        reached = jax.tree.map(
            lambda b, s: b + jnp.where(writes[n] == _NONE, 0, s), bar[0], saved_here
        )
        bar_after = (reached, bar[1])

        def go_on(_):
            after, _ = step(parameters, work, eqx.combine(x, fixed_x))
            nothing = jax.tree.map(jnp.zeros_like, (free_parameters, x))
            return after, bar, *nothing

        def go_back(_):
            def carried_on(free_parameters, work, x):
                combined = eqx.combine(free_parameters, fixed_parameters)
                return step(combined, work, eqx.combine(x, fixed_x))[0]

            _, pull_back = jax.vjp(carried_on, free_parameters, work, x)
            of_parameters, before, of_x = pull_back(bar_after)
            return work, before, of_parameters, of_x

        work, bar, of_parameters, of_x = jax.lax.cond(backward == 1, go_back, go_on, None)
        parameters_bar = jax.tree.map(jnp.add, parameters_bar, of_parameters)
        xs_bar = _set(xs_bar, jnp.where(backward == 1, n, _NONE), of_x)
        return (work, stored, bar, parameters_bar, xs_bar), None

    start = (
        carry,
        stored,
        carry_bar,
        jax.tree.map(jnp.zeros_like, free_parameters),
        jax.tree.map(jnp.zeros_like, free_xs),
    )
    table = tuple(jnp.asarray(column) for column in plan[2:])
    (_, _, bar, parameters_bar, xs_bar), _ = jax.lax.scan(operate, start, table)
    return parameters_bar, bar, xs_bar


def _get(stored: PyTree[Any], slot: Any) -> PyTree[Any]:
    """The entry of a slot (any, for `_NONE`)."""
    return jax.tree.map(lambda leaf: leaf[slot], stored)


def _set(stored: PyTree[Any], slot: Any, value: PyTree[Any]) -> PyTree[Any]:
    """With the value in a slot; unchanged for `_NONE`."""

    def put(leaf, new):
        beyond = jnp.where(slot == _NONE, leaf.shape[0], slot)
        return leaf.at[beyond].set(new, mode="drop")

    return jax.tree.map(put, stored, value)


def _zeros_for_none(cotangent: PyTree[Any], like: PyTree[Any]) -> PyTree[Any]:
    """The cotangent with zeros where Equinox gives None for what nothing depends on."""

    def fill(leaf, bar):
        return jnp.zeros_like(leaf) if bar is None and leaf is not None else bar

    return jax.tree.map(fill, like, cotangent, is_leaf=lambda leaf: leaf is None)
