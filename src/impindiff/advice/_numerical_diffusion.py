"""Diffusion that first-order schemes add to a model's own."""

import dataclasses

import jax.numpy as jnp
import numpy as np
from jaxtyping import PyTree

from impindiff.operators.notes import noting
from impindiff.preconditioners.stages import of_first_sample, one_sample
from impindiff.steppers import HybridModel

# part of the model's diffusivity from which on an estimate of it is off by more than noise
_NOTABLE = 0.05


@dataclasses.dataclass(frozen=True)
class NumericalDiffusion:
    """The numerical diffusivity of a tendency and its own, along the axis where it matters most.

    - `added`: the largest |v| h / 2 of `advection` by "upwind", or |f'| h / 2 of `convection` by
      "rusanov", in units of length^2 over time.
    - `own`: the smallest mean of a diffusivity given to `diffusion` or `advection_diffusion`; 0 if
      there is none.
    """

    added: float
    own: float

    @property
    def relative(self) -> float:
        """The added diffusivity over the model's own; 0 for a model without one."""
        return self.added / self.own if self.own > 0 else 0.0

    @property
    def is_notable(self) -> bool:
        """True if the scheme adds more than 5 % to the model's own diffusivity."""
        return self.relative > _NOTABLE

    def __str__(self) -> str:
        """One line, with what to try."""
        return (
            f"the first-order scheme adds a diffusivity of up to {self.added:.2g} to the model's "
            f"{self.own:.2g}, and estimates make up for it; try scheme='van_leer', or a finer grid"
        )


def numerical_diffusion(model: HybridModel, u: PyTree, t: float = 0.0) -> NumericalDiffusion:
    """Compare the diffusivity that first-order schemes add with the model's own.

    A first-order scheme solves the equation with |v| h / 2 added to the diffusivity, so that a
    diffusivity estimated with it is too small by about as much, whatever the data.

    **Arguments:**

    - `model`: with a `grid`. Operators that its tendency calls inside `jax.vmap`, `jax.lax.scan` or
      `jax.jit` are not seen.
    - `u`: the state; the first sample of a batch is used.
    - `t`: its time.

    **Raises:** `InputError` for a model without grid.

    Costs one evaluation of the tendency.

    Source: LeVeque, Finite Volume Methods for Hyperbolic Problems, 2002, section 8.6.
    """
    now = jnp.asarray(t, jnp.result_type(float))
    with noting("diffusivity", "numerical_diffusivity") as found:
        model.tendency(now, one_sample(model, u), of_first_sample(model.latent(now)))
    added = np.max(found["numerical_diffusivity"] or [[0.0]], axis=0)
    own = np.asarray(found["diffusivity"] or [[0.0]], float)
    # of several diffusivities along an axis, the smallest is affected most
    least = np.min(own, axis=0, where=own > 0, initial=np.inf)
    axes = zip(*np.broadcast_arrays(added, np.where(np.isfinite(least), least, 0.0)), strict=True)
    of_axes = [NumericalDiffusion(float(more), float(less)) for more, less in axes]
    return max(of_axes, key=lambda found: (found.relative, found.added))
