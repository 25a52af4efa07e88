"""The model that a user writes: known physics with unknown parts."""

import abc
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import equinox as eqx
from jaxtyping import Array, Float, PyTree

from impindiff.implicit.pytree import tree_add


class IMEX(NamedTuple):
    """A tendency in two parts: f = implicit + explicit.

    Return it from `HybridModel.tendency` where only a part of the right-hand side is stiff. The
    IMEX steppers (`KenCarp3`, `KenCarp4`) then solve for `implicit` alone and evaluate `explicit`;
    all other steppers advance their sum. Both are pytrees like the state.
    """

    implicit: PyTree[Any]
    explicit: PyTree[Any]


class HybridModel(eqx.Module):
    """Hybrid model M du/dt = tendency(t, u, latent(t)), with mass matrix M = mass(), by default 1.

    Subclass it with fields for grids, neural parts and known constants, and write

    - `latent(t)`: coefficient fields that do not depend on the state, learned or known. Evaluated
      outside every solver, once per rollout if it does not depend on t and once per needed time
      otherwise. Without it `tendency` receives None. Fields that differ between samples of a batch
      are wrapped in `PerSample`.
    - `tendency(t, u, latent)`: the right-hand side, for one sample: `u` without batch axes.
      Closures that depend on the state belong here. A stiff part may be separated: see `IMEX`.
    - `mass()`: of each component, where it is not 1. Zero makes a component algebraic
      (quasi-steady): its equation is 0 = tendency, solved in every stage of every implicit step,
      and `rollout` makes the initial state consistent with it. Explicit steppers refuse such a
      model.
    - `scale()`: size of the equations of each component, where they differ; see there.
    - `jump_times()`: times when a coefficient or source is switched; see there.

    A field called `grid` defines which trailing axes of `u` are spatial; leading axes are then a
    batch of independent samples.
    """

    def latent(self, t: Float[Array, ""]) -> PyTree[Any]:
        """Coefficient fields at time t; None if there are none."""
        del t
        return None

    @abc.abstractmethod
    def tendency(self, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]) -> PyTree[Any]:
        """The right-hand side: a pytree of the structure and shapes of `u`, or an `IMEX`."""

    def mass(self) -> PyTree[Any] | None:
        """Mass matrix M >= 0: a number, or one per part of the state (number or array).

        A pytree like the state or, as `jax.tree.broadcast` takes it, like the top of it; arrays
        have the component's shape. None: 1. An attribute or a property in place of the method
        serves too.
        """
        return None

    def scale(self) -> PyTree[Any] | None:
        """The typical size of each component's equation, in the form of `mass`; None: 1.

        For a component with a mass, the size of M u; for an algebraic one, that of the terms of its
        tendency. Solvers see every equation divided by it. It is optional, since each component is
        judged by its own size (see `AbstractRootSolver`), but gives an explicit `atol` one meaning
        for all of them.
        """
        return None

    def jump_times(self) -> Sequence[float]:
        """The times at which `tendency` or `latent` jumps: known numbers, in any order.

        `rollout` makes steps end at them and separates their two sides. An attribute
        (`eqx.field(static=True)`) or a property in place of the method serves too.
        """
        return ()


def declared(model: HybridModel, name: str) -> Any:
    """A property of the model, given as a method without arguments or a plain attribute."""
    given = getattr(model, name)
    return given() if callable(given) else given


class PerSample(eqx.Module):
    """Coefficients with a separate value for each sample of a batch.

    `latent(t)` returns it, or a pytree with some in it; `values` has the batch's axes first. The
    `tendency` of a sample receives that sample's values in its place.
    """

    values: PyTree[Any]


class VectorField(HybridModel):
    """Model du/dt = f(t, u, args) of a callable `f(t, u, args)`, as in Diffrax."""

    function: Callable[[Any, Any, Any], Any]
    args: PyTree[Any] = None

    def tendency(self, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]) -> PyTree[Any]:
        """Evaluate f(t, u, args); `latent` is None."""
        del latent
        return self.function(t, u, self.args)


def total_tendency(
    model: HybridModel, t: Float[Array, ""], u: PyTree[Any], latent: PyTree[Any]
) -> PyTree[Any]:
    """The whole right-hand side, the sum of both parts of an `IMEX`."""
    found = model.tendency(t, u, latent)
    return tree_add(*found) if isinstance(found, IMEX) else found
