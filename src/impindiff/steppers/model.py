"""What the user writes: known physics with unknown parts."""

import abc
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Float, PyTree


class HybridModel(eqx.Module):
    """du/dt = tendency(t, u, latent(t)).

    Subclass it with your own fields (grids, neural parts, known constants) and write

    - `latent(t)`: coefficient fields that do not depend on the state, learned or known. Evaluated
      outside every solver, once per rollout if it does not depend on t and once per needed time
      otherwise. Leave it out and `tendency` receives None.
    - `tendency(t, u, latent)`: the right-hand side, for one sample: `u` without batch axes.
      Closures that depend on the state belong here.

    A field called `grid` tells the library which trailing axes of `u` are space; leading axes are
    then a batch of independent samples.
    """

    def latent(self, t: Float[Array, ""]) -> PyTree[Any]:
        """Coefficient fields at time t; None if there are none."""
        del t
        return None

    @abc.abstractmethod
    def tendency(self, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]) -> PyTree[Any]:
        """The right-hand side: a pytree of the structure and shapes of `u`."""


class VectorField(HybridModel):
    """A callable `f(t, u, args)`, as Diffrax takes it, as a model: du/dt = f(t, u, args)."""

    function: Callable[[Any, Any, Any], Any]
    args: PyTree[Any] = None

    def tendency(self, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]) -> PyTree[Any]:
        """f(t, u, args); `latent` is None."""
        del latent
        return self.function(t, u, self.args)
