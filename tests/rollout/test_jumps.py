"""Jumps in time: declared ones keep every stepper's order, short pulses are not stepped over."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from helpers import central_difference_error
from impindiff.rollout import number_of_steps
from impindiff.training import TrajectoryLoss

SOLVER = ipd.NewtonKrylov(rtol=1e-13, atol=1e-15)
TIMES = (0.0, 0.5, 2.0)
STEPPERS = [
    *(
        kind(SOLVER)
        for kind in (
            ipd.BackwardEuler,
            ipd.CrankNicolson,
            ipd.BDF2,
            ipd.SDIRK2,
            ipd.KenCarp3,
            ipd.KenCarp4,
        )
    ),
    ipd.RK4(),
]


class Switched(ipd.HybridModel):
    """u' = -u + s(t), with s from 0 to `source` at t = 1: u(2) = source (1 - exp(-1)).

    The switch is in `latent` or in `tendency`, and says > or >=.
    """

    source: jax.Array
    in_latent: bool = eqx.field(static=True, default=True)
    at_once: bool = eqx.field(static=True, default=True)
    jumps: tuple[float, ...] = eqx.field(static=True, default=(1.0,))

    def jump_times(self):
        return self.jumps

    def on(self, t):
        return jnp.where(t >= 1 if self.at_once else t > 1, self.source, 0.0)

    def latent(self, t):
        return self.on(t) if self.in_latent else None

    def tendency(self, t, u, latent):
        return -u + (latent if self.in_latent else self.on(t))


ONE = jnp.asarray(1.0)
END = 1 - np.exp(-1)


def end(model, times=TIMES, **options):
    return ipd.rollout(model, jnp.zeros(1), times, throw=False, **options).u[-1, 0]


@pytest.mark.slow
@pytest.mark.parametrize(("in_latent", "at_once"), [(True, True), (False, False)])
@pytest.mark.parametrize("stepper", STEPPERS, ids=lambda s: type(s).__name__)
def test_a_declared_jump_keeps_the_order(stepper, in_latent, at_once):
    model = Switched(ONE, in_latent, at_once)
    errors = [abs(float(end(model, stepper=stepper, dt=dt)) - END) for dt in (0.1, 0.05)]
    assert np.log2(errors[0] / errors[1]) > stepper.order - 0.15


@pytest.mark.slow
def test_an_undeclared_one_does_not():
    model = Switched(ONE, jumps=())
    errors = [abs(float(end(model, stepper=STEPPERS[5], dt=dt)) - END) for dt in (0.1, 0.05)]
    assert np.log2(errors[0] / errors[1]) < 1.2


@pytest.mark.slow
@pytest.mark.parametrize("at_once", [True, False])
def test_adaptive_steps_land_on_a_jump_and_start_anew(at_once):
    model = Switched(ONE, in_latent=False, at_once=at_once)
    control = ipd.AdaptiveStep(rtol=1e-6)
    result = ipd.rollout(model, jnp.zeros(1), TIMES, stepper=STEPPERS[5], dt=control)
    assert float(result.u[-1, 0]) == pytest.approx(END, rel=1e-6)
    assert np.isin([0.0, 0.5, 1.0, 2.0], result.step_times).all()
    undeclared = ipd.rollout(
        model, jnp.zeros(1), TIMES, stepper=STEPPERS[5], dt=control, jump_times=()
    )
    assert len(result.step_times) < len(undeclared.step_times)


@pytest.mark.slow
def test_a_jump_at_either_end_is_met_from_inside():
    """Between two jumps at the ends of the times the source is on, outside of them it is off."""
    model = ipd.VectorField(lambda t, u, args: jnp.where((t > 0) & (t < 1), 1.0, 1e3) * u**0)
    for stepper in (STEPPERS[1], STEPPERS[4], ipd.RK4()):
        found = end(model, (0.0, 1.0), stepper=stepper, dt=0.25, jump_times=[0.0, 1.0])
        assert float(found) == pytest.approx(1.0, rel=1e-12)


@pytest.mark.slow
def test_jumps_that_do_not_matter():
    model = Switched(ONE)
    expected = end(model, dt=0.25)
    # outside of the times, given twice, at a time but for rounding
    for jumps in ([1.0, -3.0, 7.0], [1.0, 1.0], [1.0, 0.5 * (1 + 1e-16)]):
        assert float(end(model, dt=0.25, jump_times=jumps)) == pytest.approx(float(expected), 1e-9)
    assert number_of_steps([0.0, 0.3, 1.0], 0.1, [0.1 * 3]) == 10
    assert number_of_steps([0.0, 1.0], None, [0.1, 0.2]) == 3


@pytest.mark.slow
@pytest.mark.parametrize(
    "schedule", [ipd.StoreStates(), ipd.Segments(), ipd.Binomial(3)], ids=lambda s: str(s)[:8]
)
@pytest.mark.parametrize("dt", [0.2, ipd.AdaptiveStep(rtol=1e-2, max_steps=24)], ids=str)
def test_the_gradient_across_a_jump(schedule, dt):
    """By the parameter of the source u(2) is linear; by u0 it is exp(-2)."""
    stepper = ipd.KenCarp3(SOLVER, ipd.ImplicitAdjoint(rtol=1e-13))

    def final(source, u0):
        return ipd.rollout(
            Switched(source),
            u0 * jnp.ones(1),
            TIMES,
            stepper=stepper,
            dt=dt,
            checkpointing=schedule,
            throw=False,
        ).u[-1, 0]

    value, by_both = jax.jit(jax.value_and_grad(final, (0, 1)))(ONE, jnp.asarray(0.5))
    by_source, by_u0 = map(float, by_both)
    assert by_u0 == pytest.approx(np.exp(-2), rel=0.02)
    assert by_source == pytest.approx(float(value) - 0.5 * by_u0, rel=1e-9)


@pytest.mark.slow
def test_an_algebraic_component_follows_the_jump():
    """u' = a, with 0 = a - s(t): at the jump the rate is that of the new a."""

    class Quasi(ipd.HybridModel):
        def mass(self):
            return {"u": 1.0, "a": 0.0}

        def tendency(self, t, u, latent):
            return {"u": u["a"] * jnp.ones(1), "a": jnp.where(t >= 1, 2.0, 1.0) - u["a"]}

    u0 = {"u": jnp.zeros(1), "a": jnp.zeros(1)}
    result = ipd.rollout(
        Quasi(), u0, [0.0, 1.0, 2.0], stepper=STEPPERS[4], dt=0.5, jump_times=[1.0]
    )
    np.testing.assert_allclose(result.u["u"][:, 0], [0, 1, 3], rtol=1e-10)
    np.testing.assert_allclose(result.u["a"][:, 0], [1, 1, 2], rtol=1e-10)


def test_each_sample_of_a_batch_restarts():
    class Sources(ipd.HybridModel):
        strength: jax.Array

        def latent(self, t):
            return ipd.PerSample(jnp.where(t >= 1, self.strength, 0.0))

        def tendency(self, t, u, latent):
            return -u + latent

    model = Sources(jnp.asarray([1.0, 3.0]))
    result = ipd.rollout(
        model, jnp.zeros((2, 1)), TIMES, stepper=STEPPERS[1], dt=0.05, batch_ndim=1, jump_times=[1]
    )
    np.testing.assert_allclose(result.u[-1, :, 0], END * np.asarray([1, 3]), rtol=2e-4)


@pytest.mark.slow
def test_a_jump_between_traced_times():
    @jax.jit
    def final(times):
        return end(Switched(ONE), times, stepper=ipd.RK4())

    times = jnp.linspace(0.0, 2.0, 8)
    known = end(Switched(ONE), np.asarray(times), stepper=ipd.RK4())
    assert float(final(times)) == pytest.approx(float(known), rel=1e-12)
    # u(T) = 1 - exp(1 - T)
    slope = jax.grad(final)(times)
    assert float(slope[-1]) == pytest.approx(np.exp(-1), rel=1e-3)
    assert central_difference_error(final, times, times, slope @ times) < 1e-7


@pytest.mark.slow
def test_late_jumps_in_single_precision():
    start = 86400.0
    model = ipd.VectorField(lambda t, u, args: jnp.where(t >= start + 1, 1.0, 0.0) - u)
    times = start + np.asarray(TIMES)
    for dt in (0.05, ipd.AdaptiveStep(rtol=1e-4)):
        found = ipd.rollout(
            model,
            jnp.zeros(1, jnp.float32),
            times,
            stepper=ipd.KenCarp4(),
            dt=dt,
            jump_times=[start + 1],
        )
        assert float(found.u[-1, 0]) == pytest.approx(END, rel=1e-3)


@pytest.mark.parametrize(
    ("jumps", "message"),
    [
        ([0.5, np.nan], "finite"),
        ([[0.5]], "a sequence of finite times"),
        ("soon", "a sequence of finite times"),
        ([0.5, 0.5 + 1e-16 * 3], "cannot be told apart in float64"),
    ],
)
def test_jumps_that_are_refused(jumps, message):
    with pytest.raises(ipd.InputError, match=rf"jump_times.*{message}") as caught:
        end(Switched(ONE), dt=0.5, jump_times=jumps)
    assert "\n" not in str(caught.value)


def test_traced_jumps_are_refused():
    with pytest.raises(ipd.InputError, match="jump_times are traced"):
        jax.jit(lambda t: end(Switched(ONE), dt=0.5, jump_times=[t]))(1.0)


@pytest.mark.slow
def test_a_short_pulse_is_not_stepped_over():
    """Of 1 between t = 5 and 5.1, when nothing else happens."""
    model = ipd.VectorField(
        lambda t, u, args: jnp.where((t > 5) & (t < 5.1), 10.0, 0.0) * jnp.ones(1)
    )

    def found(**options):
        control = ipd.AdaptiveStep(rtol=1e-4, atol=1e-4, **options)
        return ipd.rollout(model, jnp.zeros(1), [0.0, 10.0], stepper=STEPPERS[4], dt=control)

    assert float(found().u[-1, 0]) == 0
    result = found(max_step=0.1)
    assert float(result.u[-1, 0]) == pytest.approx(1.0, rel=1e-2)
    assert np.diff(result.step_times).max() <= 0.1 * (1 + 1e-8)


def test_a_probe_of_another_number_of_steps_is_refused():
    with pytest.raises(ipd.InputError, match="probe has 4 rows; expected one for each of the 5"):
        ipd.rollout(
            Switched(ONE), jnp.zeros(1), TIMES, dt=0.5, probe=jnp.zeros(4), jump_times=[0.7]
        )


def test_a_loss_lands_on_the_jumps_of_its_model():
    model = Switched(jnp.asarray(2.0))
    loss = TrajectoryLoss(
        u0=jnp.zeros((1, 1)),
        times=TIMES,
        values=jnp.zeros((2, 1, 1)),
        observe=lambda states: states[1:],
        stepper=ipd.KenCarp4(SOLVER),
        dt=0.5,
    )
    probe = loss.probe(model)
    assert len(probe) == number_of_steps(np.asarray(TIMES), 0.5, (1.0,))
    assert len(loss(model, probe)[1].stats.converged) == len(probe)
