"""A longer rollout is the same program with more turns of its loops: it compiles no longer."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import blobs, transport

from impindiff.rollout import AdaptiveStep, Binomial, Segments, StoreStates, rollout
from impindiff.steppers import BDF2, RK4, SDIRK2, BackwardEuler, CrankNicolson, KenCarp4

DT = 1e-3
# Schedules that divide the steps evenly do without the loop over what is left.
TOLERANCE = 1.02
KINDS = {
    "BackwardEuler": {"stepper": BackwardEuler()},
    "outputs": {"stepper": CrankNicolson(), "outputs": True},
    "BDF2": {"stepper": BDF2()},
    "SDIRK2": {"stepper": SDIRK2()},
    "KenCarp4": {"stepper": KenCarp4()},
    "RK4": {"stepper": RK4()},
    "Segments": {"stepper": BackwardEuler(), "checkpointing": Segments()},
    "Binomial": {"stepper": BackwardEuler(), "checkpointing": Binomial(3)},
    "halving": {"stepper": BackwardEuler(), "halving": True},
    "adaptive": {"stepper": KenCarp4(), "dt": AdaptiveStep(1e-3, 1e-6)},
}


def operations(steps: int, *, outputs: bool = False, dt=DT, **options) -> int:
    """Of the program of a value and its gradient, before XLA sees it."""
    model, u0 = transport(), blobs()
    times = np.linspace(0.0, steps * DT, steps + 1)
    times = times if outputs else times[[0, -1]]

    def loss(model, u0):
        result = rollout(
            model, u0, times, dt=dt, throw=False, **{"checkpointing": StoreStates(), **options}
        )
        return jnp.mean(result.u[-1] ** 2)

    # arrays that are spelled out, such as times, take one line whatever their length
    return len(jax.jit(jax.value_and_grad(loss)).lower(model, u0).as_text().splitlines())


@pytest.mark.parametrize("kind", KINDS)
def test_the_program_does_not_grow_with_the_number_of_steps(kind):
    few, many = (operations(steps, **KINDS[kind]) for steps in (10, 1000))
    assert many <= TOLERANCE * few
