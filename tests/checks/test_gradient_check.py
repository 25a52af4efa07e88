"""The Taylor test passes right gradients, in either precision, and no others."""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import impindiff as ipd
from impindiff.training import TrajectoryLoss

POINT = [0.3, -1.2, 2.0]
TREE = {"w": jnp.asarray([0.5, -2.0, 1e-6]), "name": "kept", "count": 3, "b": jnp.zeros(2)}


def smooth(p):
    return jnp.sum(jnp.sin(p["w"])) + jnp.sum(jnp.exp(p["b"])) * p["w"][0] * p["count"]


def scaled_gradient(function, factor):
    """The function, with a gradient that is `factor` times its own."""

    @jax.custom_vjp
    def wrong(x):
        return function(x)

    def backward(x, ct):
        return jax.tree.map(lambda g: factor * ct * g, jax.grad(function)(x))

    wrong.defvjp(lambda x: (function(x), x), lambda x, ct: (backward(x, ct),))
    return wrong


def rolled_out(rate):
    model = ipd.VectorField(lambda t, u, a: -a * u**2, rate)
    return jnp.sum(ipd.rollout(model, jnp.ones(2), [0.0, 0.5, 1.0], throw=False).u[-1])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize(
    "function",
    [
        lambda x: jnp.sum(jnp.exp(x)),
        lambda x: 3 * jnp.sum(x) + 7,  # linear
        lambda x: jnp.sum((x - jnp.asarray(POINT, x.dtype)) ** 2) + 2,  # at its minimum
        lambda x: 1e-8 * jnp.sum(x**3),
        lambda x: 1e6 + jnp.sum(x**2) if x.dtype == jnp.float64 else jnp.sum(x**2),
    ],
    ids=["smooth", "linear", "minimum", "small", "offset"],
)
def test_right_gradients_pass(function, dtype):
    found = ipd.check_gradient(function, jnp.asarray(POINT, dtype))
    assert found.outcome == "right", found
    assert found.passed


@pytest.mark.parametrize(
    ("dtype", "off"), [("float64", 1e-3), ("float64", 1e-4), ("float32", 3e-3)]
)
def test_wrong_gradients_fail(dtype, off):
    x = jnp.asarray(POINT, dtype)
    for seed in range(4):
        found = ipd.check_gradient(
            scaled_gradient(lambda x: jnp.sum(jnp.exp(x)), 1 + off), x, key=jax.random.key(seed)
        )
        assert found.outcome == "wrong", found


def test_the_order_of_the_remainder_is_measured():
    x = jnp.asarray(POINT)
    right = ipd.check_gradient(lambda x: jnp.sum(jnp.exp(x)), x)
    np.testing.assert_allclose(right.orders, 2, atol=0.1)
    wrong = ipd.check_gradient(scaled_gradient(lambda x: jnp.sum(jnp.exp(x)), 2.0), x)
    np.testing.assert_allclose(wrong.orders, 1, atol=0.1)


def test_leaves_that_are_no_arrays_are_left_alone():
    found = ipd.check_gradient(smooth, TREE, directions=2)
    assert found.passed
    assert found.remainders.shape == (2, len(found.steps))
    assert "the gradient is right" in str(found)
    assert "Taylor test" in found._repr_html_()


def test_zero_and_nan_are_told_apart():
    x = jnp.ones(2)
    assert ipd.check_gradient(lambda x: 0 * x[0] + 4.0, x).outcome == "zero"
    lost = ipd.check_gradient(lambda x: jnp.sum(jax.lax.stop_gradient(x) ** 2), x)
    assert lost.outcome == "wrong"
    assert not lost.passed
    assert ipd.check_gradient(lambda x: jnp.sum(jnp.sqrt(x - 2)), x).outcome == "not finite"
    assert ipd.check_gradient(lambda x: jnp.sqrt(jnp.sum(0 * x)), x).outcome == "not finite"


@pytest.mark.slow
def test_a_rollout_passes_and_a_biased_rule_does_not():
    assert ipd.check_gradient(rolled_out, jnp.asarray(0.7)).outcome == "right"

    def biased(rate):
        stepper = ipd.BackwardEuler(adjoint=ipd.JacobianFree())
        model = ipd.VectorField(lambda t, u, a: -a * u**2, rate)
        result = ipd.rollout(model, jnp.ones(2), [0.0, 0.5, 1.0], stepper=stepper, throw=False)
        return jnp.sum(result.u[-1])

    assert ipd.check_gradient(biased, jnp.asarray(0.7)).outcome == "wrong"


class Jumping(ipd.VectorField):
    def jump_times(self):
        return (0.3,)


@pytest.mark.slow
def test_the_examples_are_of_a_trajectory_loss():
    """A jump that the model declares is a step more, which the probe has to know of."""
    model = Jumping(lambda t, u, a: -a * u**2, jnp.asarray(0.7))
    values, stepper = jnp.full((2, 1, 4), 0.5), ipd.BackwardEuler()
    loss = TrajectoryLoss(
        jnp.ones((1, 4)), (0.0, 0.5, 1.0), values, lambda u: u[1:], stepper, dt=0.25
    )
    named = {"ipd": ipd, "loss": loss, "model": model, "print": str}
    example = re.search(r"```python\n\s*(.*)\n", ipd.check_gradient.__doc__ or "")
    assert example is not None
    assert "the gradient is right" in eval(example[1], named)
    whole: Any = lambda m: loss(m, loss.probe(m))  # noqa: E731
    with pytest.raises(ipd.InputError, match="TrajectoryLoss") as wrong:
        ipd.check_gradient(whole, model)
    advised = re.search(r"lambda m: .*(?=\))", str(wrong.value))
    assert advised is not None
    assert ipd.check_gradient(eval(advised[0], named), model).passed


def test_what_cannot_be_checked_is_refused():
    with pytest.raises(ipd.InputError, match="no floating-point JAX array"):
        ipd.check_gradient(lambda x: x, 1.0)
    with pytest.raises(ipd.InputError, match="expected one number"):
        ipd.check_gradient(lambda x: x, jnp.ones(3))
    with pytest.raises(ipd.InputError, match="directions"):
        ipd.check_gradient(jnp.sum, jnp.ones(3), directions=0)
