"""Loops and a Krylov method that reverse-mode differentiation can run backwards through.

Only the naive baseline (`Unrolled`) uses these: every iterate is stored.
"""

from collections.abc import Callable
from typing import TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit.pytree import tree_add, tree_scale, tree_subtract, tree_where

Carry = TypeVar("Carry")


def bounded_loop(
    condition: Callable[[Carry], Bool[Array, ""]],
    body: Callable[[Carry], Carry],
    start: Carry,
    max_iterations: int,
    *,
    unrolled: bool,
) -> Carry:
    """`while condition: body`, at most `max_iterations` times.

    Unrolled, it always runs the whole length and freezes the carry once the condition fails: a
    scan has a reverse-mode derivative, a while loop has none.
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


def _dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    return jax.tree.reduce(jnp.add, jax.tree.map(jnp.vdot, a, b))


def _ratio(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, ""]:
    """a / b, and 0 where b is 0, with finite derivatives in both cases."""
    return jnp.where(b == 0, 0.0, a / jnp.where(b == 0, 1.0, b))


def bicgstab_unrolled(
    matvec: Callable[[PyTree], PyTree],
    b: PyTree,
    rtol: Float[Array, ""] | float,
    max_iterations: int,
    preconditioner: Callable[[PyTree], PyTree] | None,
) -> tuple[PyTree, Int[Array, ""], Bool[Array, ""]]:
    """BiCGStab with right preconditioning (van der Vorst 1992) as a scan of fixed length."""
    precondition = preconditioner or (lambda v: v)
    one = jnp.ones_like(_dot(b, b))
    target = jax.lax.stop_gradient(rtol**2 * _dot(b, b))

    def unfinished(carry):
        return _dot(carry["r"], carry["r"]) > target

    def body(carry):
        rho = _dot(b, carry["r"])
        beta = _ratio(rho, carry["rho"]) * _ratio(carry["alpha"], carry["omega"])
        direction = tree_subtract(carry["p"], tree_scale(carry["omega"], carry["v"]))
        p = tree_add(carry["r"], tree_scale(beta, direction))
        p_hat = precondition(p)
        v = matvec(p_hat)
        alpha = _ratio(rho, _dot(b, v))
        s = tree_subtract(carry["r"], tree_scale(alpha, v))
        s_hat = precondition(s)
        t = matvec(s_hat)
        omega = _ratio(_dot(t, s), _dot(t, t))
        step = tree_add(tree_scale(alpha, p_hat), tree_scale(omega, s_hat))
        return {
            "x": tree_add(carry["x"], step),
            "r": tree_subtract(s, tree_scale(omega, t)),
            "p": p,
            "v": v,
            "rho": rho,
            "alpha": alpha,
            "omega": omega,
            "count": carry["count"] + 1,
        }

    zero = jax.tree.map(jnp.zeros_like, b)
    start = {
        "x": zero,
        "r": b,
        "p": zero,
        "v": zero,
        "rho": one,
        "alpha": one,
        "omega": one,
        "count": jnp.zeros((), jnp.int32),
    }
    end = bounded_loop(unfinished, body, start, max_iterations, unrolled=True)
    return end["x"], end["count"], ~unfinished(end)
