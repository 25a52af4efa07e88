"""Coefficient fields are evaluated before the time loop: once, or once per needed time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from systems import Decay

from helpers import Counter, relative_difference
from impindiff.rollout import _coefficients as coefficients
from impindiff.rollout import rollout
from impindiff.rollout._coefficients import depends_on_time, evaluate_latents
from impindiff.rollout._schedule import make_schedule, make_stops
from impindiff.steppers import RK4, BackwardEuler, CrankNicolson

STEPS = 6
TIMES = np.linspace(0, 1, STEPS + 1)
T = jnp.asarray(0.0)
U0 = jnp.ones(3)


def evaluations(coefficient, stepper, *, gradient=False):
    counter = Counter()

    def run(scale):
        model = Decay(lambda t: coefficient(t) * counter(scale))
        return jnp.sum(rollout(model, U0, TIMES, stepper=stepper, throw=False).u)

    function = jax.jit(jax.grad(run) if gradient else run)
    return counter.during(function, jnp.asarray(1.3))


@pytest.mark.few(1)
@pytest.mark.parametrize("gradient", [False, True])
def test_a_steady_latent_is_evaluated_once(gradient):
    assert evaluations(lambda t: 2.0, CrankNicolson(), gradient=gradient) == 1


@pytest.mark.parametrize(
    ("stepper", "needed"),
    [(BackwardEuler(), STEPS + 1), (CrankNicolson(), STEPS + 1), (RK4(), 2 * STEPS + 1)],
)
def test_an_unsteady_latent_is_evaluated_once_per_time(stepper, needed):
    counter = Counter()
    model = Decay(lambda t: 1 + counter(t) ** 2)
    run = jax.jit(lambda u0: rollout(model, u0, TIMES, stepper=stepper, throw=False).u)
    assert counter.during(run, U0) == needed


def test_each_step_sees_the_latent_of_its_own_times():
    """u' = -(1 + t) u^3 has u = (1 + 2 t + t^2)^(-1/2) = 1 / (1 + t); RK4 sees also half steps."""
    model = Decay(lambda t: 1 + t)
    uneven = np.asarray([0.0, 0.3, 0.4, 1.0])
    for stepper, tolerance in ((RK4(), 1e-8), (CrankNicolson(), 1e-4)):
        result = rollout(model, U0, uneven, stepper=stepper, dt=0.02)
        np.testing.assert_allclose(result.u[:, 0], 1 / (1 + uneven), rtol=tolerance)


DEPENDENT = {
    "linear": lambda t: t * jnp.ones(2),
    "a switch": lambda t: jnp.where(t > 1, 2.0, 1.0),
    "a branch": lambda t: jax.lax.cond(t > 1, lambda: 2.0, lambda: 1.0),
    "inside jit": lambda t: jax.jit(lambda s: jnp.floor(s))(t),
    "one leaf of two": lambda t: {"steady": jnp.ones(2), "moving": jnp.sin(t)},
    "an index": lambda t: jnp.arange(5.0)[jnp.asarray(t, int)],
    "t itself": lambda t: t,
}
STEADY = {
    "constant": lambda t: jnp.ones(3),
    "a Python number": lambda t: 2.0,
    "nothing": lambda t: None,
    "t computed and not used": lambda t: (jnp.sin(t), jnp.ones(3))[1],
    "a network": lambda t: jnp.tanh(jnp.ones((3, 3)) @ jnp.ones(3)),
}


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependence_on_time_is_seen(name):
    assert depends_on_time(Decay(DEPENDENT[name]), T)


@pytest.mark.parametrize("name", STEADY)
def test_a_steady_latent_is_seen(name):
    assert not depends_on_time(Decay(STEADY[name]), T)


def test_a_switch_takes_effect_at_its_time():
    model = Decay(lambda t: jnp.where(t > 0.5, 1.0, 0.0))
    result = rollout(model, U0, np.asarray([0.0, 0.5, 1.0]), stepper=BackwardEuler())
    np.testing.assert_array_equal(result.u[1], U0)
    assert np.all(result.u[2] < 0.9)


def test_latents_in_chunks_are_the_same_in_less_memory(monkeypatch):
    """A field of 500 points and three hidden layers, at 33 times and 32 midpoints."""
    points = jnp.linspace(0, 1, 500)[:, None]
    schedule = make_schedule(make_stops(np.linspace(0, 1, 33), None, float), None, float)

    def loss(weights):
        def field(t):
            features = jnp.sin(points + t * jnp.arange(8))
            for _ in range(3):
                features = jnp.tanh(features @ weights)
            return jnp.mean(features)

        initial, latents, _ = evaluate_latents(Decay(field), schedule, (0.0, 0.5, 1.0))
        assert latents is not None
        return initial + sum((i + 1) * jnp.sum(u**2) for i, u in enumerate(latents))

    weights = jax.random.normal(jax.random.key(0), (8, 8))

    def found():
        # a new function: the chunk is not among what JAX knows a traced program by
        program = jax.jit(lambda w: jax.value_and_grad(loss)(w)).lower(weights).compile()
        analysis = program.memory_analysis()
        assert analysis is not None
        return program(weights), analysis.temp_size_in_bytes

    at_once, memory = found()
    monkeypatch.setattr(coefficients, "_CHUNK_BYTES", 10 * 500 * 8 * 8)
    in_chunks, less_memory = found()
    assert relative_difference(in_chunks, at_once) < 1e-12
    assert less_memory < 0.2 * memory
