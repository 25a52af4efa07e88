"""What `diffeqsolve` offers, with our steppers and with one of its own: the same, or refused."""

from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np
import optimistix as optx
import pytest

import impindiff as ipd

SOLVER = ipd.NewtonKrylov(rtol=1e-12, atol=1e-14)
OURS = ipd.diffrax.Implicit(ipd.KenCarp4(SOLVER, ipd.ImplicitAdjoint(rtol=1e-12)))
THEIRS = diffrax.Tsit5()
CONTROL = diffrax.PIDController(rtol=1e-7, atol=1e-9)
Y0 = jnp.asarray([1.0, 2.0])
TERM = diffrax.ODETerm(lambda t, y, rate: -2.0 * rate * y + t)
BOTH = diffrax.MultiTerm(TERM, diffrax.ODETerm(lambda t, y, rate: 0.3 * y))


def solve(
    solver, term: Any = TERM, t0: Any = 0.0, t1: Any = 1.0, y0=Y0, rate: Any = 1.0, **options
) -> Any:
    given: dict[str, Any] = {"stepsize_controller": CONTROL, "dt0": None} | options
    return diffrax.diffeqsolve(term, solver, t0, t1, y0=y0, args=rate, **given)


def steady(solver):
    """The gradient of an equilibrium."""
    term = diffrax.ODETerm(lambda t, y, rate: 1 - 2 * rate * y)

    def end(rate):
        event = diffrax.Event(diffrax.steady_state_event())
        options = {"adjoint": diffrax.ImplicitAdjoint(), "event": event, "max_steps": 500}
        return jnp.sum(solve(solver, term, 0.0, jnp.inf, rate=rate, dt0=0.1, **options).ys[-1])

    return jax.grad(end)(1.0)


def crossing(solver):
    def event(t, y, args, **_):
        return y[0] - 2.0

    found = diffrax.Event(event, optx.Newton(1e-8, 1e-8))
    return solve(solver, t0=1.0, t1=0.0, event=found).ts


def of_parts(solver):
    def square(t, y, args):
        return y**2

    subs = [
        diffrax.SubSaveAt(t0=True, t1=True, fn=square),
        diffrax.SubSaveAt(ts=jnp.asarray([0.1, 0.2])),
    ]
    return jax.tree.leaves(solve(solver, saveat=diffrax.SaveAt(subs=subs)).ys)


def gradient(adjoint, t0=0.0, t1=1.0):
    def found(solver):
        return jax.grad(
            lambda rate: jnp.sum(solve(solver, BOTH, t0, t1, rate=rate, adjoint=adjoint(solver)).ys)
        )(1.0)

    return found


def forward(solver):
    def end(rate):
        return solve(solver, t0=1.0, t1=0.0, rate=rate, adjoint=diffrax.ForwardMode()).ys[-1]

    return jax.jvp(end, (1.0,), (1.0,))


def together(solver):
    def end(t0, t1, y0):
        return jnp.sum(solve(solver, t0=t0, t1=t1, y0=y0, dt0=jnp.sign(t1 - t0) * 0.01).ys)

    t0, t1 = jnp.asarray([0.0, 1.0, 0.5]), jnp.asarray([1.0, 0.0, 0.7])
    return jax.vmap(jax.value_and_grad(end, (0, 1, 2)))(t0, t1, jnp.stack([Y0, Y0, 2 * Y0]))


OFFERS = {
    "backwards in time": lambda s: solve(s, t0=1.0, t1=0.0).ys,
    "backwards, constant steps": lambda s: (
        solve(s, t0=1.0, t1=0.0, dt0=-0.01, stepsize_controller=diffrax.ConstantStepSize()).ys
    ),
    "backwards, dense": lambda s: solve(
        s, BOTH, 1.0, 0.0, saveat=diffrax.SaveAt(dense=True)
    ).evaluate(0.333),
    "backwards, at times": lambda s: (
        solve(s, t0=1.0, t1=0.0, saveat=diffrax.SaveAt(ts=jnp.asarray([0.9, 0.4]))).ys
    ),
    "several terms": lambda s: solve(s, BOTH).ys,
    "an event, located backwards": crossing,
    "parts of what is saved": of_parts,
    "a limit of steps": lambda s: [
        solve(s, max_steps=2, throw=False).result == diffrax.RESULTS.max_steps_reached
    ],
    "the recursive adjoint": gradient(lambda s: diffrax.RecursiveCheckpointAdjoint()),
    "the recursive adjoint, backwards": gradient(
        lambda s: diffrax.RecursiveCheckpointAdjoint(), 1.0, 0.0
    ),
    "the backsolve adjoint": gradient(lambda s: diffrax.BacksolveAdjoint(solver=s)),
    "the implicit adjoint": steady,
    "forward mode": forward,
    "a batch of intervals and its gradient": together,
}


@pytest.mark.slow
@pytest.mark.parametrize("name", OFFERS)
def test_what_diffrax_offers_is_what_it_gives(name):
    ours, theirs = (jax.tree.leaves(OFFERS[name](solver)) for solver in (OURS, THEIRS))
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5)


@pytest.mark.parametrize("stepper", [ipd.CrankNicolson(SOLVER), ipd.BDF2(SOLVER), ipd.RK4()])
def test_every_stepper_goes_backwards(stepper):
    """y' = -2 y + t from y(1) = 1 to t = 0: e^2 3/4 - 1/4."""
    found = solve(
        ipd.diffrax.Implicit(stepper),
        t0=1.0,
        t1=0.0,
        dt0=-0.01,
        y0=jnp.ones(1),
        stepsize_controller=diffrax.ConstantStepSize(),
    )
    assert float(found.ys[-1, 0]) == pytest.approx(0.75 * np.exp(2) - 0.25, rel=1e-3)


def noise():
    return diffrax.ControlTerm(
        lambda t, y, args: 0.1 * jnp.ones((2, 1)),
        diffrax.VirtualBrownianTree(0.0, 1.0, 1e-2, (1,), jax.random.key(0)),
    )


@pytest.mark.filterwarnings("ignore:`Implicit` is not marked")
@pytest.mark.parametrize(
    "term", [noise(), diffrax.MultiTerm(TERM, noise())], ids=["alone", "drift"]
)
def test_other_controls_are_refused(term):
    with pytest.raises(ipd.InputError, match="a term is a ControlTerm; expected") as caught:
        solve(OURS, term, dt0=0.1, stepsize_controller=diffrax.ConstantStepSize())
    assert "\n" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:Complex dtype")
def test_a_complex_state_is_refused():
    with pytest.raises(ipd.InputError, match="y0 has dtype complex128"):
        solve(OURS, y0=1j * Y0, dt0=0.1, stepsize_controller=diffrax.ConstantStepSize())
