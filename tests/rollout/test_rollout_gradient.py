"""The gradient of a whole trajectory, and what it costs."""

from functools import cache

import equinox as eqx
import jax
import jax.numpy as jnp
import lineax as lx
import numpy as np
import pytest
from systems import GRID, TIMES, AdvectionDiffusion, blobs, transport

from helpers import (
    Counter,
    central_difference_error,
    dot,
    normal_like,
    relative_difference,
)
from impindiff.implicit import ImplicitAdjoint, NewtonKrylov, Unrolled
from impindiff.rollout import rollout
from impindiff.steppers import (
    BDF2,
    RK4,
    SDIRK2,
    BackwardEuler,
    CrankNicolson,
    HybridModel,
    KenCarp4,
)

TIGHT = NewtonKrylov(rtol=1e-13, atol=1e-15)
TIGHT_ADJOINT = ImplicitAdjoint(rtol=1e-12)
SHORT = NewtonKrylov(
    rtol=1e-13, atol=1e-15, max_iterations=5, linear_solver=lx.BiCGStab(0.0, 0.0, max_steps=8)
)
BATCH = blobs(2)
TARGET = blobs(2, seed=5)


class ReactingTransport(AdvectionDiffusion):
    """Transport and a nonlinear loss: Newton needs more than one iteration."""

    def tendency(self, t, u, latent):
        return super().tendency(t, u, latent) - 0.5 * u**3


MODEL = ReactingTransport(*jax.tree.leaves(transport(), is_leaf=lambda x: x is GRID))


def loss_with(stepper, target):
    def loss(parameters):
        model, u0 = parameters
        u = rollout(model, u0, TIMES, stepper=stepper, throw=False).u
        return jnp.mean((u[1:] - target) ** 2)

    return eqx.filter_jit(loss), eqx.filter_jit(eqx.filter_grad(loss))


def test_gradient_against_central_differences():
    parameters = (MODEL, BATCH)
    arrays, rest = eqx.partition(parameters, eqx.is_array)
    loss, gradient = loss_with(CrankNicolson(TIGHT, TIGHT_ADJOINT), TARGET)
    adjoint = gradient(parameters)
    for seed in range(20):
        direction = normal_like(seed, arrays)
        slope = jnp.asarray(dot(adjoint, direction))
        along = lambda arrays: loss(eqx.combine(arrays, rest))  # noqa: E731
        assert central_difference_error(along, arrays, direction, slope) < 1e-6


class Ring(HybridModel):
    """Reaction and transport on a ring of points: little to compile, for the unrolled solver."""

    wind: jax.Array
    strength: jax.Array

    def latent(self, t):
        return jnp.tanh(self.wind) * jnp.cos(t)

    def tendency(self, t, u, latent):
        del t
        return latent * (jnp.roll(u, 1) - u) - self.strength * u**3


RING = Ring(jnp.linspace(1.0, 2.0, 5), jnp.asarray(0.5))


@pytest.mark.slow
@pytest.mark.parametrize("stepper_type", [BackwardEuler, CrankNicolson])
def test_gradient_equals_that_of_the_unrolled_solver(stepper_type):
    parameters = (RING, jnp.linspace(0.0, 2.0, 5))
    (_, adjoint), (_, unrolled) = (
        loss_with(stepper, 0.3)
        for stepper in (stepper_type(TIGHT, TIGHT_ADJOINT), stepper_type(SHORT, Unrolled()))
    )
    assert relative_difference(adjoint(parameters), unrolled(parameters)) < 1e-9


@pytest.mark.slow
def test_the_probe_tells_each_adjoint_solves_residual():
    def loss(probe):
        u = rollout(RING, u0, TIMES, throw=False, probe=probe, batch_ndim=1).u
        return jnp.sum((u[-1] - 0.3) ** 2)

    u0 = jax.random.uniform(jax.random.key(0), (2, 5))
    probe = jnp.zeros((len(TIMES) - 1, 2))
    residuals = jax.jit(jax.grad(loss))(probe)
    assert residuals.shape == probe.shape
    assert np.all(residuals > 0)
    assert np.all(residuals <= 1e-8)


@pytest.mark.slow
def test_backward_does_not_solve_forward_again():
    """Tendency evaluations: at most 2 per step more than the forward rollout's own."""
    counter = Counter()
    inner = MODEL

    class Counted(HybridModel):
        strength: jax.Array

        def tendency(self, t, u, latent):
            return self.strength * inner.tendency(t, counter(u), inner.latent(t))

    def loss(strength):
        stepper = CrankNicolson(TIGHT)
        u = rollout(Counted(strength), BATCH[0], TIMES, stepper=stepper, throw=False).u
        return jnp.sum(u[-1] ** 2)

    steps = len(TIMES) - 1
    forward = counter.during(jax.jit(loss), jnp.asarray(1.0))
    backward = counter.during(jax.jit(jax.grad(loss)), jnp.asarray(1.0)) - forward
    assert forward > 4 * steps
    assert steps <= backward <= 2 * steps


class Nonlinear(HybridModel):
    """A tendency with intermediate values that a careless backward pass would store."""

    rate: jax.Array

    def tendency(self, t, u, latent):
        del t, latent
        neighbours = jnp.roll(u, 1, 0) + jnp.roll(u, -1, 1)
        return self.rate * (jnp.tanh(u) * neighbours - u**3)


SIDE = 64


@cache
def temporary_bytes(stepper, steps: int) -> int:
    times = np.linspace(0, 1, steps + 1)

    def loss(rate, u0):
        u = rollout(Nonlinear(rate), u0, times[[0, -1]], stepper=stepper, dt=1 / steps, throw=False)
        return jnp.sum(u.u[-1] ** 2)

    structure = jax.ShapeDtypeStruct((SIDE, SIDE), float), jax.ShapeDtypeStruct((SIDE, SIDE), float)
    analysis = jax.jit(jax.grad(loss)).lower(*structure).compile().memory_analysis()
    assert analysis is not None
    return analysis.temp_size_in_bytes


def limited(stepper_type, max_steps: int):
    return stepper_type(NewtonKrylov(linear_solver=lx.BiCGStab(1e-6, 1e-6, max_steps=max_steps)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "stepper",
    [*(limited(s, 500) for s in (BackwardEuler, CrankNicolson, BDF2, SDIRK2, KenCarp4)), RK4()],
    ids=lambda stepper: type(stepper).__name__,
)
def test_memory_grows_by_one_state_a_solve(stepper):
    state = SIDE * SIDE * 8
    per_step = (temporary_bytes(stepper, 40) - temporary_bytes(stepper, 20)) / 20 / state
    assert 0.9 < per_step / type(stepper).solves_per_step <= 1.1


@pytest.mark.slow
def test_memory_does_not_depend_on_the_solvers_iterations():
    few, many = (temporary_bytes(limited(CrankNicolson, n), 20) for n in (5, 500))
    assert few == many


@pytest.mark.slow
def test_what_flows_is_conserved():
    """Periodic boundaries: neither step nor solver makes or loses any of the transported sum."""
    result = rollout(transport(), BATCH, TIMES, stepper=CrankNicolson(TIGHT))
    totals = jnp.sum(result.u, axis=(-2, -1))
    np.testing.assert_allclose(totals, jnp.broadcast_to(totals[0], totals.shape), rtol=1e-13)
    assert np.max(np.abs(result.u[-1] - result.u[0])) > 0.1
