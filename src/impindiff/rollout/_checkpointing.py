"""Checkpoint schedules: the states that a rollout stores for its backward pass."""

import abc
import math
import re
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, PyTree

from impindiff.errors import InputError
from impindiff.rollout._binomial import binomial_scan

Step = Callable[[PyTree[Any], PyTree[Any], PyTree[Any]], tuple[PyTree[Any], PyTree[Any]]]
"""`step(parameters, carry, x)` returns (carry, statistics); the carry starts with the state."""


class Sizes(eqx.Module):
    """Sizes by which a schedule is chosen.

    - `steps`: of the rollout.
    - `carry`: bytes passed from step to step: the state and the stepper's memory.
    - `kept`: bytes stored for the derivative of one step: a state for each of its solves.
    """

    steps: int
    carry: int
    kept: int


class AbstractCheckpointing(eqx.Module):
    """A checkpoint schedule: execution and differentiation of the loop over steps.

    All schedules give the same trajectory and, to round-off, the same gradient; they trade memory
    for solves. See `StoreStates`, `Segments`, `Binomial` and `ForBudget`.
    """

    @abc.abstractmethod
    def run(
        self,
        step: Step,
        parameters: PyTree[Any],
        carry: PyTree[Any],
        xs: PyTree[Any],
        outputs: Int[Array, " steps"],
        number: int,
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """Run the loop: (states at the outputs, first that of `carry`; statistics of all steps).

        `xs` has a leading axis of steps; `outputs[i]` is the output time that step i leads to, one
        of `number` with the first.
        """

    @abc.abstractmethod
    def solves(self, steps: int) -> int:
        """Number of solved steps in a rollout and its backward pass together."""

    @abc.abstractmethod
    def stored_bytes(self, sizes: Sizes) -> int:
        """Bytes stored, except outputs, coefficients and the work of a step."""

    def chosen(self, sizes: Sizes) -> "AbstractCheckpointing":
        """The schedule to run: itself, unless it is one that chooses."""
        del sizes
        return self


def _saving(step: Step, parameters: PyTree[Any]) -> Callable[..., Any]:
    """Turn `step` into the body of a scan that also writes the state to its output time.

    Steps between two output times write to the same place; the last one stays.
    """

    def body(carried, x):
        carry, saved = carried
        carry, stats = step(parameters, carry, x[0])
        saved = jax.tree.map(lambda all, one: all.at[x[1]].set(one), saved, carry[0])
        return (carry, saved), stats

    return body


def _empty_outputs(carry: PyTree[Any], number: int) -> PyTree[Any]:
    return jax.tree.map(
        lambda leaf: jnp.zeros((number, *leaf.shape), leaf.dtype).at[0].set(leaf), carry[0]
    )


class StoreStates(AbstractCheckpointing):
    """Store the state of every step; recompute no solve.

    Memory of the backward pass: one state per step and solve (the steppers recompute everything
    else). Solves: one per step. Forward mode, reverse mode and all their compositions.
    """

    def run(
        self,
        step: Step,
        parameters: PyTree[Any],
        carry: PyTree[Any],
        xs: PyTree[Any],
        outputs: Int[Array, " steps"],
        number: int,
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """Run the loop as a plain scan."""
        start = (carry, _empty_outputs(carry, number))
        (_, saved), stats = jax.lax.scan(_saving(step, parameters), start, (xs, outputs))
        return saved, stats

    def solves(self, steps: int) -> int:
        """One solve per step."""
        return steps

    def stored_bytes(self, sizes: Sizes) -> int:
        """The states of all steps."""
        return sizes.steps * sizes.kept


class Segments(AbstractCheckpointing):
    """Store the state at the start of each segment; recompute each segment once.

    The second run stores the state of every step, so no step is solved a third time, and the last
    segment, whose states are still available, not a second time. Memory: a state per segment and
    one per step of a segment, about 2 sqrt(steps) in all. Forward mode, reverse mode and all their
    compositions.

    - `length`: steps per segment; default the square root of their number, rounded up.

    Source: the two-level case of Griewank and Walther, "Evaluating derivatives" (2008), ch. 12.
    """

    length: int | None = eqx.field(static=True, default=None)

    def __check_init__(self) -> None:
        if self.length is not None and self.length < 1:
            raise InputError(f"Segments: length = {self.length}; expected at least 1")

    def _split(self, steps: int) -> tuple[int, int]:
        """(number of segments before the last, length)."""
        length = math.isqrt(steps - 1) + 1 if self.length is None else self.length
        return (steps - 1) // length, length

    def run(
        self,
        step: Step,
        parameters: PyTree[Any],
        carry: PyTree[Any],
        xs: PyTree[Any],
        outputs: Int[Array, " steps"],
        number: int,
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """Run the loop as nested scans."""
        segments, length = self._split(len(outputs))
        again = segments * length
        body = _saving(step, parameters)

        def segment(carried, xs):
            return jax.lax.scan(body, carried, xs)

        all_xs = (xs, outputs)
        head = jax.tree.map(
            lambda leaf: leaf[:again].reshape(segments, length, *leaf.shape[1:]), all_xs
        )
        tail = jax.tree.map(lambda leaf: leaf[again:], all_xs)
        carried = (carry, _empty_outputs(carry, number))
        # inside a scan nothing can merge the two runs of a segment, which prevent_cse guards from
        carried, first = jax.lax.scan(jax.checkpoint(segment, prevent_cse=False), carried, head)
        (_, saved), last = segment(carried, tail)
        stats = jax.tree.map(
            lambda a, b: jnp.concatenate([a.reshape(again, *a.shape[2:]), b]), first, last
        )
        return saved, stats

    def solves(self, steps: int) -> int:
        """Two solves per step, except in the last segment."""
        segments, length = self._split(steps)
        return steps + segments * length

    def stored_bytes(self, sizes: Sizes) -> int:
        """The states of all segments' starts, and of one segment's steps."""
        segments, length = self._split(sizes.steps)
        return segments * sizes.carry + length * sizes.kept


class Binomial(AbstractCheckpointing):
    """Store the states of at most `slots` steps, with the fewest possible recomputations.

    The optimal schedule for a known number of steps: with r the least number for which C(slots + r,
    r) >= steps, all solves together are (r + 1) steps - C(slots + r, r - 1). Memory: `slots` times
    state and stepper's memory, for any number of steps. Reverse mode, and forward over reverse mode
    (`jax.hessian`); other orders are an `InputError`.

    - `slots`: states stored at the same time, at most.

    The schedule comes from the package checkpoint_schedules. It lists actions for a Python loop;
    the loop that is compiled once for any number of steps is this library's, and so are
    `StoreStates` and `Segments`, which are plain nested scans.

    Source: Griewank and Walther, "Algorithm 799: revolve", ACM TOMS 26 (2000).
    """

    slots: int = eqx.field(static=True)

    def __check_init__(self) -> None:
        if self.slots < 1:
            raise InputError(f"Binomial: slots = {self.slots}; expected at least 1")

    def run(
        self,
        step: Step,
        parameters: PyTree[Any],
        carry: PyTree[Any],
        xs: PyTree[Any],
        outputs: Int[Array, " steps"],
        number: int,
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """Run the loop by the binomial schedule."""
        if len(outputs) == 1:
            return StoreStates().run(step, parameters, carry, xs, outputs, number)
        initial = carry[0]
        carry, saved, stats = binomial_scan(
            step, self.slots, parameters, carry, xs, outputs, number
        )
        # the backward pass begins with the last step, which need not be recomputed
        last_x = jax.tree.map(lambda leaf: leaf[-1], xs)
        carry, last_stats = step(parameters, carry, last_x)
        saved = jax.tree.map(
            # a first step of length 0 has written the first output itself
            lambda all, first, last: (
                all.at[0].set(jnp.where(outputs[0] == 0, all[0], first)).at[-1].set(last)
            ),
            saved,
            initial,
            carry[0],
        )
        stats = jax.tree.map(lambda a, b: jnp.concatenate([a, b[None]]), stats, last_stats)
        return saved, stats

    def solves(self, steps: int) -> int:
        """Solves of the optimal schedule."""
        if steps == 1:
            return 1
        slots = min(self.slots, steps - 1)
        repeats = 0
        while math.comb(slots + repeats, repeats) < steps:
            repeats += 1
        return (repeats + 1) * steps - math.comb(slots + repeats, repeats - 1)

    def stored_bytes(self, sizes: Sizes) -> int:
        """The states of all slots."""
        return min(self.slots, max(sizes.steps - 1, 1)) * sizes.carry


_UNITS = {"": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


class ForBudget(AbstractCheckpointing):
    """The schedule with the fewest solves whose stored states fit into a budget.

    `StoreStates` if it fits, else `Segments`, else `Binomial` with as many slots as fit; the choice
    is `result.checkpointing` of `rollout`. The budget is for stored states; outputs, time-dependent
    coefficients and the work of a step are additional (see `estimate_memory`).

    **Arguments:**

    - `budget`: bytes, or text such as "512MB", "1.5 GiB".

    **Raises:** `InputError` for a budget that cannot be parsed, and in `rollout` for one that does
    not hold a single state.
    """

    budget: int | str = eqx.field(static=True)

    def __check_init__(self) -> None:
        self._bytes()

    def _bytes(self) -> float:
        found = re.fullmatch(
            r"\s*([0-9.]+(?:[eE][+-]?\d+)?)\s*(|[KMG]i?B)\s*", str(self.budget), re.I
        )
        try:
            amount = float(found[1]) * _UNITS[found[2].upper()] if found else 0.0
        except ValueError:
            amount = 0.0
        if not amount > 0:
            raise InputError(
                f"ForBudget: budget = {self.budget!r}; expected a number of bytes above 0 or text "
                "such as '512MB' or '1.5 GiB'"
            )
        return amount

    def chosen(self, sizes: Sizes) -> AbstractCheckpointing:
        """Choose the schedule."""
        budget = self._bytes()
        slots = int(budget // sizes.carry)
        if slots < 1:
            raise InputError(
                f"ForBudget: {self.budget} does not hold one state of {sizes.carry:,} bytes; "
                "expected a larger budget, or fewer samples at a time"
            )
        candidates = (StoreStates(), Segments(), Binomial(slots))
        fitting = [c for c in candidates if c.stored_bytes(sizes) <= budget]
        return min(fitting, key=lambda c: c.solves(sizes.steps))

    def run(
        self,
        step: Step,
        parameters: PyTree[Any],
        carry: PyTree[Any],
        xs: PyTree[Any],
        outputs: Int[Array, " steps"],
        number: int,
    ) -> tuple[PyTree[Any], PyTree[Any]]:
        """Never called: `rollout` runs the result of `chosen`."""
        raise TypeError("ForBudget chooses a schedule; it is not one")

    def solves(self, steps: int) -> int:
        """Never called, like `run`."""
        raise TypeError("ForBudget chooses a schedule; it is not one")

    def stored_bytes(self, sizes: Sizes) -> int:
        """Bytes that the schedule chosen stores."""
        return self.chosen(sizes).stored_bytes(sizes)
