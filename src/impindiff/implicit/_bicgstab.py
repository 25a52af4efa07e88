"""BiCGStab, for the forward solve, the adjoint and the unrolled baseline.

Why not Lineax's, which is accepted too: it stops only once the last *update of x* is below the
tolerance as well, which costs one to three iterations more than the six of a typical step, and
dozens more when the Jacobian is small; a residual that becomes exactly zero in the middle of an
iteration (J = I, as in a step with no stiffness) gives it 0/0; and with 64-bit numbers switched off
it takes a negative coefficient for a breakdown.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import lineax as lx
from jaxtyping import Array, Bool, Float, Int, PyTree

from impindiff.implicit._unrolled import bounded_loop
from impindiff.implicit.pytree import tree_add, tree_scale, tree_subtract, tree_where


def _dot(a: PyTree, b: PyTree) -> Float[Array, ""]:
    def of_leaf(x: Array, y: Array) -> Array:
        # over all axes as they are: flattened, a field spread over devices would be gathered
        axes = tuple(range(x.ndim))
        return jax.lax.dot_general(x, y, ((axes, axes), ((), ())))

    return jax.tree.reduce(jnp.add, jax.tree.map(of_leaf, a, b))


def _ratio(a: Float[Array, ""], b: Float[Array, ""]) -> Float[Array, ""]:
    """Ratio a / b, and 0 where b is 0, with finite derivatives in both cases."""
    return jnp.where(b == 0, 0.0, a / jnp.where(b == 0, 1.0, b))


def bicgstab(
    matvec: Callable[[PyTree], PyTree],
    b: PyTree,
    rtol: Float[Array, ""] | float,
    max_iterations: int,
    preconditioner: Callable[[PyTree], PyTree] | None = None,
    *,
    unrolled: bool = False,
) -> tuple[PyTree, Int[Array, ""], Bool[Array, ""]]:
    """Solve A x = b until ||b - A x|| <= rtol ||b||; returns (x, iterations, success).

    Right preconditioning, so that the residual watched is the unpreconditioned one. Coefficients
    that are 0/0 are set to 0, which restarts the recurrence; two at once, or a NaN, end it.

    An iteration has two halves of one product each, along p and along the residual. With a
    preconditioner the loop's body is a half, so that a program has the preconditioner once, and it
    can end after either. Without one the body is both: choosing between them, vector by vector,
    would take as long as the product.

    Source: van der Vorst, SIAM J. Sci. Stat. Comput. 13 (1992).
    """
    precondition = preconditioner or (lambda v: v)
    initial = jax.lax.stop_gradient(_dot(b, b))
    one = jnp.ones_like(initial)
    target = rtol**2 * initial

    def unfinished(carry):
        moving = carry["second"] | (carry["alpha"] != 0) | (carry["omega"] != 0)
        return moving & (carry["size"] > target)

    def half(carry, second):
        def choose(if_second: PyTree, if_first: PyTree) -> PyTree:
            if isinstance(second, bool):
                return if_second if second else if_first
            return tree_where(second, if_second, if_first)

        r = carry["r"]
        rho = choose(carry["rho"], _dot(b, r))
        beta = _ratio(rho, carry["rho"]) * _ratio(carry["alpha"], carry["omega"])
        turned = tree_subtract(carry["p"], tree_scale(carry["omega"], carry["v"]))
        p = choose(carry["p"], tree_add(r, tree_scale(beta, turned)))
        along = precondition(choose(r, p))
        product = matvec(along)
        across = choose(product, b)
        length = _ratio(choose(_dot(product, r), rho), _dot(across, product))
        r = tree_subtract(r, tree_scale(length, product))
        return {
            "x": tree_add(carry["x"], tree_scale(length, along)),
            "r": r,
            "size": jax.lax.stop_gradient(_dot(r, r)),
            "p": p,
            "v": choose(carry["v"], product),
            "rho": rho,
            "alpha": choose(carry["alpha"], length),
            "omega": choose(length, carry["omega"]),
            "second": ~jnp.asarray(second),
            "halves": carry["halves"] + 1,
        }

    def body(carry):
        if preconditioner is None:
            return half(half(carry, False), True)
        return half(carry, carry["second"])

    zero = jax.tree.map(jnp.zeros_like, b)
    start = {
        "x": zero,
        "r": b,
        "size": initial,
        "p": zero,
        "v": zero,
        "rho": one,
        "alpha": one,
        "omega": one,
        "second": jnp.zeros((), bool),
        "halves": jnp.zeros((), jnp.int32),
    }
    bodies = max_iterations if preconditioner is None else 2 * max_iterations
    end = bounded_loop(unfinished, body, start, bodies, unrolled=unrolled)
    return end["x"], (end["halves"] + 1) // 2, end["size"] <= target


class BiCGStab(lx.AbstractLinearSolver):
    """`bicgstab` as a Lineax solver, for square operators.

    - `rtol`: accept when ||b - A x|| <= rtol ||b||. Inside an implicit layer it is replaced by the
      tolerance that each solve needs.
    - `max_steps`: iterations, of two products with A each.

    It takes Lineax's option `preconditioner`.
    """

    rtol: float | Array = 1e-6
    max_steps: int = 200

    def init(self, operator: lx.AbstractLinearOperator, options: dict[str, Any]) -> Any:
        """Prepare the state; see Lineax."""
        del options
        if operator.in_structure() != operator.out_structure():
            raise ValueError("BiCGStab needs a square operator")
        return operator

    def compute(
        self, state: Any, vector: PyTree, options: dict[str, Any]
    ) -> tuple[PyTree, lx.RESULTS, dict[str, Any]]:
        """Solve; see Lineax."""
        preconditioner = options.get("preconditioner")
        x, steps, success = bicgstab(
            state.mv,
            vector,
            self.rtol,
            self.max_steps,
            None if preconditioner is None else preconditioner.mv,
        )
        exhausted = steps >= self.max_steps
        result = lx.RESULTS.where(exhausted, lx.RESULTS.max_steps_reached, lx.RESULTS.breakdown)
        result = lx.RESULTS.where(success, lx.RESULTS.successful, result)
        return x, result, {"num_steps": steps, "max_steps": self.max_steps}

    def transpose(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Transpose the state; see Lineax."""
        return state.transpose(), {k: v.transpose() for k, v in options.items()}

    def conj(self, state: Any, options: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Conjugate the state, which is real; see Lineax."""
        return state, options

    def assume_full_rank(self) -> bool:
        """True: no least-squares problem; see Lineax."""
        return True
