"""Consistent initial states of models with algebraic equations."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, PyTree

from impindiff.implicit import Status
from impindiff.rollout.samples import of_sample, over_batch, sample_axes
from impindiff.steppers import (
    AbstractStepper,
    HybridModel,
    ImplicitStepper,
    StageEquation,
    SteadyState,
)
from impindiff.steppers.mass import has_algebraic
from impindiff.steppers.window import at


def consistent(
    stepper: AbstractStepper,
    model: HybridModel,
    t: Array,
    u0: PyTree[Array],
    latent: PyTree[Any],
    batch_ndim: int,
) -> tuple[PyTree[Array], Status | None]:
    """(u0 with its algebraic components solved for, status of that solve).

    They are the root of 0 = f(t, u, latent) with all components that have a mass held fixed: a
    stage of length 0, with the stepper's own solver and adjoint rule, and u0 as first guess.
    Without such components u0 is returned unchanged, with status None, and so is the guess of a
    steady state, of which every component will be solved for.
    """
    if not isinstance(stepper, ImplicitStepper) or not _has_equations(stepper, model, u0):
        return u0, None

    def of_one(u, latent):
        stage = StageEquation(*at(model, t), jnp.zeros_like(t), of_sample(latent), u)
        return stepper.solve_stage(stage, u, None, None)

    return over_batch(of_one, batch_ndim, (0, sample_axes(latent)))(u0, latent)


def is_solved_in_loop(stepper: AbstractStepper, model: HybridModel, u0: PyTree[Array]) -> bool:
    """True if u0 is made `consistent` by a step of length 0 before the first, in the same loop.

    A program then has the implicit layer once and takes half as long to compile.
    """
    if not isinstance(stepper, ImplicitStepper) or not _has_equations(stepper, model, u0):
        return False
    return stepper.starts_inconsistent()


def _has_equations(stepper: ImplicitStepper, model: HybridModel, u0: PyTree[Array]) -> bool:
    """True if algebraic components are to be solved for before the first step."""
    return not isinstance(stepper, SteadyState) and has_algebraic(model, u0)


def with_initial(stats: Status, initial: Status | None) -> Status:
    """Statistics of all steps, with the initial solve merged into the first one."""
    if initial is None:
        return stats
    first = jax.tree.map(lambda all: all[0], stats)
    both = jax.tree.map(lambda a, b: jnp.stack([a, b]), initial, first).combined()
    return jax.tree.map(lambda all, one: all.at[0].set(one), stats, both)
