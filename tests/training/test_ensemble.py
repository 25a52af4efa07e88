"""Members trained at once: each is what it would have been alone."""

import dataclasses
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from noisy_decay import TIMES, loss, model, train

import impindiff as ipd
from impindiff.training import (
    Callbacks,
    Ensemble,
    FitOptions,
    LevenbergMarquardt,
    TrainingError,
    ensemble_forecast,
    fit_ensemble,
    split,
)
from impindiff.training.history import read

STARTS = ((1.0, 0.0), (3.0, 0.5), (0.2, -0.3))
TRAINING, VALIDATION = split(loss(), model(), 0.3)


def models():
    return [model(*start) for start in STARTS]


def train_all(
    folder, optimizer, steps=15, of_models=None, *, patience=None, freeze=(), **given: Any
):
    options = FitOptions(
        steps=steps,
        log_every=1,
        save_every=5,
        validation=VALIDATION,
        patience=patience,
        freeze=freeze,
    )
    return fit_ensemble(of_models or models(), TRAINING, optimizer, folder, options, **given)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["adam", "lbfgs", "levenberg_marquardt"])
def test_each_member_is_a_run_of_its_own(tmp_path, name):
    optimizer = {
        "adam": optax.adam(0.5),
        "lbfgs": optax.lbfgs(),
        "levenberg_marquardt": LevenbergMarquardt(),
    }[name]
    fitted = train_all(tmp_path / "all", optimizer, patience=4)
    records = read(tmp_path / "all" / "history.jsonl")
    for i, (start, found) in enumerate(zip(models(), fitted.model.members, strict=True)):
        alone = train(
            tmp_path / str(i), optimizer, 15, start, TRAINING, validation=VALIDATION, patience=4
        )
        assert float(found.rate) == pytest.approx(float(alone.model.rate), rel=1e-6)
        assert float(found.source) == pytest.approx(float(alone.model.source), rel=1e-5, abs=1e-9)
        losses = [r["loss"] for r in read(tmp_path / str(i) / "history.jsonl")]
        of_member = [r["member_losses"][i] for r in records[: len(losses)]]
        np.testing.assert_allclose(of_member, losses, rtol=1e-5, atol=1e-12)
        # one that has ended stays as it was
        assert records[-1]["member_losses"][i] == of_member[-1]
    assert records[-1]["loss"] == pytest.approx(np.mean(records[-1]["member_losses"]))
    assert fitted.member_losses is not None
    assert fitted.final_loss == pytest.approx(np.mean(fitted.member_losses))


@pytest.mark.slow
def test_resuming_an_ensemble_is_exact(tmp_path):
    whole = train_all(tmp_path / "whole", optax.adam(0.1))
    train_all(tmp_path / "cut", optax.adam(0.1), 7)
    resumed = train_all(tmp_path / "cut", optax.adam(0.1), resume=True)
    np.testing.assert_array_equal(resumed.model.stacked.rate, whole.model.stacked.rate)


@pytest.mark.slow
def test_what_is_frozen_is_each_member_s_own(tmp_path):
    fitted = train_all(tmp_path, optax.adam(0.1), 3, freeze=["source"])
    for (_, source), found in zip(STARTS, fitted.model.members, strict=True):
        assert float(found.source) == source
    alone = train(
        tmp_path / "alone",
        optax.adam(0.1),
        3,
        model(*STARTS[1]),
        TRAINING,
        validation=VALIDATION,
        freeze=["source"],
    )
    found = float(fitted.model.members[1].rate)
    assert found == pytest.approx(float(alone.model.rate), rel=1e-9)


@pytest.mark.slow
def test_the_log_is_told_of_the_ensemble(tmp_path):
    sizes = []
    told = Callbacks(evaluate=lambda m: sizes.append(m.size))
    train_all(tmp_path, optax.adam(0.1), 2, callbacks=told)
    assert sizes == [3, 3]


def test_a_member_that_fails_is_named(tmp_path):
    bad = [model(), model(), model(jnp.nan)]
    with pytest.raises(TrainingError, match=r"^member 2: training step 1: the rollout failed at"):
        train_all(tmp_path, optax.adam(0.1), 2, bad)


@pytest.mark.slow
def test_the_forecast_is_mean_and_standard_deviation_over_members():
    ensemble = Ensemble.of(models())
    u0 = jnp.ones((2, 3))
    mean, spread = ensemble_forecast(ensemble, u0, TIMES, dt=0.05)
    each = np.stack([np.asarray(ipd.rollout(m, u0, TIMES, dt=0.05).u) for m in models()])
    np.testing.assert_allclose(mean, each.mean(axis=0), rtol=1e-12)
    np.testing.assert_allclose(spread, each.std(axis=0, ddof=1), rtol=1e-9, atol=1e-12)
    np.testing.assert_array_equal(spread[0], 0)
    with pytest.raises(TrainingError, match=r"^member 1: the forecast failed at step 1"):
        ensemble_forecast([model(), model(jnp.nan)], u0, TIMES)


def test_models_go_in_and_come_out():
    ensemble = Ensemble.of(models())
    for before, after in zip(models(), ensemble.members, strict=True):
        assert eqx.tree_equal(before, after)
    assert jax.tree.leaves(ensemble)[0].shape == (3,)
    with pytest.raises(ipd.InputError, match="1 model"):
        Ensemble.of([model()])
    other = dataclasses.replace(model(), source=jnp.zeros(3))
    with pytest.raises(ipd.InputError, match="not of one structure"):
        Ensemble.of([model(), other])
