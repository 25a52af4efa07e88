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
    BDF2,
    IMEX,
    RK4,
    SDIRK2,
    AbstractStepper,
    BackwardEuler,
    CrankNicolson,
    ForwardEuler,
    HybridModel,
    KenCarp3,
    KenCarp4,
)

TIGHT = NewtonKrylov(rtol=1e-13, atol=1e-14)
STEPPERS: list[tuple[AbstractStepper, int]] = [
    (BackwardEuler(TIGHT), 1),
    (CrankNicolson(TIGHT), 2),
    (BDF2(TIGHT), 2),
    (SDIRK2(TIGHT), 2),
    (KenCarp3(TIGHT), 3),
    (KenCarp4(TIGHT), 4),
    (ForwardEuler(), 1),
    (RK4(), 4),
]
L_STABLE = (BackwardEuler, BDF2, SDIRK2, KenCarp3, KenCarp4)
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


class SplitEquation(Equation):
    """The same, with what is forced and linear in the explicit part."""

    def tendency(self, t, u, latent):
        linear = self.forced * (latent["slope"] * u + latent["source"])
        return IMEX(implicit=self.rate * u - self.forced * u**2, explicit=linear)


NONLINEAR = Equation(jnp.zeros(1), jnp.ones(1))
SPLIT = SplitEquation(jnp.zeros(1), jnp.ones(1))
STIFF = Equation(jnp.full(1, -1000.0), jnp.zeros(1))


@eqx.filter_jit
def one_step(stepper, model, t, dt, u, memory):
    """Compiled once per stepper: every problem below passes through it."""
    latents = tuple(model.latent(t + c * dt) for c in stepper.nodes)
    return stepper.step(model, t, dt, u, memory, latents, None)


def advance(stepper, model, times, u, *, embedded=False):
    """The state at the last time; `embedded`, by the method that estimates the error."""
    t0 = jnp.asarray(times[0])
    memory = stepper.start(model, t0, u, model.latent(t0))
    for t, dt in zip(times[:-1], np.diff(times), strict=True):
        step = one_step(stepper, model, np.asarray(t), np.asarray(dt), u, memory)
        assert step.status.converged
        u, memory = step.u - step.error if embedded else step.u, step.memory
    return u


def even(steps: int) -> np.ndarray:
    return np.linspace(0, 2, steps + 1)


def uneven(steps: int) -> np.ndarray:
    """Neighbouring steps differ, the longest is three times the shortest, at every refinement."""
    lengths = np.tile([1.0, 3.0, 2.0], steps)[:steps]
    return 2 * np.append(0, np.cumsum(lengths)) / lengths.sum()


def observed_orders(stepper, model, mesh, *, coarsest=48, **options):
    steps = coarsest * np.asarray([1, 2, 4, 8])
    exact = np.exp(np.sin(2.0))
    ends = [advance(stepper, model, mesh(n), jnp.ones(1), **options) for n in steps]
    errors = np.asarray([abs(float(u[0]) - exact) for u in ends])
    return -slopes(steps, errors)[-2:]


@pytest.mark.few(2)
@each_stepper
@pytest.mark.parametrize("mesh", [even, uneven])
def test_order_of_accuracy(stepper, order, mesh):
    assert type(stepper).order == order
    np.testing.assert_allclose(observed_orders(stepper, NONLINEAR, mesh), order, atol=0.1)


@pytest.mark.slow
@pytest.mark.parametrize("stepper", [KenCarp3(TIGHT), KenCarp4(TIGHT)], ids=["3", "4"])
def test_order_of_the_embedded_method_and_of_the_imex_pair(stepper):
    embedded_order = stepper.embedded_order
    for model in (NONLINEAR, SPLIT):
        # the embedded method's leading error is so small that it takes small steps to see it
        low = observed_orders(stepper, model, even, coarsest=192, embedded=True)
        np.testing.assert_allclose(low, embedded_order, atol=0.1)
    imex = observed_orders(stepper, SPLIT, even)
    np.testing.assert_allclose(imex, stepper.order, atol=0.1)


def amplification(stepper, z):
    """R(z) = 1 + z b^T (I - z A)^{-1} 1 of a Runge-Kutta method; others by hand."""
    known = {
        "BackwardEuler": 1 / (1 - z),
        "CrankNicolson": (1 + z / 2) / (1 - z / 2),
        "BDF2": 1 / (1 - z),  # its first step
        "ForwardEuler": 1 + z,
        "RK4": 1 + z + z**2 / 2 + z**3 / 6 + z**4 / 24,
    }
    if type(stepper).__name__ in known:
        return known[type(stepper).__name__]
    a, b, _ = arrays(stepper.tableau)
    return 1 + z * b @ np.linalg.solve(np.eye(len(b)) - z * a, np.ones(len(b)))


def arrays(tableau, rows=None):
    """A, b and c; with `rows` those of the explicit method."""
    a = np.zeros((tableau.stages, tableau.stages))
    for i, row in enumerate(tableau.below if rows is None else rows):
        a[i, : len(row)] = row
    if rows is None:
        a += np.diag(
            [
                0.0 if tableau.explicit_first else tableau.diagonal,
                *[tableau.diagonal] * (tableau.stages - 1),
            ]
        )
    return a, np.asarray(tableau.weights), np.asarray(tableau.nodes)


@pytest.mark.few(2)
@each_stepper
def test_amplification_of_a_stiff_mode(stepper, order):
    """For u' = -1000 u and dt = 0.1, so z = -100: exact, hence A- and L-stable or not."""
    del order
    after = float(advance(stepper, STIFF, [0.0, 0.1], jnp.ones(1))[0])
    assert after == pytest.approx(amplification(stepper, -100.0), rel=1e-9)


@pytest.mark.few(4)
@each_stepper
def test_a_stiff_mode_over_many_steps(stepper, order):
    del order
    size = abs(float(advance(stepper, STIFF, np.linspace(0, 2, 21), jnp.ones(1))[0]))
    if isinstance(stepper, L_STABLE):
        assert size < 1e-12  # gone
    elif isinstance(stepper, CrankNicolson):
        assert 0.3 < size < 1  # A-stable: bounded, but not damped
    else:
        assert size > 1e20


@pytest.mark.parametrize("stepper", [SDIRK2, KenCarp3, KenCarp4])
def test_tableaus_meet_the_conditions_of_their_order(stepper):
    """All conditions up to order 4 (Hairer, Norsett and Wanner I, table II.2.1); coupled pairs."""
    tableau = stepper.tableau
    implicit, b, c = arrays(tableau)
    pair = (
        [implicit] if tableau.explicit is None else [implicit, arrays(tableau, tableau.explicit)[0]]
    )
    for a in pair:
        np.testing.assert_allclose(a.sum(axis=1), c, atol=1e-14)
    conditions = [(1, b.sum(), 1), (2, b @ c, 1 / 2), (3, b @ c**2, 1 / 3), (4, b @ c**3, 1 / 4)]
    for a in pair:
        conditions += [
            (3, b @ a @ c, 1 / 6),
            (4, b @ (c * (a @ c)), 1 / 8),
            (4, b @ a @ c**2, 1 / 12),
        ]
        conditions += [(4, b @ a @ other @ c, 1 / 24) for other in pair]
    for order, found, wanted in conditions:
        if order <= stepper.order:
            assert found == pytest.approx(wanted, abs=1e-14), order
    if tableau.embedded is not None:
        low = np.asarray(tableau.embedded)
        assert low.sum() == pytest.approx(1, abs=1e-14)
        assert low @ c == pytest.approx(1 / 2, abs=1e-14)
        if stepper.embedded_order >= 3:
            assert low @ c**2 == pytest.approx(1 / 3, abs=1e-14)
            assert low @ implicit @ c == pytest.approx(1 / 6, abs=1e-14)
        assert not np.isclose(low @ c**stepper.embedded_order, 1 / stepper.order, atol=1e-4)


@pytest.mark.parametrize("stepper", [SDIRK2, KenCarp3, KenCarp4])
def test_tableaus_are_l_stable(stepper):
    """|R(iy)| <= 1 and R(-infinity) = 0; R has no pole on the left, the diagonal being positive."""
    along = [abs(amplification(stepper(), 1j * y)) for y in np.logspace(-3, 4, 200)]
    assert max(along) <= 1 + 1e-12
    assert abs(amplification(stepper(), -1e6)) < 1e-4


@pytest.mark.slow
def test_only_imex_steppers_tell_the_parts_of_a_split_apart():
    whole, parts = (
        float(advance(CrankNicolson(TIGHT), m, even(6), jnp.ones(1))[0]) for m in (NONLINEAR, SPLIT)
    )
    assert whole == pytest.approx(parts, rel=1e-12)

    class Reversed(Equation):
        def tendency(self, t, u, latent):
            return IMEX(implicit=0 * u, explicit=self.rate * u)

    stiff = Reversed(STIFF.rate, STIFF.forced)
    after = float(advance(KenCarp4(TIGHT), stiff, [0.0, 0.1], jnp.ones(1))[0])
    a, b, _ = arrays(KenCarp4.tableau, KenCarp4.tableau.explicit)
    expected = 1 - 100 * b @ np.linalg.solve(np.eye(6) + 100 * a, np.ones(6))
    assert after == pytest.approx(expected, rel=1e-9)
    assert abs(after) > 1e3


def test_crank_nicolson_carries_the_tendency_at_the_new_time():
    stepper = CrankNicolson(TIGHT)
    u, t, dt = jnp.ones(1), jnp.asarray(0.0), jnp.asarray(0.1)
    memory = stepper.start(NONLINEAR, t, u, NONLINEAR.latent(t))
    step = one_step(stepper, NONLINEAR, t, dt, u, memory)
    tendency = NONLINEAR.tendency(t + dt, step.u, NONLINEAR.latent(t + dt))
    np.testing.assert_allclose(step.memory.method, tendency, rtol=1e-11)


def test_an_explicit_step_to_infinity_is_reported():
    step = one_step(RK4(), NONLINEAR, jnp.zeros(()), jnp.ones(()), jnp.full(1, 1e300), None)
    assert not step.status.converged


@pytest.mark.slow
def test_all_precisions_are_kept():
    model = jax.tree.map(lambda x: x.astype(jnp.float32), NONLINEAR)
    t, dt = jnp.float32(0), jnp.float32(0.1)
    u = jnp.ones(1, jnp.float32)
    for stepper in (CrankNicolson(), BDF2(), KenCarp4(), RK4()):
        memory = stepper.start(model, t, u, model.latent(t))
        step = one_step(stepper, model, np.asarray(t), np.asarray(dt), u, memory)
        assert step.status.converged
        found = {leaf.dtype for leaf in jax.tree.leaves((step.u, step.memory, step.error))}
        assert found == {jnp.dtype(jnp.float32)}
