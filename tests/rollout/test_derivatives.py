"""Compositions of derivatives through a rollout, by the code of `validation/derivatives.py`.

A covering set of its table: every stepper, schedule, adjoint rule and composition at least once.
The whole table is the script's.
"""

import runpy
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

import impindiff as ipd
from impindiff.rollout import Binomial, Segments, StoreStates, rollout

TABLE = runpy.run_path(str(Path(__file__).parents[2] / "validation" / "derivatives.py"))
RIGHT = [
    ("BackwardEuler, mass 0", "StoreStates", "jacfwd(jacrev)"),
    ("BackwardEuler, walls", "StoreStates", "jacrev(jacfwd)"),
    ("KenCarp3, IMEX", "ForBudget", "grad"),
    ("BackwardEuler, Unrolled", "Segments", "jacfwd(jacfwd)"),
]


@pytest.mark.slow
@pytest.mark.parametrize(("stepper", "schedule", "composition"), RIGHT, ids=lambda x: x)
def test_the_whole_derivative_is_right(stepper, schedule, composition):
    assert TABLE["error"](stepper, schedule, composition) < 1e-9


# The scalar equation u' = -k u^2, whose stages are quadratic equations

STEPPERS = {
    "BackwardEuler": ipd.BackwardEuler,
    "CrankNicolson": ipd.CrankNicolson,
    "BDF2": ipd.BDF2,
    "SDIRK2": ipd.SDIRK2,
    "KenCarp3": ipd.KenCarp3,
    "KenCarp4": ipd.KenCarp4,
}
TIGHT = {
    "solver": ipd.NewtonKrylov(rtol=1e-13, atol=1e-15),
    "adjoint": ipd.ImplicitAdjoint(rtol=1e-12),
}
SECOND = {
    "hessian": jax.hessian,
    "grad of grad": lambda f: jax.grad(jax.grad(f)),
    "grad of jvp": lambda f: jax.grad(lambda k: jax.jvp(f, (k,), (1.0,))[1]),
}


def last(k, stepper, checkpointing=None):
    """A number that depends on all states; k is closed over."""
    model = ipd.VectorField(lambda t, u, a: -k * u**2)
    times = TABLE["_times"](jnp.ones(()))
    result = rollout(
        model, jnp.ones(1), times, stepper=stepper, checkpointing=checkpointing, throw=False
    )
    return TABLE["_measured"](result.u[:, 0])


def right_second_derivative(k, stepper):
    """By the stepper written out, without wall and modulation."""
    row = TABLE["Row"](stepper)
    exact = lambda k: TABLE["reference"](jnp.asarray([0, 1, 0, 0, 0, 0]) * k + UNIT, row)  # noqa: E731
    return float(jax.jacfwd(jax.jacfwd(exact))(k))


UNIT = jnp.asarray([0.0, 0.0, 0.0, 0.0, 1.0, 1.0])


@pytest.mark.slow
@pytest.mark.parametrize("name", STEPPERS)
def test_the_hessian_of_every_stepper(name):
    stepper = STEPPERS[name](**TIGHT)
    found = jax.jit(jax.hessian(lambda k: last(k, stepper)))(0.7)
    assert float(found) == pytest.approx(right_second_derivative(0.7, stepper), rel=1e-9)


@pytest.mark.few(1)
@pytest.mark.parametrize(
    ("order", "schedule"),
    [
        ("grad of grad", StoreStates()),
        ("grad of jvp", StoreStates()),
        ("hessian", Binomial(1)),
        ("grad of grad", Segments(1)),
    ],
    ids=str,
)
def test_orders_of_composition_agree(order, schedule):
    stepper = ipd.BackwardEuler(**TIGHT)
    found = jax.jit(SECOND[order](lambda k: last(k, stepper, schedule)))(0.7)
    assert float(found) == pytest.approx(right_second_derivative(0.7, stepper), rel=1e-9)


@pytest.mark.parametrize("of", ["jvp", "linearize", "jacfwd of jacfwd", "grad of jvp", "vmap"])
def test_binomial_refuses_forward_mode(of):
    def f(k):
        return last(k, ipd.RK4(), Binomial(1))

    attempts = {
        "jvp": lambda: jax.jvp(f, (0.7,), (1.0,)),
        "linearize": lambda: jax.linearize(f, 0.7)[1](1.0),
        "jacfwd of jacfwd": lambda: jax.jacfwd(jax.jacfwd(f))(0.7),
        "grad of jvp": lambda: SECOND["grad of jvp"](f)(0.7),
        "vmap": lambda: jax.vmap(lambda k: jax.jvp(f, (k,), (1.0,)))(jnp.ones(2)),
    }
    with pytest.raises(ipd.InputError, match=r"forward mode.*StoreStates\(\) or Segments\(\)"):
        attempts[of]()


@pytest.mark.slow
def test_binomial_refuses_reverse_over_reverse_mode():
    with pytest.raises(ipd.InputError, match=r"reverse mode over reverse mode.*jax.hessian"):
        jax.grad(jax.grad(lambda k: last(k, ipd.RK4(), Binomial(1))))(0.7)
