"""Neural fields with bounded values."""

import equinox as eqx
import jax
from jaxtyping import Array, Float

from impindiff.fields._conditional import ConditionalField, HasCenters
from impindiff.fields._modal import ModalField


class BoundedField(eqx.Module):
    """A field N mapped into an interval: k(x) = lower + (upper - lower) / (1 + exp(-N(x))).

    A diffusivity stays positive, and the equation well posed, for any weights, and unlike a clip's
    the derivative never vanishes.

    - `field`: N.
    - `lower`, `upper`: the bounds, in the unit of k, never reached.

    Calling it gives an array like that of `field`.
    """

    field: ConditionalField | ModalField
    lower: float = eqx.field(static=True)
    upper: float = eqx.field(static=True)

    def __call__(
        self,
        grid: HasCenters,
        t: Float[Array, "..."] | float | None = None,
        code: Float[Array, "..."] | None = None,
    ) -> Float[Array, "components *cells"]:
        """Evaluate at the grid's points, at one time and for one code; see `ConditionalField`."""
        return self.lower + (self.upper - self.lower) * jax.nn.sigmoid(self.field(grid, t, code))
