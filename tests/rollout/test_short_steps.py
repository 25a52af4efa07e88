"""Steps of length 0, or almost: values and derivatives of what comes after them.

By the code of `validation/derivatives.py`: the last but one of its parameters is the second output
time over 0.2, and the third time is 0.5.
"""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd

TABLE = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "derivatives.py"))
STEPPERS = ("BackwardEuler", "CrankNicolson", "SDIRK2", "KenCarp3", "KenCarp3, IMEX", "RK4")


def at(length):
    """The parameters for which the second step has this length."""
    return jnp.asarray([0.5, 0.7, 0.4, 0.3, 0.9, (0.5 - length) / 0.2])


def off(name, x, derivative):
    """The relative error of a derivative of the loss."""
    row = TABLE["ROWS"][name]
    found = jax.jit(derivative(lambda x: TABLE["loss"](x, row, ipd.StoreStates())))(x)
    exact = jax.jit(derivative(lambda x: TABLE["reference"](x, row)))(x)
    return float(np.linalg.norm(found - exact) / np.linalg.norm(exact))


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPPERS)
def test_second_derivatives_at_a_time_that_is_repeated(name):
    assert off(name, at(0.0), jax.hessian) < 1e-9


@pytest.mark.slow
def test_third_derivatives_at_a_time_that_is_repeated():
    third = TABLE["COMPOSITIONS"]["grad(jvp(grad))"][1]
    assert off("CrankNicolson", at(0.0), third) < 1e-9


@pytest.mark.slow
def test_with_an_algebraic_component():
    assert off("SDIRK2, mass 0", at(0.0), jax.hessian) < 1e-8


@pytest.mark.slow
@pytest.mark.parametrize("length", [1e-5, 1e-9])
@pytest.mark.parametrize("name", ["CrankNicolson", "KenCarp3"])
def test_second_derivatives_across_a_short_step(name, length):
    """By the quotient of increment and length they were 1e-3 and 1e10 of themselves off."""
    assert off(name, at(length), jax.hessian) < 1e-9


class Decay(ipd.HybridModel):
    rate: jax.Array

    def tendency(self, t, u, latent):
        return -self.rate * u


@pytest.mark.parametrize("length", [1e-3, 1e-5])
def test_a_short_step_costs_no_digits_in_single_precision(length):
    times = np.asarray([0.0, 0.3, 0.3 + length, 0.8 + length], np.float32)
    model = Decay(jnp.asarray(1.0, "float32"))
    u = ipd.rollout(model, jnp.ones(3, "float32"), times, stepper=ipd.CrankNicolson()).u[-1]
    steps = np.diff(np.asarray(times, np.float64))
    np.testing.assert_allclose(u, np.prod((1 - steps / 2) / (1 + steps / 2)), rtol=5e-7)


def test_stiff_components_keep_the_quotient():
    """f(z) would multiply the round-off of z, 1e-16, by 1e9."""
    rate = jnp.asarray([1.0, 1e9])
    times = [0.0, 0.5, 0.5 + 1e-4, 1.0]
    found = ipd.rollout(Decay(rate), jnp.ones(2), times, stepper=ipd.CrankNicolson()).u[-1]
    steps = np.diff(times)[:, None] * np.asarray(rate)
    np.testing.assert_allclose(found, np.prod((1 - steps / 2) / (1 + steps / 2), 0), rtol=1e-9)


@pytest.mark.slow
def test_the_naive_gradient_at_a_time_that_is_repeated():
    assert off("BackwardEuler, Unrolled", at(0.0), jax.grad) < 1e-9
