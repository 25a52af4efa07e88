"""A horizon that grows: shorter rollouts first, later values without influence."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_decay import TIMES, loss, model, train

import impindiff as ipd
from impindiff.training import shortened, split
from impindiff.training.history import read

WHOLE = loss()
HORIZON = ((4, 0.25), (5, 0.5))


def cut(count):
    """The loss of one who stopped measuring after so many times."""
    return dataclasses.replace(WHOLE, times=TIMES[: count + 1], values=WHOLE.values[:count])


@pytest.mark.slow
@pytest.mark.parametrize(("fraction", "count"), [(0.1, 1), (0.25, 1), (0.5, 2), (0.51, 3)])
def test_the_shortened_loss_is_that_of_fewer_measurements(fraction, count):
    short = shortened(WHOLE, model(), fraction)
    assert short.probe().shape == cut(count).probe().shape == (2 * count, 2)

    def both(of):
        return jax.value_and_grad(lambda a: of(model(a), of.probe())[0])(1.0)

    for found, expected in zip(both(short), both(cut(count)), strict=True):
        assert float(found) == pytest.approx(float(expected), rel=1e-12)
    assert short.number_of_observations() == 6 * count


def test_the_whole_horizon_is_the_loss_itself():
    assert shortened(WHOLE, model(), 1.0) is WHOLE


def test_values_that_look_at_a_later_time_too_are_left_out(tmp_path):
    def changes(u):
        return u[2:, :, 0] - u[1:-1, :, 0]

    of = loss(observe=changes, values=jnp.ones((3, 2)))
    np.testing.assert_array_equal(shortened(of, model(), 0.5).weights, [[1, 1], [0, 0], [0, 0]])
    with pytest.raises(ipd.InputError, match=r"training\.horizon: nothing is observed in"):
        train(tmp_path, optax.sgd(0.1), of_loss=of, horizon=((2, 0.25),))


@pytest.mark.slow
def test_stages_are_runs_of_their_own_that_hand_on_their_state(tmp_path):
    """Plain gradient descent has no state beside the weights."""
    optimizer = optax.sgd(0.1)
    fitted = train(tmp_path / "one", optimizer, 12, horizon=HORIZON)
    found, losses = model(), []
    for i, (steps, of) in enumerate([(4, cut(1)), (5, cut(2)), (3, WHOLE)]):
        folder = tmp_path / f"part{i}"
        found = train(folder, optimizer, steps, found, of).model
        losses += [r["loss"] for r in read(folder / "history.jsonl")]
    assert float(fitted.model.rate) == pytest.approx(float(found.rate), rel=1e-12)
    np.testing.assert_allclose(
        [r["loss"] for r in read(tmp_path / "one" / "history.jsonl")], losses, rtol=1e-10
    )
    # 2 steps of each of 2 samples in an observed interval
    assert int(fitted.totals.solves) == 2 * 2 * (4 * 1 + 5 * 2 + 3 * 4)


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 4, 6, 10])
def test_resuming_in_any_stage_gives_the_same_to_the_bit(tmp_path, at):
    training, validation = split(WHOLE, model(), 0.3)
    options = {"horizon": HORIZON, "of_loss": training, "validation": validation, "patience": 50}
    optimizer = optax.adam(0.1)
    whole = train(tmp_path / "whole", optimizer, 14, **options)
    train(tmp_path / "cut", optimizer, at, **options)
    resumed = train(tmp_path / "cut", optimizer, 14, resume=True, **options)
    assert float(resumed.model.rate) == float(whole.model.rate)
    assert resumed.final_loss == whole.final_loss
    assert resumed.best_step == whole.best_step


@pytest.mark.slow
def test_best_weights_and_patience_begin_with_the_whole_horizon(tmp_path):
    training, validation = split(WHOLE, model(), 0.3)
    # such small steps that the loss of no step is smaller than the short horizon's
    fitted = train(
        tmp_path,
        optax.sgd(1e-12),
        30,
        of_loss=training,
        validation=validation,
        horizon=((10, 0.25),),
        patience=5,
    )
    assert fitted.best_step is not None
    assert fitted.best_step >= 10
    assert fitted.steps >= 15


@pytest.mark.slow
def test_a_validation_of_later_times_only_is_not_told_before_they_are_reached(tmp_path):
    training, validation = split(WHOLE, model(), 0.5, by="last")
    train(
        tmp_path,
        optax.sgd(0.1),
        4,
        of_loss=training,
        validation=validation,
        horizon=((2, 0.5),),
    )
    told = [r["validation_loss"] for r in read(tmp_path / "history.jsonl")]
    assert told[:2] == [None, None]
    assert all(value > 0 for value in told[2:])
