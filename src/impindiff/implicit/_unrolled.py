"""Loops that support reverse-mode differentiation on request.

Only the baseline `Unrolled` does so: every iterate is stored.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
from jaxtyping import Array, Bool

from impindiff.implicit.pytree import tree_where

Carry = TypeVar("Carry")


def bounded_loop(
    condition: Callable[[Carry], Bool[Array, ""]],
    body: Callable[[Carry], Carry],
    start: Carry,
    max_iterations: int,
    *,
    unrolled: bool,
) -> Carry:
    """Run `while condition: body`, at most `max_iterations` times.

    Unrolled, it always runs the whole length and freezes the carry once the condition fails, since
    a scan has a reverse-mode derivative and a while loop has none.
    """
    if not unrolled:

        def keep_going(counted):
            count, carry = counted
            return (count < max_iterations) & condition(carry)

        _, end = jax.lax.while_loop(keep_going, lambda c: (c[0] + 1, body(c[1])), (0, start))
        return end

    def step(carry, _):
        return tree_where(condition(carry), body(carry), carry), None

    end, _ = jax.lax.scan(step, start, length=max_iterations)
    return end
