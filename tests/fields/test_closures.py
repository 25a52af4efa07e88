"""Closures: the prior at the start, and sign, monotonicity and threshold with any parameters."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

import impindiff as ipd
from helpers import central_difference_error, flat, moved, normal_like
from impindiff.training._levenberg_marquardt import damped_step

FLOOR = 1e-4


def rising(x, *others):
    return 0.2 + jax.nn.sigmoid(2 * x)


def falling(x, *others):
    return jnp.exp(-x)


def of_both(x, z):
    return (0.2 + jax.nn.sigmoid(2 * x)) * (1 + z**2)


def percolating(x):
    return ipd.percolation_law(x, 0.11, 0.521, FLOOR)


KEY = jax.random.key(0)
BOTH = {"lower": (0.1, -1.0), "upper": (1.0, 1.0), "variables": 2, "key": KEY}
# name: (closure, the law it starts as, +1 where it must rise with x and -1 where it must fall)
CLOSURES = {
    "positive": (ipd.PositiveClosure(rising, lower=0.1, upper=1.0, key=KEY), rising, 0),
    "positive of two": (ipd.PositiveClosure(of_both, **BOTH), of_both, 0),
    "rising": (ipd.MonotoneClosure(rising, lower=0.1, upper=1.0), rising, 1),
    "falling": (ipd.MonotoneClosure(falling, lower=0.1, upper=1.0, knots=2), falling, -1),
    "rising, of two": (ipd.MonotoneClosure(of_both, **BOTH), of_both, 1),
    "falling, of two": (ipd.MonotoneClosure(falling, **BOTH), falling, -1),
    "percolating": (
        ipd.PercolatingClosure(0.11, 0.521, largest_threshold=0.2, upper=0.7, floor=FLOOR),
        percolating,
        1,
    ),
}
each = pytest.mark.parametrize("name", CLOSURES)


def inputs(name, x):
    """x, and z from -3 to 3 for a second variable: beyond the range of either."""
    z = jnp.linspace(-3.0, 3.0, 5)[:, None]
    return (x, z) if "of two" in name else (x,)


def with_parameters(closure):
    """(p, evaluate) where evaluate(p, *variables) is the closure with the parameters p, flat."""
    parameters, static = eqx.partition(closure, eqx.is_inexact_array)
    p, unravel = ravel_pytree(parameters)
    return p, lambda p, *variables: eqx.combine(unravel(p), static)(*variables)


def with_random_parameters(closure, scale, seed=1):
    return moved(closure, scale, normal_like(seed, closure))


@pytest.mark.few(3)
@each
def test_starts_as_the_prior(name):
    closure, prior, _ = CLOSURES[name]
    variables = inputs(name, jnp.linspace(-0.5, 2.0, 41))
    np.testing.assert_allclose(
        closure(*variables),
        jnp.broadcast_to(prior(*variables), jnp.broadcast_shapes(*map(jnp.shape, variables))),
        rtol=1e-13,
    )


@pytest.mark.few(3)
@each
def test_positive_and_monotone_with_any_parameters(name):
    closure, _, sign = CLOSURES[name]
    p, evaluate = with_parameters(closure)
    # the outputs of a network are sums of many parameters: as large, with smaller ones
    scale = 0.5 if "of two" in name else 2.0
    trials = scale * jax.random.normal(jax.random.key(2), (100, p.size))
    variables = inputs(name, jnp.linspace(-0.5, 1.5, 801))
    y = np.asarray(jax.jit(jax.vmap(evaluate, (0, *[None] * len(variables))))(trials, *variables))
    assert np.isfinite(y).all()
    assert (y > 0).all()
    if sign:
        steps = sign * np.diff(y) / y[..., 1:]
        assert (steps >= -1e-13).all()
        # strictly, unless cut by the floor or too steep or flat to tell in double precision
        assert (steps[y[..., 1:] > FLOOR] > 0).mean() > 0.98
    else:
        assert (np.diff(y) > 0).any()
        assert (np.diff(y) < 0).any()


@pytest.mark.few(2)
@each
def test_derivatives_match_central_differences(name):
    closure, _, _ = CLOSURES[name]
    closure = with_random_parameters(closure, 0.3)
    p, evaluate = with_parameters(closure)
    variables = inputs(name, jnp.asarray([-0.3, 0.24, 0.37, 0.61, 1.3]))
    at = (p, *variables)
    evaluate = jax.jit(evaluate)

    def forward(at, direction):
        return jax.jvp(evaluate, at, direction)[1]

    forward = jax.jit(forward)
    for of in range(len(at)):
        direction = tuple(d * (i == of) for i, d in enumerate(normal_like(3, at)))
        derivative = forward(at, direction)
        assert np.linalg.norm(derivative) > 1e-3
        assert central_difference_error(lambda a: evaluate(*a), at, direction, derivative) < 1e-8
    y, pull_back = jax.vjp(evaluate, *at)
    cotangent, direction = normal_like(4, y), normal_like(5, at)
    np.testing.assert_allclose(
        flat(pull_back(cotangent)) @ flat(direction),
        flat(cotangent) @ flat(forward(at, direction)),
        rtol=1e-10,
    )


@pytest.mark.few(1)
@each
def test_no_derivative_is_nan(name):
    """At, just above and below the threshold, at 0, far outside, at the ends of the range."""
    closure, _, _ = CLOSURES[name]
    p, evaluate = with_parameters(with_random_parameters(closure, 0.5))
    threshold = float(getattr(closure, "threshold", 0.11))
    x = np.asarray([-1e2, -1.0, 0.0, 0.1, 0.15, 1.0, 1e2])
    near = threshold + np.asarray([-1e-3, -1e-17, 0.0, 1e-17, 1e-15, 1e-12, 1e-9, 1e-6])
    others = inputs(name, jnp.concatenate([x, near]))

    def total(at):
        return jnp.sum(evaluate(*at))

    @jax.jit
    def derivatives(at, direction):
        first = jax.grad(total)(at)
        forward_over_reverse = jax.jvp(jax.grad(total), (at,), (direction,))[1]
        forward = jax.jvp(lambda at: evaluate(*at), (at,), (direction,))
        return first, forward_over_reverse, forward

    for parameters in (p, 0 * p):
        at = (parameters, *others)
        assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(derivatives(at, at)))


def test_slope_at_and_between_knots():
    """d log y / dl of a spline with log prior = x: exp(v_i) at the knots, linear between them."""
    closure = ipd.MonotoneClosure(jnp.exp, lower=0.0, upper=3.0, knots=4)
    slopes = jnp.asarray([0.5, 2.0, 1.0, 3.0])
    closure = eqx.tree_at(lambda c: c.log_slopes, closure, jnp.log(slopes))
    x = jnp.asarray([-2.0, 0.0, 0.5, 1.0, 1.75, 2.0, 3.0, 4.0])
    got = jax.vmap(jax.grad(lambda x: jnp.log(closure(x))))(x)
    np.testing.assert_allclose(got, [0.5, 0.5, 1.25, 2.0, 1.25, 1.0, 3.0, 3.0], rtol=1e-12)


def test_a_power_of_the_prior_is_met_exactly():
    closure = ipd.MonotoneClosure(falling, lower=0.0, upper=1.0)
    closure = eqx.tree_at(
        lambda c: (c.shift, c.log_slopes), closure, (jnp.log(3.0) - 1.5, jnp.full(8, jnp.log(2.5)))
    )
    x = jnp.linspace(-1.0, 2.0, 7)
    np.testing.assert_allclose(closure(x), 3 * jnp.exp(-2.5 * x), rtol=1e-12)


def test_percolation_law():
    x = jnp.asarray([-1.0, 0.037, 0.0371, 0.3, 1.0])
    z = (0.3 - 0.037) / (1 - 0.037)
    np.testing.assert_allclose(
        ipd.percolation_law(x, 0.037, 0.661, 1e-3), [1e-3, 1e-3, 1e-3, 0.3 * z**0.661, 1.0]
    )


def test_floor_below_the_threshold_for_an_exponent_near_zero():
    """A power so small that it is far from 0 a rounding error above the threshold."""
    x = jnp.asarray([0.03, 0.037, 0.038])
    got = ipd.percolation_law(x, 0.037, 0.01, FLOOR)
    np.testing.assert_allclose(got, [FLOOR, FLOOR, 0.038 * (1e-3 / 0.963) ** 0.01])


@pytest.mark.slow
def test_no_derivative_is_nan_where_the_prior_is_zero():
    closure = ipd.MonotoneClosure(jnp.square, lower=0.1, upper=1.0)
    for rate in (closure, jax.grad(closure), jax.grad(jax.grad(closure))):
        assert np.isfinite(rate(0.0))


@pytest.mark.parametrize("log_odds", [-30.0, 2.0, 30.0])
def test_threshold_stays_in_its_range_and_is_where_the_floor_begins(log_odds):
    closure = with_random_parameters(CLOSURES["percolating"][0], 0.5)
    closure = eqx.tree_at(lambda c: c.log_odds, closure, jnp.asarray(log_odds))
    threshold = closure.threshold
    assert 0 < threshold < 0.2
    np.testing.assert_array_equal(closure(threshold - jnp.asarray([1e-9, 1e-3])), FLOOR)
    assert closure(threshold + 0.05) > 2 * FLOOR
    rate = jax.grad(lambda c: c(threshold + 0.05))(closure)
    assert rate.log_odds < 0


@pytest.mark.parametrize("upper", [0.6, 1.0])
def test_levenberg_marquardt_finds_another_percolation_law(upper):
    x = jnp.linspace(0.05, 0.6, 60)
    truth = ipd.percolation_law(x, 0.037, 0.661, FLOOR)
    prior = ipd.PercolatingClosure(0.11, 0.785, largest_threshold=0.3, upper=upper)
    p, evaluate = with_parameters(prior)

    @jax.jit
    def step(p):
        def misfit(p):
            return (evaluate(p, x) - truth) / jnp.linalg.norm(truth)

        return p - damped_step(jax.jacfwd(misfit)(p), misfit(p), jnp.asarray(1e-4))

    assert jnp.linalg.norm(evaluate(p, x) - truth) > 0.15 * jnp.linalg.norm(truth)
    for _ in range(6):
        p = step(p)
    assert jnp.linalg.norm(evaluate(p, x) - truth) < 0.01 * jnp.linalg.norm(truth)
    *_, static = eqx.partition(prior, eqx.is_inexact_array)
    _, unravel = ravel_pytree(eqx.filter(prior, eqx.is_inexact_array))
    assert abs(eqx.combine(unravel(p), static).threshold - 0.037) < 0.01


def test_only_what_is_learned_is_an_array():
    p, _ = with_parameters(CLOSURES["percolating"][0])
    assert p.size == 1 + 1 + 6
    p, _ = with_parameters(CLOSURES["rising"][0])
    assert p.size == 1 + 8
    # few enough for Levenberg-Marquardt
    assert with_parameters(CLOSURES["rising, of two"][0])[0].size <= 200


@pytest.mark.slow
def test_single_precision():
    x = jnp.linspace(-0.5, 1.5, 101, dtype=jnp.float32)
    for name in ("positive", "rising", "percolating"):
        closure = jax.tree.map(lambda a: a.astype(jnp.float32), CLOSURES[name][0])
        y, rate = jax.jvp(closure, (x,), (x,))
        assert y.dtype == jnp.float32
        assert np.isfinite(rate).all()
        np.testing.assert_allclose(y, CLOSURES[name][1](x.astype(jnp.float64)), rtol=3e-4)


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: ipd.PercolatingClosure(1.2, 0.5, largest_threshold=0.3), "threshold = 1.2"),
        (lambda: ipd.PercolatingClosure(0.1, 0.0, largest_threshold=0.3), "exponent = 0.0"),
        (lambda: ipd.PercolatingClosure(0.1, 0.5, largest_threshold=0.05), "in this order"),
        (lambda: ipd.PercolatingClosure(0.1, 0.5, largest_threshold=0.3, floor=0.0), "floor"),
        (lambda: ipd.PercolatingClosure(0.1, 0.5, largest_threshold=0.3, knots=1), "knots = 1"),
        (lambda: ipd.percolation_law(jnp.ones(2), 0.0, 0.5, 1e-4), "threshold = 0.0"),
        (lambda: ipd.MonotoneClosure(rising, lower=0.1, upper=1.0, knots=1), "knots = 1"),
        (lambda: ipd.MonotoneClosure(rising, lower=1.0, upper=0.1), "from 1 to 0.1"),
        (lambda: ipd.MonotoneClosure(percolating, lower=0.05, upper=0.6), "strictly monotone"),
        (lambda: ipd.MonotoneClosure(jnp.sin, lower=0.1, upper=1.0, variables=2), "entries"),
        (
            lambda: ipd.MonotoneClosure(
                falling, lower=(0.0, 0.0), upper=(1.0, 1.0), variables=2, key=None
            ),
            "without a key",
        ),
        (lambda: ipd.PositiveClosure(jnp.sin, lower=-1.0, upper=1.0, key=KEY), "-0.84"),
        (lambda: ipd.PositiveClosure(rising, lower=0.0, upper=1.0, width=0, key=KEY), "width = 0"),
        (lambda: CLOSURES["rising"][0](jnp.ones(2), jnp.ones(2)), "called with 2 variables"),
        (lambda: CLOSURES["positive of two"][0](jnp.ones(2)), "made for 2"),
    ],
)
def test_impossible_arguments(make, match):
    with pytest.raises(ipd.InputError, match=match):
        make()
