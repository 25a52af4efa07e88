"""A model restricted to the time between two jumps."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.steppers.model import HybridModel, declared


class Between(HybridModel):
    """A `model` whose times are clipped to [lower, upper].

    With `lower` just after one jump and `upper` just before the next, stages at either end of a
    step from jump to jump see the side of the jump that the step is on.
    """

    model: HybridModel
    lower: Float[Array, ""]
    upper: Float[Array, ""]

    def inside(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The nearest time in the interval."""
        return jnp.clip(t, jnp.asarray(self.lower, t.dtype), jnp.asarray(self.upper, t.dtype))

    def latent(self, t: Float[Array, ""]) -> PyTree[Any]:
        """Coefficient fields at the clipped time."""
        return self.model.latent(self.inside(t))

    def tendency(self, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]) -> PyTree[Any]:
        """The right-hand side at the clipped time."""
        return self.model.tendency(self.inside(t), u, latent)

    def mass(self) -> PyTree[Any] | None:
        """Mass matrix of the model."""
        return declared(self.model, "mass")

    def scale(self) -> PyTree[Any] | None:
        """Scales of the model."""
        return declared(self.model, "scale")


def at(model: HybridModel, t: Float[Array, ""]) -> tuple[HybridModel, Float[Array, ""]]:
    """(the user's model, the clipped time of evaluation)."""
    return (model.model, model.inside(t)) if isinstance(model, Between) else (model, t)
