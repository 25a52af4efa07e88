"""A sequence model: where its steps end, what it is given, and its derivative."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from impindiff.errors import InputError
from impindiff.methods import (
    ConvLSTM,
    FourierNeuralOperator,
    SequenceModel,
    SequenceNetwork,
    number_of_channels,
)

KNOTS = (1.0, 1.1, 1.3, 1.4)  # median interval 0.1, and a step of two of them
KEY = jax.random.key(5)


class Counting(SequenceNetwork):
    """Increments by rate, plus the number of steps taken before: shows the memory."""

    rate: jax.Array
    channels: int = eqx.field(static=True, default=4)
    fields: int = eqx.field(static=True, default=1)

    def start(self, u):
        return jnp.zeros((), u.dtype)

    def __call__(self, features, memory):
        return jnp.full((1, *features.shape[1:]), self.rate + memory), memory + 1


class Channel(SequenceNetwork):
    """All increments are one of the features."""

    index: int = eqx.field(static=True)
    channels: int = eqx.field(static=True)
    fields: int = eqx.field(static=True, default=1)

    def start(self, u):
        return ()

    def __call__(self, features, memory):
        return jnp.stack([features[self.index]] * self.fields), memory


def counting(cells=(5,), rate=1.0):
    return SequenceModel(Counting(rate=jnp.asarray(rate)), KNOTS, (True,) * len(cells), cells)


def fields(*shape):
    return jax.random.normal(jax.random.key(2), shape)


def test_steps_end_at_knots_and_then_at_intervals():
    u0 = fields(3, 5)
    times = (1.0, 1.1, 1.3, 1.4, 1.5, 1.6)
    # increments 1, 2 (twice as long a step), 3, 4, 5
    expected = u0 + np.cumsum([0, 1, 2 * 2, 3, 4, 5])[:, None, None]
    np.testing.assert_allclose(counting()(u0, times), expected, rtol=1e-12)


def test_between_knots_the_field_is_interpolated():
    u0 = fields(2, 5)
    found = counting()(u0, (1.0, 1.05, 1.15, 1.45)) - u0
    np.testing.assert_allclose(found[:, 0, 0], [0, 0.5, 1 + 0.25 * 4, 8 + 0.5 * 4], rtol=1e-10)


def test_times_that_differ_from_knots_by_rounding_are_those_knots():
    u0 = fields(1, 5)
    model, late = counting(), 1.4 + 1e-14
    np.testing.assert_array_equal(model(u0, (1.0, late))[1], model(u0, (1.0, 1.4))[1])
    # and lead to no step more
    assert len(model._steps(np.asarray([1.0, late])).levels) == len(KNOTS)
    assert len(model._steps(np.asarray([1.0, 1.15])).levels) == 3


def test_the_memory_stays_fresh_where_one_interval_is_observed():
    u0 = fields(1, 5)
    model = SequenceModel(Counting(rate=jnp.ones(())), (0.0, 0.1), (True,), (5,))
    found = model(u0, (0.0, 0.1, 0.2, 0.3)) - u0
    np.testing.assert_allclose(found[:, 0, 0], [0, 1, 2, 3], rtol=1e-12)


def test_the_initial_time_alone():
    u0 = fields(2, 5)
    np.testing.assert_array_equal(counting()(u0, (1.0,))[0], u0)


def test_teacher_forcing_starts_from_what_was_observed_and_carries_the_memory():
    observed = fields(4, 2, 5)
    steps = np.asarray([1, 2 * 2, 3])[:, None, None]
    found = counting().next_observations(observed)
    np.testing.assert_allclose(found, observed[:-1] + steps, rtol=1e-12)


def test_teacher_forcing_on_its_own_forecast_is_the_forecast():
    network = ConvLSTM(5, (True,), fields=2, hidden=3, layers=2, key=KEY)
    model = SequenceModel(network, KNOTS, (True,), (6,))
    forecast = model({"b": fields(2, 6), "a": fields(2, 6) ** 2}, KNOTS)
    following = model.next_observations(forecast)
    assert sorted(following) == ["a", "b"]
    for name, found in following.items():
        np.testing.assert_allclose(found, forecast[name][1:], rtol=1e-12)


def network_of(kind, channels, periodic, fields=1, **sizes):
    if kind == "fno":
        sizes = {"width": 3, "modes": 2, "layers": 2} | sizes
        return FourierNeuralOperator(channels, periodic, fields=fields, **sizes, key=KEY)
    return ConvLSTM(channels, periodic, fields=fields, hidden=2, layers=2, key=KEY)


# as one field was forecast before there could be several: samples, then cells
OF_ONE_FIELD = {
    "fno": [
        [-0.7427820540747674, -0.945043031371311, -0.26569859435868415, 0.6705998464595758],
        [-0.2724190301435285, -0.9466089735056293, -0.7367809707955988, 0.1646838423865969],
    ],
    "conv_lstm": [
        [-0.7033390857099971, -0.9054122103876905, -0.2274936692976645, 0.70882332155075],
        [-0.23473109566195072, -0.9081928848109819, -0.6991288088496206, 0.2016782856217511],
    ],
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fno", "conv_lstm"])
def test_one_field_is_forecast_as_ever(kind):
    cells, periodic = (3, 4), (False, True)
    channels = number_of_channels(periodic, with_time=True, conditions=1)
    network = network_of(kind, channels, periodic, modes=(1, 2))
    model = SequenceModel(network, KNOTS, periodic, cells, True, (0.5,), 2.0)
    model = model.with_conditions(jnp.asarray([[0.3], [-0.4]]))
    u0 = jnp.asarray(np.sin(np.arange(24.0)).reshape(2, *cells))
    found = model(u0, (1.0, 1.45))
    np.testing.assert_allclose(found[-1, :, 1], OF_ONE_FIELD[kind], rtol=1e-12)
    # alone in a mapping it is the same field
    named = model({"c": u0}, (1.0, 1.45))
    np.testing.assert_array_equal(named["c"], found)


def test_fields_are_given_and_stepped_in_their_scales():
    """A network that returns its channels in turn: the fields first, in the order of the leaves."""
    scales = {"a": 2.0, "b": 5.0}
    u0 = {"b": fields(3, 5).astype(jnp.float32), "a": fields(3, 5) ** 2}
    channels = number_of_channels((True,), fields=2)
    assert channels == number_of_channels((True,)) + 1
    for index, name in enumerate(scales):
        network = Channel(index=index, channels=channels, fields=2)
        model = SequenceModel(network, KNOTS, (True,), (5,), scale=tuple(scales.values()))
        found = model(u0, KNOTS[:2])
        for other, scale in scales.items():
            expected = np.stack([u0[other], u0[other] + scale * u0[name] / scales[name]])
            np.testing.assert_allclose(found[other], expected, rtol=1e-6)
            assert found[other].dtype == u0[other].dtype


def test_conditions_are_held_by_a_copy_and_not_by_the_model_that_is_trained():
    channels = number_of_channels((True,), conditions=1)
    network = Channel(index=4, channels=channels)
    model = SequenceModel(network, KNOTS, (True,), (5,), condition_scales=(2.0,))
    u0 = fields(2, 5)
    found = model.with_conditions(jnp.asarray([[3.0], [5.0]]))(u0, KNOTS[:2])[1] - u0
    np.testing.assert_allclose(found[:, 0], [1.5, 2.5], rtol=1e-12)
    assert jax.tree.leaves(model) == []
    with pytest.raises(InputError, match=r"conditions has shape \(2, 0\).*with_conditions"):
        model(u0, KNOTS[:2])


def test_what_the_network_is_given():
    """Each channel in turn, by a network that returns it: u, step, position, time, condition."""
    cells, periodic, scale = (4, 3), (True, False), 2.0
    count = number_of_channels(periodic, with_time=True, conditions=2)
    assert count == 8
    xi = (np.arange(4) + 0.5) / 4
    u0, conditions = fields(2, *cells), jnp.asarray([[3.0, 5.0], [7.0, 9.0]])
    expected = [
        u0 / scale,
        2.0,  # the second step is of two intervals
        np.sin(2 * np.pi * xi)[:, None],
        np.cos(2 * np.pi * xi)[:, None],
        np.asarray([-2 / 3, 0, 2 / 3])[None, :],
        0.25,  # the second step starts after a quarter of the observed span
        conditions[:, 0, None, None] / 10,
        conditions[:, 1, None, None] / 0.1,
    ]
    observed = jnp.broadcast_to(u0, (len(KNOTS), *u0.shape))
    for index, value in enumerate(expected):
        model = SequenceModel(
            Channel(index=index, channels=count), KNOTS, periodic, cells, True, (10.0, 0.1), scale
        )
        found = model.with_conditions(conditions).next_observations(observed)
        increment = (found[1] - u0) / (2.0 * scale)
        np.testing.assert_allclose(
            increment, np.broadcast_to(value, increment.shape), rtol=1e-9, atol=1e-12
        )


@pytest.mark.few(1)
@pytest.mark.parametrize("kind", ["fno", "conv_lstm"])
@pytest.mark.parametrize(
    ("cells", "periodic"),
    [((8,), (True,)), ((6, 8), (True, False)), ((4, 6, 4), (False, True, True))],
)
def test_both_networks_step_in_one_to_three_dimensions(kind, cells, periodic):
    channels = number_of_channels(periodic, conditions=1)
    network = network_of(kind, channels, periodic)
    model = SequenceModel(network, KNOTS, periodic, cells, condition_scales=(1.0,))
    u0, conditions = fields(2, *cells), jnp.asarray([[0.0], [1.0]])
    found = eqx.filter_jit(model.with_conditions(conditions))(u0, (1.0, 1.2, 1.5))
    assert found.shape == (3, 2, *cells)
    assert bool(jnp.all(jnp.isfinite(found)))
    # the first forecast is nearly persistence, and no more than nearly
    change = float(jnp.max(jnp.abs(found[-1] - u0)))
    assert 0 < change < 0.2
    # samples do not mix, and each has its own condition
    backwards = eqx.filter_jit(model.with_conditions(conditions[::-1]))
    other = backwards(u0[::-1], (1.0, 1.2, 1.5))
    np.testing.assert_allclose(other, found[:, ::-1], rtol=1e-9, atol=1e-12)
    swapped = backwards(u0, (1.0, 1.2, 1.5))
    assert float(jnp.max(jnp.abs(swapped - found))) > 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["fno", "conv_lstm"])
@pytest.mark.parametrize("forced", [False, True])
def test_the_gradient_is_that_of_central_differences(kind, forced):
    network = network_of(kind, 6, (False, True), fields=2)
    model = SequenceModel(network, KNOTS, (False, True), (5, 4))
    parameters, static = eqx.partition(model, eqx.is_inexact_array)
    observed = {"a": fields(len(KNOTS), 2, 5, 4), "b": fields(len(KNOTS), 2, 5, 4) ** 2}

    def loss(parameters):
        model = eqx.combine(parameters, static)
        if forced:
            found = model.next_observations(observed)
        else:
            first = {name: u[0] for name, u in observed.items()}
            found = {name: u[1:] for name, u in model(first, (1.0, 1.15, 1.4, 1.5)).items()}
        return sum(jnp.mean((found[name] - observed[name][1:]) ** 2) for name in observed)

    leaves, structure = jax.tree.flatten(parameters)
    keys = jax.random.split(jax.random.key(8), len(leaves))
    direction = [jax.random.normal(k, x.shape) for k, x in zip(keys, leaves, strict=True)]
    h = 1e-5

    def shifted(step):
        moved = [x + step * d for x, d in zip(leaves, direction, strict=True)]
        return jax.tree.unflatten(structure, moved)

    value = eqx.filter_jit(loss)
    difference = float(value(shifted(h)) - value(shifted(-h))) / (2 * h)
    gradient = jax.tree.leaves(eqx.filter_jit(jax.grad(loss))(parameters))
    slope = sum(float(jnp.sum(g * d)) for g, d in zip(gradient, direction, strict=True))
    assert slope == pytest.approx(difference, rel=1e-6)
    assert all(float(jnp.max(jnp.abs(g))) > 0 for g in gradient)


def test_single_precision_stays_single():
    network = FourierNeuralOperator(4, (True,), width=3, modes=2, layers=1, key=KEY)
    model = SequenceModel(network, KNOTS, (True,), (6,))
    model = jax.tree.map(lambda x: x.astype(jnp.float32), model)
    assert model(fields(1, 6).astype(jnp.float32), KNOTS).dtype == jnp.float32


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"knots": (0.0,)}, "at least one later observation"),
        ({"knots": (0.0, 0.2, 0.1)}, "increasing"),
        ({"knots": (0.0, float("nan"))}, "increasing"),
        ({"cells": (5, 5)}, "one per axis"),
        ({"scale": 0.0}, "positive"),
        ({"scale": (1.0, 2.0)}, "expected a number, or one for each field of the network, 1"),
        ({"condition_scales": (1.0,)}, "4 channels and there are 5 features"),
        ({"with_time": True}, "4 channels and there are 5 features"),
    ],
)
def test_models_that_do_not_fit_are_refused(changed, message):
    arguments = {"knots": KNOTS, "periodic": (True,), "cells": (5,)} | changed
    with pytest.raises(InputError, match=message):
        SequenceModel(Counting(rate=jnp.ones(())), **arguments)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda model, u: model(u, (1.1, 1.2)), "start at 1, the first knot"),
        (lambda model, u: model(u, ()), "increasing times"),
        (lambda model, u: model(u, (1.0, 1.3, 1.2)), "increasing times"),
        (lambda model, u: model(u[:, :4], KNOTS), r"u0 has shape \(2, 4\); expected \(2, 5\)"),
        (lambda model, u: model({"a": u, "b": u}, KNOTS), "u0 has 2 fields; expected 1"),
        (lambda model, u: model({}, KNOTS), "u0 has 0 fields; expected 1"),
        (lambda model, u: model.with_conditions(jnp.ones((2, 1)))(u, KNOTS), r"expected \(2, 0\)"),
        (lambda model, u: model.next_observations(jnp.stack([u] * 3)), "one per knot"),
    ],
)
def test_what_cannot_be_forecast_is_refused(call, message):
    with pytest.raises(InputError, match=message):
        call(counting(), fields(2, 5))
