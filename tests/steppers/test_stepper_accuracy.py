"""Each stepper's order, on even and uneven steps, and its behaviour on a stiff mode."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jaxtyping import Array

from helpers import slopes
from impindiff.implicit import NewtonKrylov
from impindiff.steppers import (
    RK4,
    AbstractStepper,
    BackwardEuler,
    CrankNicolson,
    ForwardEuler,
    HybridModel,
)

TIGHT = NewtonKrylov(rtol=1e-13, atol=1e-14)
STEPPERS: list[tuple[AbstractStepper, int]] = [
    (BackwardEuler(TIGHT), 1),
    (CrankNicolson(TIGHT), 2),
    (ForwardEuler(), 1),
    (RK4(), 4),
]
each_stepper = pytest.mark.parametrize(
    ("stepper", "order"), STEPPERS, ids=[type(s).__name__ for s, _ in STEPPERS]
)


class Equation(HybridModel):
    """u' = rate u + forced (cos(t) u + exp(2 sin t) - u^2); for rate = 0 it has u = exp(sin t)."""

    rate: Array
    forced: Array

    def latent(self, t):
        return {"slope": jnp.cos(t), "source": jnp.exp(2 * jnp.sin(t))}

    def tendency(self, t, u, latent):
        forcing = latent["slope"] * u + latent["source"] - u**2
        return self.rate * u + self.forced * forcing


NONLINEAR = Equation(jnp.zeros(1), jnp.ones(1))
STIFF = Equation(jnp.full(1, -1000.0), jnp.zeros(1))


@eqx.filter_jit
def one_step(stepper, model, t, dt, u, memory):
    """Compiled once per stepper: every problem below passes through it."""
    latents = tuple(model.latent(t + c * dt) for c in stepper.nodes)
    return stepper.step(model, t, dt, u, memory, latents, None)


def advance(stepper, model, times, u):
    t0 = jnp.asarray(times[0])
    memory = stepper.start(model, t0, u, model.latent(t0))
    for t, dt in zip(times[:-1], np.diff(times), strict=True):
        u, memory, status = one_step(stepper, model, np.asarray(t), np.asarray(dt), u, memory)
        assert status.converged
    return u


def even(steps: int) -> np.ndarray:
    return np.linspace(0, 2, steps + 1)


def uneven(steps: int) -> np.ndarray:
    """Neighbouring steps differ, the longest is three times the shortest, at every refinement."""
    lengths = np.tile([1.0, 3.0, 2.0], steps)[:steps]
    return 2 * np.append(0, np.cumsum(lengths)) / lengths.sum()


@each_stepper
@pytest.mark.parametrize("mesh", [even, uneven])
def test_order_of_accuracy(stepper, order, mesh):
    steps = np.asarray([12, 24, 48, 96]) * (4 if order == 4 else 1)
    exact = np.exp(np.sin(2.0))
    errors = np.asarray(
        [abs(float(advance(stepper, NONLINEAR, mesh(n), jnp.ones(1))[0]) - exact) for n in steps]
    )
    observed = -slopes(steps, errors)
    assert type(stepper).order == order
    np.testing.assert_allclose(observed[-2:], order, atol=0.1)


@each_stepper
def test_amplification_of_a_stiff_mode(stepper, order):
    """R(z) for u' = -1000 u and dt = 0.1, so z = -100: exact, hence A- and L-stable or not."""
    del order
    z = -100.0
    expected = {
        "BackwardEuler": 1 / (1 - z),
        "CrankNicolson": (1 + z / 2) / (1 - z / 2),
        "ForwardEuler": 1 + z,
        "RK4": 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24,
    }[type(stepper).__name__]
    after = float(advance(stepper, STIFF, [0.0, 0.1], jnp.ones(1))[0])
    assert after == pytest.approx(expected, rel=1e-9)


@each_stepper
def test_a_stiff_mode_over_many_steps(stepper, order):
    del order
    size = abs(float(advance(stepper, STIFF, np.linspace(0, 2, 21), jnp.ones(1))[0]))
    if isinstance(stepper, BackwardEuler):
        assert size < 1e-12  # L-stable: gone
    elif isinstance(stepper, CrankNicolson):
        assert 0.3 < size < 1  # A-stable: bounded, but not damped
    else:
        assert size > 1e20


def test_crank_nicolson_carries_the_tendency_at_the_new_time():
    stepper = CrankNicolson(TIGHT)
    u, t, dt = jnp.ones(1), jnp.asarray(0.0), jnp.asarray(0.1)
    memory = stepper.start(NONLINEAR, t, u, NONLINEAR.latent(t))
    z, after, _ = one_step(stepper, NONLINEAR, t, dt, u, memory)
    carried = after.method
    tendency = NONLINEAR.tendency(t + dt, z, NONLINEAR.latent(t + dt))
    np.testing.assert_allclose(carried, tendency, rtol=1e-11)


def test_an_explicit_step_to_infinity_is_reported():
    *_, status = one_step(RK4(), NONLINEAR, jnp.zeros(()), jnp.ones(()), jnp.full(1, 1e300), None)
    assert not status.converged


def test_all_precisions_are_kept():
    model = jax.tree.map(lambda x: x.astype(jnp.float32), NONLINEAR)
    t, dt = jnp.float32(0), jnp.float32(0.1)
    u = jnp.ones(1, jnp.float32)
    for stepper in (CrankNicolson(), RK4()):
        memory = stepper.start(model, t, u, model.latent(t))
        z, memory, status = one_step(stepper, model, np.asarray(t), np.asarray(dt), u, memory)
        assert status.converged
        assert {leaf.dtype for leaf in jax.tree.leaves((z, memory))} == {jnp.dtype(jnp.float32)}
