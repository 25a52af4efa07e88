"""The memory told before a run, against that of the compiled gradient."""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import ShapeDtypeStruct
from systems import TIMES, blobs, transport

import impindiff as ipd
from impindiff.grid import Grid
from impindiff.operators import advection_diffusion
from impindiff.rollout import Binomial, ForBudget, Segments, StoreStates, estimate_memory, rollout
from impindiff.rollout._peak_memory import peak_bytes
from impindiff.steppers import RK4, AbstractStepper, BackwardEuler, CrankNicolson, HybridModel

STEPS, DT = 100, 0.01
END = np.asarray([0.0, STEPS * DT])


class Transport(HybridModel):
    grid: Grid
    velocity: Any
    moving: bool = eqx.field(static=True)

    def latent(self, t):
        return self.velocity * jnp.cos(t) if self.moving else self.velocity

    def tendency(self, t, u, latent):
        return advection_diffusion(u, latent, 0.01, self.grid)


class Learned(HybridModel):
    grid: Grid
    velocity: ipd.ConditionalField

    def latent(self, t):
        return self.velocity(self.grid, t)

    def tendency(self, t, u, latent):
        return advection_diffusion(u, latent, 0.01, self.grid)


def abstract(moving=False, cells=(64, 32), batch=()):
    """A model and an initial state without a single array."""
    grid = Grid(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=cells)
    velocity = ShapeDtypeStruct((2, *cells), float)
    return Transport(grid, velocity, moving), ShapeDtypeStruct((*batch, *cells), float)


def compiled_bytes(model, u0, stepper, schedule):
    def loss(velocity, u0):
        moved = eqx.tree_at(lambda m: m.velocity, model, velocity)
        result = rollout(
            moved, u0, END, dt=DT, stepper=stepper, checkpointing=schedule, throw=False
        )
        return jnp.mean(result.u[-1] ** 2)

    lowered = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(model.velocity, u0)
    analysis = lowered.compile().memory_analysis()
    if analysis is None:
        pytest.skip("XLA gives no memory analysis on this backend")
    return analysis.temp_size_in_bytes


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stepper", "schedule", "moving", "cells"),
    [
        (BackwardEuler(), StoreStates(), False, (64, 32)),
        (BackwardEuler(), Binomial(20), True, (64, 32)),
        (CrankNicolson(), Segments(), True, (64, 32)),
        (RK4(), StoreStates(), True, (32, 16)),
        (RK4(), Binomial(20), False, (96, 64)),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, AbstractStepper) else str(value),
)
def test_against_the_compiled_gradient(stepper, schedule, moving, cells):
    model, u0 = abstract(moving, cells)
    told = estimate_memory(model, u0, END, dt=DT, stepper=stepper, checkpointing=schedule)
    ratio = told.total / compiled_bytes(model, u0, stepper, schedule)
    assert 1 / 1.3 < ratio < 1.3
    assert told.solves == schedule.solves(STEPS)
    assert (told.coefficients > 0) == moving


@pytest.mark.slow
def test_parts():
    """By hand: states are stored as Sizes says, outputs at every output time of every sample."""
    model, u0 = abstract(batch=(3,))
    state = 3 * 64 * 32 * 8
    times = np.linspace(0.0, 1.0, 6)
    told = estimate_memory(model, u0, times, dt=0.01, checkpointing=Binomial(7))
    assert told.schedule == Binomial(7)
    assert told.stored == 7 * 2 * state  # a state and Crank-Nicolson's tendency
    assert told.outputs == 6 * state
    assert told.coefficients == 0
    assert told.total == told.stored + told.outputs + told.step
    twice = estimate_memory(model, u0, times, dt=0.005, checkpointing=StoreStates())
    assert twice.stored == 200 * state
    assert twice.step == told.step


@pytest.mark.slow
def test_activations_of_a_network_are_coefficients():
    grid = Grid(lower=(0.0, 0.0), upper=(1.0, 1.0), cells=(64, 32))
    field = ipd.ConditionalField(2, grid.lower, grid.upper, key=jax.random.key(0))
    _, u0 = abstract()
    told = estimate_memory(Learned(grid, field), u0, END, dt=DT)
    width, layers = 64, 3
    assert told.coefficients > layers * width * 64 * 32 * 8


def test_a_budget_says_what_it_chooses_and_is_printed():
    model, u0 = abstract()
    budget = ForBudget("400 KiB")
    told = estimate_memory(model, u0, END, dt=DT, stepper=BackwardEuler(), checkpointing=budget)
    assert told.schedule == Segments()
    assert told.stored == 19 * 64 * 32 * 8 <= 400 * 1024
    assert told.solves == 190
    lines = str(told).splitlines()
    assert lines[0] == "Segments(), 190 solves"
    assert lines[1] == "stored states     304.0 KiB"
    assert lines[3] == "coefficients        0 Bytes"
    assert len(lines) == 6


def test_nothing_is_run():
    class Loud(Transport):
        def tendency(self, t, u, latent):
            jax.debug.callback(calls.append, t)
            return super().tendency(t, u, latent)

    calls: list = []
    model = Loud(*(getattr(abstract()[0], name) for name in ("grid", "velocity", "moving")))
    estimate_memory(model, abstract()[1], END, dt=DT, stepper=RK4())
    jax.effects_barrier()
    assert calls == []


@pytest.mark.slow
def test_concrete_arrays_are_taken_too():
    arrays = estimate_memory(transport(), blobs(2), TIMES)
    shapes = estimate_memory(transport(), ShapeDtypeStruct((2, 8, 4), float), TIMES)
    assert str(arrays) == str(shapes)


def test_the_errors_are_those_of_rollout():
    model, u0 = abstract()
    with pytest.raises(ipd.InputError, match="expected trailing axes"):
        estimate_memory(model, ShapeDtypeStruct((32, 64), float), END)
    with pytest.raises(ipd.InputError, match="times must increase"):
        estimate_memory(model, u0, [0.0, 0.0])
    with pytest.raises(ipd.InputError, match="does not hold one state"):
        estimate_memory(model, u0, END, checkpointing=ForBudget(10))


def test_liveness_of_small_programs():
    """By hand: fused operations store nothing, values die after their last use, loops are in place.

    The results of the whole program are not counted.
    """
    vector = ShapeDtypeStruct((1000,), np.float64)

    def peak(function):
        return peak_bytes(jax.make_jaxpr(function)(vector))

    assert peak(lambda x: 2 * x + 1) == 0

    def three(x):
        sorted_once, twice = jnp.sort(x), jnp.cumsum(x)
        return jnp.sort(sorted_once[::-1] * twice) + sorted_once

    # the product is put where the one that is not needed again was, and sorted there
    assert peak(three) == pytest.approx(2 * 8000, rel=0.01)

    def loop(x):
        def turn(carry):
            count, old = carry
            new = jnp.sort(old)
            return count + 1, jnp.sort(old * jnp.cumsum(new)) + new

        return jax.lax.while_loop(lambda carry: carry[0] < x[0], turn, (0.0, jnp.sort(x)))[1] * 1.5

    # old, new and the sums of it; the first value is in the place of what is carried
    assert peak(loop) == pytest.approx(3 * 8000, rel=0.01)

    def stacked(x):
        return jnp.sum(jax.lax.scan(lambda c, _: (jnp.sort(c), c), x, length=10)[1] ** 2)

    # ten, and the carry before and after a turn
    assert peak(stacked) == pytest.approx(12 * 8000, rel=0.01)
