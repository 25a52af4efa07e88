"""Programs that take no longer to compile than need be.

A longer rollout is the same program with more turns of its loops; the solve for an initial state
is one of these turns; forward mode derives the body of nested loops once.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import blobs, transport

import impindiff as ipd
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


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_the_program_does_not_grow_with_the_number_of_steps(kind):
    few, many = (operations(steps, **KINDS[kind]) for steps in (10, 1000))
    assert many <= TOLERANCE * few


class Algebraic(ipd.HybridModel):
    """du/dt = -k u v with v the root of v + v^3 = u: a component of mass 0."""

    k: jax.Array

    def latent(self, t):
        return ()

    def mass(self):
        return {"u": 1.0, "v": 0.0}

    def tendency(self, t, u, latent):
        return {"u": -self.k * u["u"] * u["v"], "v": u["u"] - u["v"] - u["v"] ** 3}


U0 = {"u": jnp.linspace(0.5, 1.0, 20), "v": jnp.ones(20)}
TIMES = np.linspace(0.0, 1.0, 11)


@pytest.mark.few(1)
@pytest.mark.parametrize("first_guess", ["previous", "extrapolated"])
def test_an_initial_solve_does_not_add_an_implicit_layer(first_guess):
    def loops(stepper) -> int:
        run = jax.jit(lambda k: rollout(Algebraic(k), U0, TIMES, stepper=stepper, throw=False).u)
        return run.lower(jnp.asarray(1.0)).as_text().count("stablehlo.while")

    # a method whose memory is the initial rate needs the state before the loop
    inside, before = SDIRK2(first_guess=first_guess), CrankNicolson(first_guess=first_guess)
    assert loops(inside) < 0.75 * loops(before)


@pytest.mark.slow
def test_forward_mode_derives_the_body_of_nested_loops_once(monkeypatch):
    calls = []
    tangent = ipd.ImplicitAdjoint.tangent

    def counted(self, *arguments):
        calls.append(self)
        return tangent(self, *arguments)

    monkeypatch.setattr(ipd.ImplicitAdjoint, "tangent", counted)

    def last(k):
        return rollout(Algebraic(k), U0, TIMES, stepper=SDIRK2(), throw=False).u["u"][-1]

    jax.jit(jax.jacfwd(last)).lower(jnp.asarray(1.3))
    assert len(calls) == 1
