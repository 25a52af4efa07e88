"""Unknown scalars."""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from impindiff.errors import InputError


class Parameter(eqx.Module):
    r"""An unknown scalar of a model, such as a rate, trained from an initial guess.

    The trained variable is $r$, of order 1 and initially 0, so that numbers of any size and unit
    learn at the same pace:

    - $p = p_0 + s r$ without bounds, where the scale $s$ is $|p_0|$, or 1 for $p_0 = 0$;
    - $p = l + (p_0 - l) e^r$ above a lower bound $l$, and the mirror image below an upper one;
    - $p = l + (u - l) / (1 + e^{-r - r_0})$ between two, where $r_0$ puts the start at $p_0$.

    Bounds are never reached. Calling it gives $p$, a scalar array.

    **Arguments:**

    - `start`: $p_0$.
    - `lower`, `upper`: the bounds, either of which may be left out; `lower=0` keeps it positive.
    - `scale`: $s$, where there are no bounds.

    **Raises:** `InputError` for a start that is not inside the bounds, or a scale that is not
    positive.
    """

    raw: Float[Array, ""]
    start: float = eqx.field(static=True)
    lower: float | None = eqx.field(static=True)
    upper: float | None = eqx.field(static=True)
    scale: float = eqx.field(static=True)

    def __init__(
        self,
        start: float,
        *,
        lower: float | None = None,
        upper: float | None = None,
        scale: float | None = None,
    ):
        low = -math.inf if lower is None else lower
        high = math.inf if upper is None else upper
        if not low < start < high:
            raise InputError(
                f"parameter: the start {start:g} is not between {low:g} and {high:g}; start inside "
                f"the bounds, which are never reached"
            )
        if scale is None:
            scale = abs(start) or 1.0
        if not scale > 0:
            raise InputError(f"parameter: the scale is {scale:g}; give a positive number")
        self.raw = jnp.zeros(())
        self.start, self.scale = float(start), float(scale)
        self.lower = None if lower is None else float(lower)
        self.upper = None if upper is None else float(upper)

    def __call__(self) -> Float[Array, ""]:
        """The current value."""
        low, high, start = self.lower, self.upper, self.start
        if low is not None and high is not None:
            at_start = math.log((start - low) / (high - start))
            return low + (high - low) * jax.nn.sigmoid(self.raw + at_start)
        if low is not None:
            return low + (start - low) * jnp.exp(self.raw)
        if high is not None:
            return high - (high - start) * jnp.exp(-self.raw)
        return start + self.scale * self.raw
