"""Observations held back: which they are, and that training does not see them."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_decay import TIMES, loss, model, train

import impindiff as ipd
from impindiff.inference import standard_errors
from impindiff.training import LevenbergMarquardt, depends_on, split
from impindiff.training.history import read

WHOLE = loss()
VALUES = np.asarray(WHOLE.values)


def held_back(by, fraction=0.25, seed=0, of=WHOLE):
    training, validation = split(of, model(), fraction, seed=seed, by=by)
    assert training.weights is not None
    assert validation.weights is not None
    np.testing.assert_array_equal(training.weights + validation.weights, 1)
    return np.asarray(validation.weights) == 1


def test_values_are_drawn_by_the_seed():
    assert held_back("value").sum() == 6
    np.testing.assert_array_equal(held_back("value"), held_back("value"))
    assert (held_back("value") != held_back("value", seed=1)).any()


def test_samples_and_last_times_are_held_back_whole():
    by_sample = held_back("sample", 0.5)
    assert {by_sample[:, i].all() for i in (0, 1)} == {True, False}
    assert by_sample.sum() == by_sample.size / 2
    last = held_back("last", 0.5)
    assert last[2:].all()
    assert not last[:2].any()


def test_what_depends_on_a_time_is_found_for_any_measuring_operator():
    def means_and_changes(u):
        change = u[1:] - u[:-1] + 0 * jnp.sum(u[2])
        return jnp.concatenate([jnp.ravel(change[:, :, 0]), jnp.mean(u, axis=(0, 2))])

    of = loss(observe=means_and_changes, values=jnp.zeros(10))
    expected = [0, 0, 1, 1, 1, 1, 0, 0, 1, 1]  # changes over four intervals of two samples, means
    np.testing.assert_array_equal(depends_on(of, model(), times=[2]), expected)
    second = depends_on(of, model(), samples=[1])
    np.testing.assert_array_equal(second, [0, 1] * 5)


def test_values_held_back_have_no_influence_on_the_gradient():
    training, validation = split(WHOLE, model(), 0.3)
    hidden = np.asarray(validation.weights) == 1
    spoilt = dataclasses.replace(training, values=jnp.where(hidden, jnp.nan, training.values))

    @eqx.filter_jit
    def gradient(of):
        return eqx.filter_grad(lambda m: of(m, of.probe())[0])(model())

    np.testing.assert_array_equal(gradient(training).rate, gradient(spoilt).rate)
    assert np.isfinite(gradient(spoilt).rate)
    assert (
        gradient(training).rate
        != gradient(dataclasses.replace(WHOLE, weights=jnp.ones(WHOLE.values.shape))).rate
    )


def test_validation_is_the_misfit_at_the_rest_of_the_same_rollout(tmp_path):
    training, validation = split(WHOLE, model(), 0.3)
    fitted = train(tmp_path, optax.sgd(0.0), 1, of_loss=training, validation=validation)
    u = np.asarray(ipd.rollout(model(), WHOLE.u0, TIMES, dt=0.05, stepper=ipd.RK4()).u[1:])
    hidden = np.asarray(validation.weights) == 1
    misfit = np.sum((u - VALUES)[hidden] ** 2) / np.sum(VALUES[hidden] ** 2)
    assert fitted.validation_loss == pytest.approx(misfit, rel=1e-6)
    record = read(tmp_path / "history.jsonl")[0]
    assert record["validation_loss"] == fitted.validation_loss
    seen = np.sum((u - VALUES)[~hidden] ** 2) / np.sum(VALUES[~hidden] ** 2)
    assert record["loss"] == pytest.approx(seen, rel=1e-6)


def test_weights_of_one_change_nothing_and_a_weight_of_two_is_four_copies():
    of_ones = dataclasses.replace(WHOLE, weights=jnp.ones(WHOLE.values.shape))
    probe = WHOLE.probe()
    assert float(of_ones(model(), probe)[0]) == pytest.approx(float(WHOLE(model(), probe)[0]))
    weights = np.ones(WHOLE.values.shape)
    weights[0, 0, 0] = 2
    u = np.asarray(ipd.rollout(model(), WHOLE.u0, TIMES, dt=0.05, stepper=ipd.RK4()).u[1:])
    squares = np.asarray((u - VALUES) ** 2).sum() + 3 * (u - VALUES)[0, 0, 0] ** 2
    size = float(np.sum(VALUES**2) + 3 * VALUES[0, 0, 0] ** 2)
    weighted = dataclasses.replace(WHOLE, weights=jnp.asarray(weights))
    assert float(weighted(model(), probe)[0]) == pytest.approx(squares / size, rel=1e-9)


@pytest.mark.slow
def test_standard_errors_count_only_what_is_seen(tmp_path):
    """Values held back leave errors as if they had never been measured."""
    training, validation = split(WHOLE, model(), 0.5, by="last")
    fitted = train(
        tmp_path, LevenbergMarquardt(), of_loss=training, validation=validation, keep_best=False
    )
    short = dataclasses.replace(WHOLE, times=TIMES[:3], values=WHOLE.values[:2])

    def found(m):
        return {"rate": m.rate}

    expected = standard_errors(found, fitted.model, short)["rate"]
    known = standard_errors(found, fitted.model, training, fitted.linearization)["rate"]
    anew = standard_errors(found, fitted.model, training)["rate"]
    assert float(known) == pytest.approx(float(expected), rel=1e-6)
    assert float(anew) == pytest.approx(float(expected), rel=1e-6)


def test_a_side_with_nothing_in_it_is_refused():
    with pytest.raises(
        ipd.InputError, match=r"training\.validation: 0\.9 by sample leaves nothing"
    ):
        split(WHOLE, model(), 0.9, by="sample")
    with pytest.raises(ipd.InputError, match="leaves nothing for training of 24 values"):
        split(WHOLE, model(), 0.99, by="last")


def test_values_of_no_weight_stay_so_on_both_sides():
    weights = np.ones(WHOLE.values.shape)
    weights[1] = 0
    training, validation = split(loss(weights=jnp.asarray(weights)), model(), 0.5)
    assert training.number_of_observations() == validation.number_of_observations() == 9
    assert not jax.tree.leaves(training.weights)[0][1].any()
