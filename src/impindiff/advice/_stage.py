"""Extraction of the first equation that a stepper solves."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from impindiff.errors import InputError
from impindiff.grid import Grid
from impindiff.implicit import ImplicitAdjoint, Status
from impindiff.implicit.solver import AbstractRootSolver, Residual
from impindiff.steppers import (
    AbstractStepper,
    HybridModel,
    ImplicitStepper,
    PerSample,
    StageEquation,
)


class _FoundError(Exception):
    """An exception that carries the equation out of the stepper."""

    def __init__(self, stage: StageEquation):
        super().__init__()
        self.stage = stage


class _Capture(AbstractRootSolver):
    """A solver that solves nothing and returns its equation."""

    rtol: float | None = None
    atol: float | None = None
    max_iterations: int = 1

    def solve(
        self,
        residual: Residual,
        z0: PyTree,
        args: PyTree,
        *,
        guess: PyTree | None = None,
        unrolled: bool = False,
    ) -> tuple[PyTree, Status]:
        """Raise the equation instead of solving it."""
        del residual, z0, guess, unrolled
        raise _FoundError(args)


def first_stage(
    stepper: AbstractStepper, model: HybridModel, u: PyTree, t: jax.Array, dt: jax.Array
) -> StageEquation:
    """The equation of the first stage of a step of one sample, with concrete numbers.

    **Raises:** `InputError` for a stepper without one.
    """
    if not isinstance(stepper, ImplicitStepper):
        raise InputError(
            f"explain: {type(stepper).__name__} is explicit and solves no equation; expected an "
            "implicit stepper, such as CrankNicolson"
        )
    bare = eqx.tree_at(lambda s: (s.solver, s.adjoint), stepper, (_Capture(), ImplicitAdjoint()))
    latents = tuple(of_first_sample(model.latent(t + c * dt)) for c in bare.nodes)
    # otherwise a scan over stages would pass tracers to the solver
    with jax.disable_jit():
        memory = bare.start(model, t, u, of_first_sample(model.latent(t)))
        try:
            bare.step(model, t, dt, u, memory, latents, None)
        except _FoundError as found:
            return found.stage
    raise InputError(f"explain: a step of {type(stepper).__name__} solves no equation")


def of_first_sample(latent: PyTree[Any]) -> PyTree[Any]:
    """The latent fields of the first sample."""

    def first(x: Any) -> Any:
        return jax.tree.map(lambda v: v[0], x.values) if isinstance(x, PerSample) else x

    return jax.tree.map(first, latent, is_leaf=lambda x: isinstance(x, PerSample))


def one_sample(model: HybridModel, u0: PyTree | None) -> PyTree:
    """The first sample of the state; a field of zeros if none is given.

    **Raises:** `InputError` for a model without grid.
    """
    grid = getattr(model, "grid", None)
    if not isinstance(grid, Grid):
        raise InputError(
            f"explain: {type(model).__name__} has no grid; give the model a field `grid`, an "
            "impindiff.Grid"
        )
    if u0 is None:
        return jnp.zeros(grid.cells)

    def first(leaf: Any) -> jax.Array:
        leaf = jnp.asarray(leaf)
        extra = leaf.ndim - grid.ndim
        return leaf[(0,) * extra] if extra > 0 and leaf.shape[extra:] == grid.cells else leaf

    return jax.tree.map(first, u0)
