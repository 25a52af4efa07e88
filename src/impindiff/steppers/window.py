"""A model during the time between two jumps, itself excluded from both."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float, PyTree

from impindiff.steppers.model import HybridModel, declared


class Between(HybridModel):
    """`model`, which is never asked for a time outside [lower, upper].

    With `lower` just after one jump and `upper` just before the next, stages at either end of a
    step that leads from jump to jump see the side of the jump that the step is on.
    """

    model: HybridModel
    lower: Float[Array, ""]
    upper: Float[Array, ""]

    def inside(self, t: Float[Array, ""]) -> Float[Array, ""]:
        """The time nearest to t that is allowed."""
        return jnp.clip(t, jnp.asarray(self.lower, t.dtype), jnp.asarray(self.upper, t.dtype))

    def latent(self, t: Float[Array, ""]) -> PyTree[Any]:
        """See `HybridModel.latent`."""
        return self.model.latent(self.inside(t))

    def tendency(self, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]) -> PyTree[Any]:
        """See `HybridModel.tendency`."""
        return self.model.tendency(self.inside(t), u, latent)

    def mass(self) -> PyTree[Any] | None:
        """See `HybridModel.mass`."""
        return declared(self.model, "mass")

    def scale(self) -> PyTree[Any] | None:
        """See `HybridModel.scale`."""
        return declared(self.model, "scale")


def at(model: HybridModel, t: Float[Array, ""]) -> tuple[HybridModel, Float[Array, ""]]:
    """(the model that the user wrote, the time at which it is evaluated)."""
    return (model.model, model.inside(t)) if isinstance(model, Between) else (model, t)
